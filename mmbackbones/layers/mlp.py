"""The two-layer perceptron of transformer blocks, and that of PVTv2 with a depth-wise convolution in the middle."""
from typing import Iterator, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ._eager_cpu import is_eager, is_large, is_plain, works_in_pieces

__all__ = ['ConvMlp', 'Mlp']

# Positions at a time and thread: on the CPU as fast as larger pieces, while the hidden channels stay in the cache
ROWS = 1024
# Values of a piece for each thread, 8 MiB in float32, but not less than so many channels
VALUES, CHANNELS = 2**21, 64


def _pieces(rows: Tensor) -> Iterator[slice]:
    step = ROWS * torch.get_num_threads()
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _in_pieces(rows: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, hidden: Optional[Tensor] = None) -> Tensor:
    """Rows of C channels -> the same shape; no tensor of the hidden layer's size but ``hidden``, which is filled."""
    out = torch.empty_like(rows)
    for piece in _pieces(rows):
        if hidden is None:
            active = torch.ops.aten.gelu_(torch.addmm(b1, rows[piece], w1.t()))
        else:
            active = F.gelu(torch.addmm(b1, rows[piece], w1.t(), out=hidden[piece]))
        torch.addmm(b2, active, w2.t(), out=out[piece])
    return out


class _InPieces(torch.autograd.Function):
    """:func:`_in_pieces` in training. Of the hidden layer it keeps what precedes the activation, and computes the rest
    again: a piece of it stays in the cache, where a tensor for each step of the gradient would be new memory."""

    @staticmethod
    def forward(ctx, rows, w1, b1, w2, b2):
        hidden = rows.new_empty(len(rows), len(w1)) if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(rows, hidden, w1, w2)
        return _in_pieces(rows, w1, b1, w2, b2, hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, hidden, w1, w2 = ctx.saved_tensors
        needs = ctx.needs_input_grad
        to_rows = torch.empty_like(rows) if needs[0] else None
        to_w1, to_b1, to_w2 = torch.zeros_like(w1), w1.new_zeros(len(w1)), torch.zeros_like(w2)
        for piece in _pieces(rows):
            if needs[3]:
                to_w2.addmm_(gradient[piece].t(), F.gelu(hidden[piece]))
            inner = gradient[piece] @ w2
            torch.ops.aten.gelu_backward.grad_input(inner, hidden[piece], grad_input=inner)
            if needs[2]:
                to_b1 += inner.sum(0)
            if needs[1]:
                to_w1.addmm_(inner.t(), rows[piece])
            if needs[0]:
                torch.mm(inner, w1, out=to_rows[piece])
        return to_rows, to_w1, to_b1, to_w2, gradient.sum(0)


class Mlp(nn.Module):
    """Linear, GELU, linear, over the last dimension. ``(..., C)`` -> ``(..., C)``.

    Args:
        embed_dims: C.
        hidden_dims: channels between the two layers.
    """

    def __init__(self, embed_dims: int, hidden_dims: int):
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        if is_eager(x) and is_plain(self.fc1, self.act, self.fc2):
            parameters = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
            if not torch.is_grad_enabled():
                return _in_pieces(x.flatten(0, -2), *parameters).view(x.shape)
            if is_large(x.dtype, x.numel() // x.shape[-1] * self.fc1.out_features):
                return _InPieces.apply(x.flatten(0, -2), *parameters).view(x.shape)
        return self.fc2(self.act(self.fc1(x)))


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
        if works_in_pieces(x) and self._is_plain():
            return self._in_pieces(x)
        hidden = self.relu(self.fc1(x)).permute(0, 3, 1, 2)  # (N, hidden, H, W)
        return self.fc2(self.act(self.dwconv(hidden).permute(0, 2, 3, 1)))

    def _is_plain(self) -> bool:
        conv = self.dwconv
        return (is_plain(self.fc1, conv, self.act, self.fc2) and is_plain(self.relu, kinds=(nn.ReLU, nn.Identity))
                and conv.groups == conv.in_channels == conv.out_channels and conv.padding_mode == 'zeros')

    def _in_pieces(self, x: Tensor) -> Tensor:
        """Some of the hidden channels at a time: neither convolution nor activation looks from one at another."""
        conv, rows = self.dwconv, x.flatten(0, 2)
        out = self.fc2.bias.repeat(len(rows), 1)
        step = max(VALUES * torch.get_num_threads() // max(len(rows), 1) // CHANNELS, 1) * CHANNELS
        for start in range(0, len(self.fc1.weight), step):
            piece = slice(start, start + step)
            hidden = self.relu(torch.addmm(self.fc1.bias[piece], rows, self.fc1.weight[piece].t()))
            hidden = hidden.unflatten(0, x.shape[:3]).permute(0, 3, 1, 2)  # (N, piece, H, W)
            hidden = F.conv2d(hidden, conv.weight[piece], conv.bias[piece], conv.stride, conv.padding, conv.dilation,
                              hidden.shape[1])
            hidden = torch.ops.aten.gelu_(hidden).permute(0, 2, 3, 1)
            out.addmm_(hidden.flatten(0, 2), self.fc2.weight[:, piece].t())
        return out.view(x.shape)
