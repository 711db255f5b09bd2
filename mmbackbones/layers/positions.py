"""Position tables: brought to any size, so that no network is tied to the resolution it was trained at."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .padding import is_known

__all__ = ['relative_position_index', 'resize_positions']


def resize_positions(table: Tensor, size: Tuple[int, int], mode: str = 'bicubic') -> Tensor:
    """Interpolate a table of positions. It is returned as it is where the size is its own.

    Args:
        table: ``(N, C, h, w)``.
        size: ``(H, W)`` wanted.
        mode: of :func:`torch.nn.functional.interpolate`.

    Returns:
        Tensor: ``(N, C, H, W)``, of the table's dtype.
    """
    if all(is_known(own == wanted) for own, wanted in zip(table.shape[-2:], size)):
        return table
    # half precision would round the weights of the interpolation
    resized = F.interpolate(table.to(torch.promote_types(table.dtype, torch.float32)), size, mode=mode)
    return resized.to(table.dtype)


def relative_position_index(height: int, width: int) -> Tensor:
    """Where in a table of ``(2 * height - 1) * (2 * width - 1)`` offsets each pair of positions looks.

    Returns:
        Tensor: int64 ``(height * width, height * width)``; entry (i, j) stands for the offset of j seen from i, rows
        before columns: ``(y_i - y_j + height - 1) * (2 * width - 1) + x_i - x_j + width - 1``.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1
