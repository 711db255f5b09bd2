"""The perceptron of Pyramid Vision Transformers v2, with a depth-wise convolution in the middle."""
from typing import Iterator, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ._cpu import is_plain, works_in_pieces
from .mlp import Mlp

__all__ = ['ConvMlp']

# Values of a piece for each thread, 8 MiB in float32, but not less than so many channels
VALUES, CHANNELS = 2**21, 64


def _pieces(positions: int, hidden_dims: int) -> Iterator[slice]:
    """Slices of the hidden channels: neither the convolution nor the activation looks from one at another."""
    step = max(VALUES * torch.get_num_threads() // positions // CHANNELS, 1) * CHANNELS
    return (slice(start, min(start + step, hidden_dims)) for start in range(0, hidden_dims, step))


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``(N, H, W, C)`` -> the same shape."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=len(weight)).permute(0, 2, 3, 1)


def _forward(x: Tensor, weight1: Tensor, bias1: Tensor, kernel: Tensor, kernel_bias: Tensor, weight2: Tensor,
             bias2: Tensor, relu: bool, kept: Optional[List[Tensor]]) -> Tensor:
    """``(N, H, W, C)`` -> the same shape; ``kept`` takes what the convolution and the activation see."""
    tokens = x.flatten(0, 2)
    out = bias2.repeat(len(tokens), 1)
    for piece in _pieces(len(tokens), len(weight1)):
        hidden = torch.addmm(bias1[piece], tokens, weight1[piece].t()).unflatten(0, x.shape[:3])
        hidden = hidden.relu_() if relu else hidden
        convolved = _convolve(hidden, kernel[piece], kernel_bias[piece])
        if kept is None:
            active = torch.ops.aten.gelu_(convolved)
        else:
            kept += hidden, convolved
            active = F.gelu(convolved)
        out.addmm_(active.reshape(len(tokens), -1), weight2[:, piece].t())
    return out.view(x.shape)


class _PiecewiseConvMlp(Function):
    """Keeps what the convolution and the activation see, and nothing else of the hidden layer's size."""

    @staticmethod
    def forward(ctx, x: Tensor, weight1: Tensor, bias1: Tensor, kernel: Tensor, kernel_bias: Tensor, weight2: Tensor,
                bias2: Tensor, relu: bool) -> Tensor:
        kept: List[Tensor] = []
        out = _forward(x, weight1, bias1, kernel, kernel_bias, weight2, bias2, relu, kept)
        ctx.save_for_backward(x, weight1, kernel, weight2, *kept)
        ctx.relu = relu
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight1, kernel, weight2, *kept = ctx.saved_tensors
        tokens, grad_out = x.flatten(0, 2), grad.reshape(-1, x.shape[-1])
        grad_x = torch.zeros_like(tokens)
        grad_weight1, grad_kernel, grad_weight2 = (torch.empty_like(weight) for weight in (weight1, kernel, weight2))
        grad_bias1, grad_kernel_bias = weight1.new_empty(2, len(weight1))
        stop = 0
        for hidden, convolved in zip(kept[::2], kept[1::2]):
            count = hidden.shape[-1]
            piece, stop = slice(stop, stop + count), stop + count
            grad_weight2[:, piece] = grad_out.t() @ F.gelu(convolved).reshape(len(tokens), -1)
            grad_hidden = (grad_out @ weight2[:, piece]).view(convolved.shape)
            torch.ops.aten.gelu_backward.grad_input(grad_hidden, convolved, grad_input=grad_hidden)
            grad_hidden, grad_kernel[piece], grad_kernel_bias[piece] = torch.ops.aten.convolution_backward(
                grad_hidden.permute(0, 3, 1, 2), hidden.permute(0, 3, 1, 2), kernel[piece], [count], [1, 1], [1, 1],
                [1, 1], False, [0, 0], count, [True, True, True])
            grad_hidden = grad_hidden.permute(0, 2, 3, 1).reshape(len(tokens), -1)
            if ctx.relu:
                grad_hidden = grad_hidden * (hidden.view(grad_hidden.shape) > 0)
            grad_weight1[piece] = grad_hidden.t() @ tokens
            grad_bias1[piece] = grad_hidden.sum(0)
            grad_x.addmm_(grad_hidden, weight1[piece])
        return (grad_x.view(x.shape), grad_weight1, grad_bias1, grad_kernel, grad_kernel_bias, grad_weight2,
                grad_out.sum(0), None)


class ConvMlp(Mlp):
    """An MLP with a 3x3 depth-wise convolution behind its first layer (PVTv2, section 3.4).

    Zeros around the map tell positions apart. ``(N, H, W, C)`` -> ``(N, H, W, C)``.

    Args:
        embed_dims: C.
        hidden_dims: channels between the two layers.
        relu: whether a ReLU precedes the convolution, as in the variant with linear attention.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, relu: bool):
        super().__init__(embed_dims, hidden_dims)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.dwconv = nn.Conv2d(hidden_dims, hidden_dims, 3, 1, 1, groups=hidden_dims)

    def forward(self, x: Tensor) -> Tensor:
        if not (works_in_pieces(x) and is_plain(self.fc1, self.dwconv, self.fc2)):
            hidden = self.relu(self.fc1(x)).permute(0, 3, 1, 2)  # (N, hidden, H, W)
            return self.fc2(self.act(self.dwconv(hidden).permute(0, 2, 3, 1)))
        inputs = x, *(tensor for layer in (self.fc1, self.dwconv, self.fc2) for tensor in (layer.weight, layer.bias))
        relu = isinstance(self.relu, nn.ReLU)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _PiecewiseConvMlp.apply(*inputs, relu)
        return _forward(*inputs, relu, kept=None)
