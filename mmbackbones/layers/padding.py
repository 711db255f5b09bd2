"""Zeros at the right and at the bottom of a map, so that patches and windows of any size fit."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['pad_to_multiples', 'padded_size']


def padded_size(size: Tuple[int, int], multiples: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) up to multiples of (h, w), written so that a compiler sees the multiple, and for ONNX, whose
    division truncates: a negative number would be rounded up."""
    return tuple((length + step - 1) // step * step for length, step in zip(size, multiples))


def pad_to_multiples(x: Tensor, multiples: Tuple[int, int], channels_last: bool = False) -> Tensor:
    """Fill a map up with zeros at the bottom and at the right.

    Args:
        x: ``(N, C, H, W)``, or ``(N, H, W, C)`` with ``channels_last``.
        multiples: (h, w).
        channels_last: the channels are the last dimension.

    Returns:
        Tensor: the map with H and W up to multiples of h and w; ``x`` itself where they are already.
    """
    size = tuple(x.shape[1:3] if channels_last else x.shape[2:])
    (height, width), padded = size, padded_size(size, multiples)
    # a pad of nothing would copy; but a compiler that may compare sizes compiles anew for those that need none
    if not torch.compiler.is_compiling() and padded == size:
        return x
    return F.pad(x, (0, 0) * channels_last + (0, padded[1] - width, 0, padded[0] - height))
