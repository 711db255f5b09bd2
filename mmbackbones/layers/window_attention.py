"""Self-attention inside windows of a map, shifted or not (Liu et al., Swin Transformer, section 3.2)."""
import math
from functools import lru_cache
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ._eager_cpu import is_eager, works_in_pieces
from .attention import multi_head_attention
from .padding import is_known, larger, pad_to_size, padded_size
from .positions import relative_position_index

__all__ = ['WindowAttention', 'window_attention', 'window_mask']

# Scores at a time and thread where windows are worked on in pieces: 4 MiB in float32
SCORES = 2**20


def _partition(x: Tensor, window: Tuple[int, int]) -> Tensor:
    """``(N, H, W, C)`` -> ``(N * windows, h * w, C)``; H and W are multiples of the window's (h, w)."""
    (batch, height, width, channels), (h, w) = x.shape, window
    # no dimension is left for torch to find out: for a compiler it would be the quotient of two products
    x = x.reshape(batch, height // h, h, width // w, w, channels)
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2)  # (N, rows, columns, h, w, C) -> (N * windows, h * w, C)


def _merge(x: Tensor, size: Tuple[int, int, int], window: Tuple[int, int]) -> Tensor:
    """``(N * windows, h * w, C)`` -> ``(N, H, W, C)``, the size (N, H, W): the opposite of :func:`_partition`."""
    (batch, height, width), (h, w) = size, window
    x = x.reshape(batch, height // h, width // w, h, w, x.shape[-1])
    return x.transpose(2, 3).reshape(batch, height, width, x.shape[-1])  # (N, rows, h, columns, w, C) -> (N, H, W, C)


def _padded_size(size: Tuple[int, int], window: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) up to whole windows of (h, w); at least two along each side that a compiler has a symbol for.

    Torch makes a graph of its own for a dimension of one. A second window, of padding, costs little on so small a map.
    """
    if not torch.compiler.is_compiling():
        return padded_size(size, window)
    counts = ((length + side - 1) // side for length, side in zip(size, window))
    return tuple(side * (1 if is_known(count == 1) else larger(count, 2)) for count, side in zip(counts, window))


def _offset(size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int]) -> Tuple[int, int]:
    """How many rows and columns of padding lie before a map, so that rolling by ``shift`` brings it to the beginning.

    That is for a compiler's symbols alone: one graph serves sides of many windows, where windows are shifted, and of
    one, where they must not be.
    """
    if not torch.compiler.is_compiling():
        return 0, 0
    return tuple(by * larger(1 - length // (side + 1), 0) if by else 0 for length, side, by in zip(size, window, shift))


def _build_mask(size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int], dtype: torch.dtype,
                device: torch.device) -> Tensor:
    padded = _padded_size(size, window)
    # where each row and column was before the map was rolled
    y, x = (torch.arange(length, device=device).roll(-by, 0) for length, by in zip(padded, shift))
    # rolled over the seam or not, in either direction: four regions; padding is the fifth, so that it sees itself only
    region = 2 * (y < shift[0]).int()[:, None] + (x < shift[1]).int()  # (H', W')
    outside = ((at < start) | (at >= start + length)
               for at, start, length in zip((y, x), _offset(size, window, shift), size))
    region = region.masked_fill(next(outside)[:, None] | next(outside), 4)
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
    if not any(shift) and all(is_known(length % side == 0) for length, side in zip(size, window)):
        return None
    # whoever traces must see it being made, and nothing that is made meanwhile may be kept: under FakeTensorMode even a
    # new tensor is a fake one
    traced = torch.compiler.is_compiling() or type(torch.empty(0, device=device)) is not Tensor
    return (_build_mask if traced else _kept_mask)(tuple(size), tuple(window), tuple(shift), dtype, device)


def _runs(length: int, window: int, shift: int) -> List[Tuple[slice, slice, Optional[slice]]]:
    """Where the rows of a padded and rolled map lie: (windows, rows in them, rows of the map; None for padding).

    The first run is of whole windows, each of the others of a part of one.
    """
    padded = (length + window - 1) // window * window
    whole = (length - shift) // window
    # positions in the rolled map: the map ends, the padding ends, what was rolled over the seam ends
    edges = sorted({whole * window, length - shift, padded - shift, padded, *range(whole * window, padded, window)})
    runs = [(slice(0, whole), slice(0, window), slice(shift, shift + whole * window))] if whole else []
    for start, stop in zip(edges, edges[1:]):
        index, source = start // window, (start + shift) % padded
        inside = slice(start - index * window, stop - index * window)
        outside = slice(source, source + stop - start) if source < length else None
        runs.append((slice(index, index + 1), inside, outside))
    return runs


def _blocks(x: Tensor, windows: Tensor, size: Tuple[int, int], window: Tuple[int, int],
            shift: Tuple[int, int]) -> Iterator[Tuple[Optional[Tensor], Tensor]]:
    """Views of the same positions of a map ``(N, H, W, C)`` and of its windows ``(N * windows, h * w, C)``."""
    rows, columns = ((length + side - 1) // side for length, side in zip(size, window))
    windows = windows.view(len(x), rows, columns, *window, x.shape[-1])
    for row_index, row_inside, row in _runs(size[0], window[0], shift[0]):
        for column_index, column_inside, column in _runs(size[1], window[1], shift[1]):
            inside = windows[:, row_index, column_index, row_inside, column_inside]  # (N, rows, columns, h, w, C)
            outside = None
            if row is not None and column is not None:
                outside = x[:, row, column].unflatten(2, (inside.shape[2], -1)).unflatten(1, (inside.shape[1], -1))
                outside = outside.transpose(2, 3)  # (N, rows, h, columns, w, C) -> (N, rows, columns, h, w, C)
            yield outside, inside


class _ToWindows(Function):
    """:func:`_to_windows` in one copy."""

    @staticmethod
    def forward(ctx, x: Tensor, window: Tuple[int, int], shift: Tuple[int, int]) -> Tensor:
        size = tuple(x.shape[1:3])
        ctx.arguments = size, window, shift
        padded = padded_size(size, window)
        length = window[0] * window[1]
        windows = x.new_empty(len(x) * padded[0] * padded[1] // length, length, x.shape[-1])
        for outside, inside in _blocks(x, windows, size, window, shift):
            inside.zero_() if outside is None else inside.copy_(outside)
        return windows

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        return _ToMap.apply(grad, *ctx.arguments), None, None


class _ToMap(Function):
    """:func:`_to_map` in one copy."""

    @staticmethod
    def forward(ctx, windows: Tensor, size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int]) -> Tensor:
        ctx.arguments = window, shift
        padded = padded_size(size, window)
        x = windows.new_empty(windows.shape[:2].numel() // (padded[0] * padded[1]), *size, windows.shape[-1])
        for outside, inside in _blocks(x, windows.contiguous(), size, window, shift):
            if outside is not None:
                outside.copy_(inside)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        return _ToWindows.apply(grad, *ctx.arguments), None, None, None


def _to_windows(x: Tensor, window: Tuple[int, int], shift: Tuple[int, int]) -> Tensor:
    """``(N, H, W, C)``, padded with zeros at the bottom and right and rolled -> ``(N * windows, h * w, C)``."""
    if is_eager(x):
        return _ToWindows.apply(x, window, shift)
    size = x.shape[1:3]
    x = pad_to_size(
        x, _padded_size(size, window), channels_last=True, before=_offset(size, window, shift))  # (N, H', W', C)
    if any(shift):
        x = x.roll((-shift[0], -shift[1]), (1, 2))
    return _partition(x, window)


def _to_map(x: Tensor, batch: int, size: Tuple[int, int], window: Tuple[int, int], shift: Tuple[int, int]) -> Tensor:
    """``(N * windows, h * w, C)`` -> ``(N, H, W, C)``: the opposite of :func:`_to_windows`."""
    if is_eager(x):
        return _ToMap.apply(x, size, window, shift)
    x = _merge(x, (batch, *_padded_size(size, window)), window)
    if any(shift):
        x = x.roll(shift, (1, 2))
    return pad_to_size(x, size, channels_last=True, before=tuple(-start for start in _offset(size, window, shift)))


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
        # len would make a constant of a compiler's symbol
        bias = bias.expand(q.shape[0] // mask.shape[0], *bias.shape).flatten(0, 1)
    if bias.requires_grad and is_eager(q):
        return _attend(q, k, v, num_heads, bias)
    return multi_head_attention(q, k, v, num_heads, bias)


def _attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int, bias: Tensor) -> Tensor:
    """The formula itself. What torch has on the CPU for a bias with a gradient looks, in four passes over the scores,
    for rows that see nothing; here each position sees itself."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q * (q.shape[-1] // num_heads)**-0.5, k, v))
    weights = (q @ k.transpose(2, 3)).add_(bias).softmax(-1)  # (N * windows, num_heads, L, L)
    return (weights @ v).transpose(1, 2).flatten(2)


def _pieces(count: int, bias: Tensor, mask: Optional[Tensor]) -> Iterator[Tuple[slice, Optional[Tensor]]]:
    """Slices of ``count`` windows, of whole images or within one, and their masks."""
    step = max(1, SCORES * torch.get_num_threads() // bias.numel())
    windows = 1 if mask is None else len(mask)  # of an image
    if windows <= step:
        step = step // windows * windows
        for start in range(0, count, step):
            yield slice(start, start + step), mask
        return
    for image in range(0, count, windows):
        for start in range(0, windows, step):
            stop = min(start + step, windows)
            yield slice(image + start, image + stop), mask[start:stop]


def _attend_in_pieces(x: Tensor, qkv: nn.Linear, bias: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Queries, keys and values of windows ``(N * windows, L, C)`` and their attention, a few windows at a time."""
    out = torch.empty_like(x)
    for piece, piece_mask in _pieces(len(x), bias, mask):
        out[piece] = window_attention(*qkv(x[piece]).chunk(3, -1), bias, piece_mask)
    return out


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
        batch, *size = x.shape[:3]
        window, shift = self._windows(size)
        x = _to_windows(x, window, shift)  # (N * windows, h * w, C)
        bias = self.relative_bias(window)
        if works_in_pieces(x):
            x = _attend_in_pieces(x, self.qkv, bias, window_mask(size, window, shift, x.dtype, x.device))
        else:
            q, k, v = self.qkv(x).chunk(3, -1)
            x = window_attention(q, k, v, bias.to(q.dtype), window_mask(size, window, shift, q.dtype, q.device))
        return self.proj(_to_map(x, batch, size, window, shift))

    def _windows(self, size: Tuple[int, int]) -> Tuple[Tuple[int, int], Tuple[int, int]]:
        """(h, w) of the windows on a map of (H, W), and by how many rows and columns these are shifted."""
        side, by = self.window_size, self.shift_size
        if not torch.compiler.is_compiling():
            return tuple(min(side, length) for length in size), tuple(by if length > side else 0 for length in size)
        return (side, side), tuple(0 if is_known(length <= side) else by for length in size)

    def extra_repr(self) -> str:
        return f'window_size={self.window_size}, shift_size={self.shift_size}'
