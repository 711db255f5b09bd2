"""The two-layer perceptron of transformer blocks."""
from typing import Callable

from torch import Tensor, nn

__all__ = ['Mlp']


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
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
