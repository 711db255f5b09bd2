"""Necks of our classifiers: what stands between the last map and the linear classifier, which MMPretrain's lack."""
from typing import Optional, Tuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS

__all__ = ['PooledDropout', 'PooledNorm']


@MODELS.register_module()
class PooledDropout(nn.Module):
    """Average the last map over its positions, then drop features.

    Args:
        drop_prob: probability with which a feature is set to 0 in training; 0 drops none.

    Raises:
        ValueError: ``drop_prob`` is not in [0, 1).
    """

    def __init__(self, drop_prob: float):
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'PooledDropout: drop_prob={drop_prob} must be at least 0 and below 1')
        self.drop_prob = drop_prob

    def forward(self, maps: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        """A backbone's maps, the last one ``(N, C, H, W)``, -> one vector ``(N, C)``, in a tuple."""
        return (F.dropout(maps[-1].mean((2, 3)), self.drop_prob, self.training), )


@MODELS.register_module()
class PooledNorm(nn.Module):
    """Norm the last map at each position, then average it over them.

    The end of networks whose last block leaves its sum unnormed: PVT, CoAtNet and, with a hidden layer, Conv2Former.

    Args:
        in_channels: C, of the last map.
        hidden_channels: outputs of a linear layer with GELU before the norm. Defaults to None: no such layer.
    """

    def __init__(self, in_channels: int, hidden_channels: Optional[int] = None):
        super().__init__()
        self.hidden = None
        if hidden_channels is not None:
            self.hidden = nn.Linear(in_channels, hidden_channels)
            nn.init.trunc_normal_(self.hidden.weight, std=0.02)
            nn.init.zeros_(self.hidden.bias)
        self.norm = nn.LayerNorm(hidden_channels or in_channels, eps=1e-6)

    def forward(self, maps: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        """A backbone's maps, the last one ``(N, C, H, W)``, -> one vector ``(N, C)`` or ``(N, hidden)``, in a tuple."""
        x = maps[-1].permute(0, 2, 3, 1)  # (N, H, W, C)
        if self.hidden is not None:
            x = F.gelu(self.hidden(x))
        return (self.norm(x).mean((1, 2)), )
