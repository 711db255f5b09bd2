"""A bias for every pair of positions of a map, from a table with one entry an offset."""
import torch
from torch import Tensor

__all__ = ['relative_position_bias']


def relative_position_bias(table: Tensor, height: int, width: int) -> Tensor:
    """Spread a table of offsets over all pairs of positions (CoAtNet, equation 3: the bias w of position i - j).

    The rows of the result are overlapping windows of the table: they are cut out as views and copied once. No index
    over all pairs, which would be larger than the bias of one head, is kept or read.

    Args:
        table: ``(heads, 2 * height - 1, 2 * width - 1)``; its middle is the offset zero.
        height, width: of the map.

    Returns:
        Tensor: ``(heads, height * width, height * width)``; entry (i, j) of a head is
        ``table[y_i - y_j + height - 1, x_i - x_j + width - 1]``.
    """
    if torch.compiler.is_compiling():  # views of windows have a size that ONNX must know, and an exporter fixes it
        y, x = (torch.arange(length, device=table.device) for length in (height, width))
        rows = table[:, y[:, None] - y + height - 1]  # (heads, y_i, y_j, 2 * width - 1)
        bias = rows[..., x[:, None] - x + width - 1]  # (heads, y_i, y_j, x_i, x_j)
        return bias.transpose(2, 3).flatten(3).flatten(1, 2)
    # (heads, y_i, x_i, height, width): entry (a, b) of window (y_i, x_i) is table[y_i + a, x_i + b]
    windows = table.unfold(1, height, 1).unfold(2, width, 1)
    # a = height - 1 - y_j, b = width - 1 - x_j; (heads, height * width, height * width)
    return windows.flip(-2, -1).flatten(3).flatten(1, 2)
