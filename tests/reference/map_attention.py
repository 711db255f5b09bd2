"""Attention over a map by content and position, one pair of positions at a time."""
import torch


def map_attention(q, k, v, rows, columns, num_heads):
    """As DogeNet's code scores: what looks gives the position term, what is looked at the query that it meets.

    Args:
        q, k, v: ``(N, C, H, W)``.
        rows: ``(1, C, H, 1)``.
        columns: ``(1, C, 1, W)``.
        num_heads: heads of C / num_heads channels.
    """

    def score(q, k, rows, columns, here, there):
        position = rows[0, :, here[0], 0] + columns[0, :, 0, here[1]]
        return q[:, here[0], here[1]] @ k[:, there[0], there[1]] + position @ q[:, there[0], there[1]]

    tables = zip(rows.chunk(num_heads, 1), columns.chunk(num_heads, 1))
    return _attend(q, k, v, list(tables), score)


def relative_map_attention(q, k, v, rows, columns, num_heads):
    """Srinivas et al. 2021, figure 4: each query meets the key, and the terms of the offsets from it to the key.

    Args:
        q, k, v: ``(N, C, H, W)``.
        rows: ``(1, d, 2 * H - 1, 1)``, from the offset 1 - H up; d = C / num_heads.
        columns: ``(1, d, 1, 2 * W - 1)``.
        num_heads: heads of d channels.
    """
    height, width = q.shape[-2:]

    def score(q, k, rows, columns, here, there):
        query = q[:, here[0], here[1]]
        down, right = there[0] - here[0], there[1] - here[1]
        position = rows[0, :, down + height - 1, 0] + columns[0, :, 0, right + width - 1]
        return (query @ k[:, there[0], there[1]] + query @ position) / len(query)**0.5

    return _attend(q, k, v, [(rows, columns)] * num_heads, score)


def _attend(q, k, v, tables, score):
    height, width = q.shape[-2:]
    positions = [(y, x) for y in range(height) for x in range(width)]
    images = []
    for sample in zip(q, k, v):
        heads = []
        for q_head, k_head, v_head, table in zip(*(part.chunk(len(tables)) for part in sample), tables):
            out = []
            for here in positions:
                scores = torch.stack([score(q_head, k_head, *table, here, there) for there in positions])
                weights = scores.exp() / scores.exp().sum()
                out.append(sum(weight * v_head[:, y, x] for weight, (y, x) in zip(weights, positions)))
            heads.append(torch.stack(out, 1).view(-1, height, width))
        images.append(torch.cat(heads))
    return torch.stack(images)
