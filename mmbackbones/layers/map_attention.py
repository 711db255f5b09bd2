"""Attention of every position of a map to every other, by content and by position, in place of a 3x3 convolution.

Neither form ever holds the scores of all pairs of positions, nor a bias of that size: queries and keys are lengthened
so that one product gives the content and the position term. Torch's fused attention does the rest, with memory that is
linear in the number of positions.
"""
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import multi_head_attention
from .positions import resize_positions

__all__ = ['MapAttention', 'RelativeMapAttention', 'convert_map_positions', 'resize_map_positions']


def _to_tokens(x: Tensor, num_heads: int) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, H * W, heads, C / heads)``; fused kernels want a head's channels side by side."""
    return x.flatten(2).transpose(1, 2).contiguous().unflatten(-1, (num_heads, -1))


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, like: Tensor) -> Tensor:
    """Attention of tokens, as a map.

    Args:
        q, k: ``(N, H * W, heads, D)``.
        v: ``(N, H * W, heads, d)``, d <= D.
        scale: of the scores.
        like: ``(N, C, H, W)``, a map whose size and memory format the result has.

    Returns:
        Tensor: ``(N, heads * d, H, W)``.
    """
    num_heads, dims = v.shape[-2:]
    if v.is_cpu:  # the fused kernel there takes heads of one length only
        v = F.pad(v, (0, q.shape[-1] - dims))
    out = multi_head_attention(q.flatten(2), k.flatten(2), v.flatten(2), num_heads, scale=scale)  # (N, L, heads * D)
    out = out.unflatten(-1, (num_heads, -1))[..., :dims].flatten(2)  # (N, L, heads * d)
    out = out.transpose(1, 2).unflatten(2, like.shape[-2:])
    # which layout a map has can depend on its size, and a compiler that asks compiles anew; it chooses its own
    channels_last = not torch.compiler.is_compiling() and like.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class MapAttention(nn.Module):
    """softmax(q k^T + r q^T) v with a learned term r for every position, the sum of one of its row and its column.

    The attention of DogeNet's code (``MHSA``, ``MHSAX``). There the score of the pair (i, j) is q_i k_j + r_i q_j: the
    position term is that of the position which looks, with the query of the one looked at, and nothing is scaled. It is
    the product of q_i and r_i, one behind the other, with k_j and q_j. ``(N, C, H, W)`` -> the same shape.

    Args:
        channels: C.
        num_heads: C is a multiple of it.
        size: rows and columns of the position tables; for other maps they are interpolated.
        depthwise: keys by a depth-wise 3x3 convolution that repeats the border, values by a depth-wise 1x1 one.
    """

    def __init__(self, channels: int, num_heads: int, size: Tuple[int, int], depthwise: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Conv2d(channels, channels, 1)
        if depthwise:
            self.key = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, padding_mode='replicate')
            self.value = nn.Conv2d(channels, channels, 1, groups=channels)
        else:
            self.key = nn.Conv2d(channels, channels, 1)
            self.value = nn.Conv2d(channels, channels, 1)
        self.rows = nn.Parameter(torch.randn(1, channels, size[0], 1))
        self.columns = nn.Parameter(torch.randn(1, channels, 1, size[1]))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        positions = resize_positions(self.rows, (height, 1)) + resize_positions(self.columns, (1, width))
        maps = self.query(x), self.key(x), self.value(x), positions
        q, k, v, r = (_to_tokens(part, self.num_heads) for part in maps)  # (N or 1, L, heads, d), L = H * W
        r = r.to(q.dtype).expand_as(q)
        return _attend(torch.cat((q, r), -1), torch.cat((k, q), -1), v, 1., x)


class RelativeMapAttention(nn.Module):
    """softmax((q k^T + q r^T) / sqrt(d)) v, r a learned term for each offset in rows plus one for that in columns.

    The attention of BoTNet (Srinivas et al. 2021, figure 4); d is a head's channels, and the heads share the terms.
    The logit of an offset depends on the query and on the key's row (column) alone. So each query is lengthened by its
    logits of all H rows and W columns, and each key by two one-hot vectors that pick its own: one product gives both
    terms. ``(N, C, H, W)`` -> the same shape.

    Args:
        channels: C.
        num_heads: C is a multiple of it.
        size: rows and columns of the map that the tables of ``2 * size - 1`` offsets are for; for other maps they are
            interpolated.
    """
    # lengths that are a multiple of it suit the fused kernels
    alignment = 8

    def __init__(self, channels: int, num_heads: int, size: Tuple[int, int]):
        super().__init__()
        self.num_heads = num_heads
        dims = channels // num_heads
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.rows = nn.Parameter(torch.empty(1, dims, 2 * size[0] - 1, 1))
        self.columns = nn.Parameter(torch.empty(1, dims, 1, 2 * size[1] - 1))
        for conv in (self.query, self.key, self.value):
            nn.init.normal_(conv.weight, std=channels**-0.5)
        for table in (self.rows, self.columns):
            nn.init.normal_(table, std=dims**-0.5)

    def _offset_logits(self, q: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, H * W, heads, H + W)``: of each query to each row, then to each column."""
        height, width = q.shape[-2:]
        q = q.unflatten(1, (self.num_heads, -1))  # (N, heads, d, H, W)
        rows = resize_positions(self.rows, (2 * height - 1, 1))[0, :, :, 0]  # (d, 2 * H - 1)
        columns = resize_positions(self.columns, (1, 2 * width - 1))[0, :, 0]  # (d, 2 * W - 1)
        y, x = (torch.arange(size, device=q.device) for size in (height, width))
        rows = rows[:, y - y[:, None] + height - 1].to(q.dtype)  # (d, H of the query, H of the key)
        columns = columns[:, x - x[:, None] + width - 1].to(q.dtype)  # (d, W of the query, W of the key)
        to_rows = torch.einsum('nhdyx,dyk->nyxhk', q, rows)  # (N, H, W, heads, H)
        to_columns = torch.einsum('nhdyx,dxk->nyxhk', q, columns)  # (N, H, W, heads, W)
        return torch.cat((to_rows, to_columns), -1).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        query = self.query(x)
        maps = query, self.key(x), self.value(x)
        q, k, v = (_to_tokens(part, self.num_heads) for part in maps)  # (N, L, heads, d), L = H * W
        scale = q.shape[-1]**-0.5
        length = q.shape[-1] + height + width
        padding = (length + self.alignment - 1) // self.alignment * self.alignment - length
        row, column = (torch.eye(count, dtype=k.dtype, device=k.device) for count in (height, width))
        row = row[:, None].expand(height, width, height).flatten(0, 1)  # (L, H)
        column = column.expand(height, width, width).flatten(0, 1)  # (L, W)
        one_hot = torch.cat((row, column), -1)  # (L, H + W)
        one_hot = one_hot[None, :, None].expand(*k.shape[:3], -1)  # (N, L, heads, H + W)
        q = F.pad(torch.cat((q, self._offset_logits(query).to(q.dtype)), -1), (0, padding))
        k = F.pad(torch.cat((k, one_hot), -1), (0, padding))
        return _attend(q, k, v, scale, x)


def convert_map_positions(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the position tables of DogeNet's code onto :class:`MapAttention`'s; the other keys are left alone.

    Its ``rel_w``, ``(1, heads, C / heads, H, 1)``, is the one of the rows, and ``rel_h``,
    ``(1, heads, C / heads, 1, W)``, that of the columns.
    """
    names = {'rel_w': 'rows', 'rel_h': 'columns'}
    converted = {}
    for key, value in state_dict.items():
        head, _, tail = key.rpartition('.')
        if tail in names:
            key, value = f'{head}.{names[tail]}', value.flatten(1, 2)
        converted[key] = value
    return converted


def resize_map_positions(state_dict: Dict[str, Tensor], module: nn.Module) -> Dict[str, Tensor]:
    """Interpolate the position tables of ``state_dict`` to the sizes that ``module`` has."""
    resized = dict(state_dict)
    for key, own in module.state_dict().items():
        table = state_dict.get(key)
        if table is None or not key.endswith(('.rows', '.columns')):
            continue
        if table.dim() == 4 and table.shape[:2] == own.shape[:2]:  # anything else is for strict loading to refuse
            resized[key] = resize_positions(table, own.shape[2:])
    return resized
