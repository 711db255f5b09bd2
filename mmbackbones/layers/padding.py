"""Values at the right and at the bottom of a map, so that patches, windows and poolings of any size fit."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['is_known', 'larger', 'pad_to_multiples', 'pad_to_size', 'padded_size']


def is_known(condition: bool) -> bool:
    """Whether sizes fulfil a condition, for shortcuts: with or without them the result is the same.

    A compiler or exporter that has symbols for the sizes gets False where it cannot tell. Asked for the truth it would
    make a graph for these sizes only.
    """
    if not torch.compiler.is_compiling():
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import statically_known_true
    return statically_known_true(condition)


def larger(a: int, b: int) -> int:
    """The larger one of two sizes. An exporter that has symbols keeps the choice, where Python's ``max`` would ask."""
    return max(a, b) if torch.compiler.is_dynamo_compiling() else torch.sym_max(a, b)


def padded_size(size: Tuple[int, int], multiples: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) up to multiples of (h, w), written so that a compiler sees the multiple, and for ONNX, whose
    division truncates: a negative number would be rounded up."""
    return tuple((length + step - 1) // step * step for length, step in zip(size, multiples))


def pad_to_size(x: Tensor,
                size: Tuple[int, int],
                channels_last: bool = False,
                mode: str = 'constant',
                before: Tuple[int, int] = (0, 0)) -> Tensor:
    """Fill a map up, or cut it, at the bottom and at the right.

    A slice would do for the cut, but whether it is contiguous depends on the size, and a compiler that has to find out
    makes a graph for each answer.

    Args:
        x: ``(N, C, H, W)``, or ``(N, H, W, C)`` with ``channels_last``.
        size: (H', W') wanted.
        channels_last: the channels are the last dimension.
        mode: of :func:`torch.nn.functional.pad`. Defaults to zeros.
        before: how many rows and columns to add at the top and at the left; negative ones are cut off.

    Returns:
        Tensor: ``(N, C, H', W')`` or ``(N, H', W', C)``; ``x`` itself where nothing changes.
    """
    (height, width), (top, left) = x.shape[1:3] if channels_last else x.shape[2:], before
    pads = left, size[1] - width - left, top, size[0] - height - top
    if all(is_known(pad == 0) for pad in pads):
        return x  # a pad of nothing would copy
    return F.pad(x, (0, 0) * channels_last + pads, mode)


def pad_to_multiples(x: Tensor,
                     multiples: Tuple[int, int],
                     channels_last: bool = False,
                     mode: str = 'constant') -> Tensor:
    """:func:`pad_to_size` with H and W up to multiples of (h, w)."""
    size = x.shape[1:3] if channels_last else x.shape[2:]
    return pad_to_size(x, padded_size(size, multiples), channels_last, mode)
