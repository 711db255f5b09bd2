"""The bias of relative attention, pair by pair."""
import torch


def relative_position_bias(table, height, width):
    """Entry (i, j) is the table's at the offset i - j, row and column, counted from its middle."""
    positions = [(y, x) for y in range(height) for x in range(width)]
    rows = []
    for y_i, x_i in positions:
        rows.append(torch.stack([table[:, y_i - y_j + height - 1, x_i - x_j + width - 1] for y_j, x_j in positions], 1))
    return torch.stack(rows, 1)  # (heads, height * width, height * width)


def relative_attention(q, k, v, table, height, width):
    """softmax over j of x_i . x_j / sqrt(d) + w_(i - j), one image and head at a time (CoAtNet, equation 3, pre).

    Args:
        q, k, v: ``(N, height * width, C)``, head by head along C.
        table: ``(heads, 2 * height - 1, 2 * width - 1)``.
    """
    heads = table.shape[0]
    bias = relative_position_bias(table, height, width)
    dims = q.shape[-1] // heads
    out = torch.empty_like(q)
    for image in range(q.shape[0]):
        for head in range(heads):
            part = slice(head * dims, (head + 1) * dims)
            scores = q[image, :, part] @ k[image, :, part].T / dims**0.5 + bias[head]
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            out[image, :, part] = weights @ v[image, :, part]
    return out
