"""The neck of our classifiers: global average pooling and the dropout that the papers have before the classifier.

MMPretrain's linear head has no dropout of its own.
"""
from typing import Tuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS

__all__ = ['PooledDropout']


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
