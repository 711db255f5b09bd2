"""The two-layer perceptron of transformer blocks."""
from typing import Callable

import torch
from torch import Tensor, nn

from ._cpu import is_plain, works_in_pieces

__all__ = ['Mlp']

# Positions at a time and thread: on the CPU as fast as larger pieces, while the hidden channels stay in the cache
ROWS = 1024


def _in_pieces(x: Tensor, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
    """``(..., C)`` -> the same shape, without a tensor of the hidden layer's size."""
    rows = x.flatten(0, -2)
    out = torch.empty_like(rows)
    step = ROWS * torch.get_num_threads()
    for start in range(0, len(rows), step):
        piece = slice(start, start + step)
        hidden = torch.addmm(fc1.bias, rows[piece], fc1.weight.t())
        torch.addmm(fc2.bias, torch.ops.aten.gelu_(hidden), fc2.weight.t(), out=out[piece])
    return out.view(x.shape)


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
        plain = type(self.act) is nn.GELU and self.act.approximate == 'none' and is_plain(self.fc1, self.fc2)
        if works_in_pieces(x) and plain and not drops:
            return _in_pieces(x, self.fc1, self.fc2)
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
