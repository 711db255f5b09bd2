"""The two-layer perceptron of transformer blocks."""
from typing import Callable, Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ._cpu import is_plain, works_in_pieces

__all__ = ['Mlp']

# Positions at a time and thread: on the CPU as fast as larger pieces, while the hidden channels stay in the cache
ROWS = 1024


def _pieces(length: int) -> Iterator[slice]:
    step = ROWS * torch.get_num_threads()
    return (slice(start, start + step) for start in range(0, length, step))


def _forward(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor,
             kept: Optional[Tensor]) -> Tensor:
    """``(L, C)`` -> the same shape, piece by piece; ``kept`` (L, hidden) takes what the activation sees."""
    out = torch.empty_like(x)
    for piece in _pieces(len(x)):
        if kept is None:
            hidden = torch.ops.aten.gelu_(torch.addmm(bias1, x[piece], weight1.t()))
        else:
            hidden = F.gelu(torch.addmm(bias1, x[piece], weight1.t(), out=kept[piece]))
        torch.addmm(bias2, hidden, weight2.t(), out=out[piece])
    return out


class _PiecewiseMlp(Function):
    """Keeps what the activation sees and nothing else of the hidden layer's size."""

    @staticmethod
    def forward(ctx, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        kept = x.new_empty(len(x), len(weight1))
        ctx.save_for_backward(x, kept, weight1, weight2)
        return _forward(x, weight1, bias1, weight2, bias2, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, kept, weight1, weight2 = ctx.saved_tensors
        need_x, need_weight1, need_bias1, need_weight2, need_bias2 = ctx.needs_input_grad
        grad_x = torch.empty_like(x) if need_x else None
        grad_weight1 = torch.zeros_like(weight1) if need_weight1 else None
        grad_bias1 = weight1.new_zeros(len(weight1)) if need_bias1 else None
        grad_weight2 = torch.zeros_like(weight2) if need_weight2 else None
        for piece in _pieces(len(x)):
            if need_weight2:
                grad_weight2.addmm_(grad[piece].t(), F.gelu(kept[piece]))
            if not (need_x or need_weight1 or need_bias1):
                continue
            hidden = grad[piece] @ weight2
            torch.ops.aten.gelu_backward.grad_input(hidden, kept[piece], grad_input=hidden)
            if need_weight1:
                grad_weight1.addmm_(hidden.t(), x[piece])
            if need_bias1:
                grad_bias1 += hidden.sum(0)
            if need_x:
                torch.mm(hidden, weight1, out=grad_x[piece])
        return grad_x, grad_weight1, grad_bias1, grad_weight2, grad.sum(0) if need_bias2 else None


class Mlp(nn.Module):
    """Linear, activation, linear, over the last dimension. ``(..., C)`` -> ``(..., C)``.

    Args:
        embed_dims: C.
        hidden_dims: channels between the two layers.
        act: makes the activation. Defaults to GELU.
        drop_rate: of the dropout behind either layer. Defaults to 0: none.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, act: Callable = nn.GELU, drop_rate: float = 0.):
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = act()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        drops = self.training and self.drop.p > 0
        if (drops or not works_in_pieces(x) or type(self.act) is not nn.GELU or self.act.approximate != 'none'
                or not is_plain(self.fc1, self.fc2)):
            return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
        inputs = x.flatten(0, -2), self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            return _PiecewiseMlp.apply(*inputs).view(x.shape)
        return _forward(*inputs, kept=None).view(x.shape)
