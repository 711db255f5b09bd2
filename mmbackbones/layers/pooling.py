"""Poolings of maps of any size, in one graph."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .padding import pad_to_multiples, padded_size

__all__ = ['CeilMaxPool2d', 'HalvingMean']


class CeilMaxPool2d(nn.MaxPool2d):
    """Maximum over windows. ``(N, C, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``.

    Torch finds the size of a pooled map by asking whether the stride divides, for which a compiler would need a graph
    for each answer. It gets a map that is filled up until the stride does, by what wins no maximum.

    Args:
        kernel_size: side of the windows: the stride, or odd and larger; then they are centred.
        stride: of the windows.
    """

    def __init__(self, kernel_size: int, stride: int):
        super().__init__(
            kernel_size, stride, kernel_size // 2 if kernel_size > stride else 0, ceil_mode=kernel_size == stride)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        before, over = self.padding, self.kernel_size - self.stride  # how far windows reach out, before and in all
        height, width = x.shape[2:]
        bottom, right = (
            wanted - length + over - before
            for wanted, length in zip(padded_size((height, width), (self.stride, self.stride)), (height, width)))
        x = F.pad(x, (before, right, before, bottom), value=-math.inf)
        return F.max_pool2d(x, self.kernel_size, self.stride)


class HalvingMean(nn.AvgPool2d):
    """Mean over 2x2; at the end of an odd side, over the pixels that there are.

    ``(N, C, H, W)`` -> ``(N, C, ceil(H / 2), ceil(W / 2))``. For a compiler see :class:`CeilMaxPool2d`: with its last
    row repeated, a map has the same means.
    """

    def __init__(self):
        super().__init__(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        return F.avg_pool2d(pad_to_multiples(x, (2, 2), mode='replicate'), 2)
