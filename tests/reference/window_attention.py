"""Shifted window attention as the paper says it (section 3.2), position by position: no padding, no rolling."""
import torch


def window_positions(y, x, size, window_size, shifted):
    """Positions in the window of (y, x): windows tile the plane from (0, 0), or half a window further when shifted.

    Along a side that is not longer than the window there is one window and no shift.
    """
    ranges = []
    for at, length in ((y, size[0]), (x, size[1])):
        start = window_size // 2 if shifted and length > window_size else 0
        first = start + (at - start) // window_size * window_size
        ranges.append(range(max(first, 0), min(first + window_size, length)))
    return [(row, column) for row in ranges[0] for column in ranges[1]]


def window_attention(x, qkv, proj, table, num_heads, window_size, shifted):
    """Equation 4 in each head: softmax(q k / sqrt(d) + B) v over the positions in the window, then the projection.

    Args:
        x: ``(N, H, W, C)``.
        qkv, proj: weight and bias of a linear layer.
        table: ``((2 * window_size - 1)**2, num_heads)``, B by relative position, rows before columns.
    """
    batch, height, width, channels = x.shape
    q, k, v = (x @ qkv[0].T + qkv[1]).view(batch, height, width, 3, num_heads, -1).unbind(3)  # (N, H, W, heads, d)
    table = table.view(2 * window_size - 1, 2 * window_size - 1, num_heads)
    rows = []
    for y in range(height):
        row = []
        for x_ in range(width):
            seen = window_positions(y, x_, (height, width), window_size, shifted)
            scores = torch.stack([(q[:, y, x_] * k[:, j, i]).sum(-1) / q.shape[-1]**0.5 +
                                  table[y - j + window_size - 1, x_ - i + window_size - 1] for j, i in seen])
            weights = scores.exp() / scores.exp().sum(0)  # (positions, N, heads)
            values = torch.stack([v[:, j, i] for j, i in seen])  # (positions, N, heads, d)
            row.append((weights[..., None] * values).sum(0).flatten(1))
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1) @ proj[0].T + proj[1]
