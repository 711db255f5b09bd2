"""Self-attention inside windows of a map, shifted or not (Liu et al., Swin Transformer, section 3.2)."""
import math
from functools import lru_cache
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import multi_head_attention
from .positions import relative_position_index

__all__ = ['WindowAttention', 'window_attention', 'window_mask']


def _padded(size: Tuple[int, int], window: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) up to multiples of (h, w), written so that a compiler with symbols for H and W sees the multiple."""
    return tuple(-(-length // step) * step for length, step in zip(size, window))


def _partition(x: Tensor, window: Tuple[int, int]) -> Tensor:
    """``(N, H, W, C)`` -> ``(N * windows, h * w, C)``; H and W are multiples of the window's (h, w)."""
    (batch, height, width, channels), (h, w) = x.shape, window
    x = x.reshape(batch, height // h, h, width // w, w, channels)
    return x.transpose(2, 3).reshape(-1, h * w, channels)  # (N, rows, columns, h, w, C) -> (N * windows, h * w, C)


def _merge(x: Tensor, size: Tuple[int, int], window: Tuple[int, int]) -> Tensor:
    """``(N * windows, h * w, C)`` -> ``(N, H, W, C)``: the opposite of :func:`_partition`."""
    (height, width), (h, w) = size, window
    x = x.reshape(-1, height // h, width // w, h, w, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, x.shape[-1])  # (N, rows, h, columns, w, C) -> (N, H, W, C)


def _build_mask(size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int], dtype: torch.dtype,
                device: torch.device) -> Tensor:
    padded = _padded(size, window)
    # where on the map each row and column was before the map was rolled
    y, x = ((torch.arange(length, device=device) + by) % length for length, by in zip(padded, shift))
    # rolled over the seam or not, in either direction: four regions; padding is the fifth, so that it sees itself only
    region = 2 * (y < shift[0]).int()[:, None] + (x < shift[1]).int()  # (H', W')
    region = region.masked_fill((y >= size[0])[:, None] | (x >= size[1]), 4)
    region = _partition(region[None, :, :, None], window).squeeze(-1)  # (windows, h * w)
    apart = region[:, :, None] != region[:, None]
    # added, which is several times faster than filling
    return torch.zeros(apart.shape, dtype=dtype, device=device).masked_fill(apart, -math.inf)


@lru_cache(maxsize=16)
def _kept_mask(*args) -> Tensor:
    # training may follow on an evaluation in inference mode, whose tensors it must not meet
    with torch.inference_mode(False):
        return _build_mask(*args)


def window_mask(size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int], dtype: torch.dtype,
                device: torch.device) -> Optional[Tensor]:
    """Which pairs in a window must not see each other: across the seam of a rolled map, or padding and map.

    It is built once for a size and kept; the 16 last used ones, which serve two image sizes, stay.

    Args:
        size: (H, W) of the map, before padding at the bottom and at the right to multiples of the window.
        window: (h, w).
        shift: rows and columns by which the padded map was rolled to the top and to the left.
        dtype, device: of the mask.

    Returns:
        Tensor | None: ``(windows, h * w, h * w)``, added to the scores: 0, and ``-inf`` for a forbidden pair. None
        where all are allowed.
    """
    if not any(shift) and not any(length % step for length, step in zip(size, window)):
        return None
    # a compiler must see it being made: nothing that it traces with may be kept
    build = _build_mask if torch.compiler.is_compiling() else _kept_mask
    return build(tuple(size), tuple(window), tuple(shift), dtype, device)


def window_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Optional[Tensor] = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias + mask) v in each window and head (equation 4).

    Args:
        q, k, v: ``(N * windows, L, C)``, the windows of an image behind each other.
        bias: ``(num_heads, L, L)``.
        mask: see :func:`window_mask`, ``(windows, L, L)``. Defaults to None: every pair counts.

    Returns:
        Tensor: ``(N * windows, L, C)``.
    """
    num_heads, bias = len(bias), bias[None]  # (1, num_heads, L, L)
    if mask is not None:
        bias = bias + mask[:, None]  # (windows, num_heads, L, L)
        # (N * windows, num_heads, L, L); a view for a single image
        bias = bias.expand(len(q) // len(mask), *bias.shape).flatten(0, 1)
    return multi_head_attention(q, k, v, num_heads, bias)


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows, with a bias for each relative position. ``(N, H, W, C)``, same shape out.

    Any H and W: the map is padded to multiples of the window, and no position of it sees the padding. Along a side that
    is not longer than the window there is one window, as long as the side, and no shift.

    Args:
        embed_dims: C.
        num_heads: C is a multiple of it.
        window_size: rows and columns of a window.
        shift: move the windows by half their size, so that they join neighbours of the unshifted ones.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int, shift: bool = False):
        super().__init__()
        self.window_size = window_size
        self.shift_size = window_size // 2 if shift else 0
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1)**2, num_heads))
        self.register_buffer('index', relative_position_index(window_size, window_size), persistent=False)
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def relative_bias(self, window: Tuple[int, int]) -> Tensor:
        """``(num_heads, h * w, h * w)`` for a window of (h, w), which is not larger than ``window_size``."""
        side, (h, w) = self.window_size, window
        index = self.index.view(side, side, side, side)[:h, :w, :h, :w].reshape(h * w, h * w)
        return self.relative_position_bias_table[index].permute(2, 0, 1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        size = height, width = x.shape[1:3]
        longer = [length > self.window_size for length in size]
        window = tuple(self.window_size if more else length for more, length in zip(longer, size))
        shift = tuple(self.shift_size if more else 0 for more in longer)
        padded = _padded(size, window)
        if padded != tuple(size):  # a pad of nothing would copy
            x = F.pad(x, (0, 0, 0, padded[1] - width, 0, padded[0] - height))  # (N, H', W', C)
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), (1, 2))
        q, k, v = self.qkv(_partition(x, window)).chunk(3, -1)  # each (N * windows, h * w, C)
        mask = window_mask(size, window, shift, q.dtype, q.device)
        x = _merge(window_attention(q, k, v, self.relative_bias(window).to(q.dtype), mask), padded, window)
        if any(shift):
            x = x.roll(shift, (1, 2))
        return self.proj(x[:, :height, :width].contiguous())

    def extra_repr(self) -> str:
        return f'window_size={self.window_size}, shift_size={self.shift_size}'
