"""Attention of every position to a smaller map: the hot path of the Pyramid Vision Transformers.

PVT: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions", Wang et al.,
ICCV 2021, section 3.3. PVTv2: "PVT v2: Improved Baselines with Pyramid Vision Transformer", Wang et al., 2022,
section 3.2 (whai362/PVT at 57e2dfa, Apache-2.0).
"""
from typing import Optional

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from .attention import multi_head_attention
from .padding import larger, pad_to_size

__all__ = ['SpatialReductionAttention']


class SpatialReductionAttention(nn.Module):
    """Multi-head attention whose keys and values come from a reduced map. ``(N, H, W, C)`` -> ``(N, H, W, C)``.

    The map is reduced by a convolution over windows of ``sr_ratio`` (PVT, equation 3), or pooled to a fixed size first
    (PVTv2's linear attention). What is left over at the right and at the bottom where the ratio does not divide the
    size gives no key, as in the authors' code; a map smaller than one window is filled up with zeros, so that there is
    always a key.

    Args:
        embed_dims: C.
        num_heads: C is a multiple of it.
        sr_ratio: height and width of the windows. Defaults to 1: nothing is reduced.
        pool_size: height and width of the pooled map; ``sr_ratio`` must be 1. Defaults to None: no pooling.
        norm_cfg: of the norm on the reduced map.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``, or there is a ratio beside a pooled size.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 sr_ratio: int = 1,
                 pool_size: Optional[int] = None,
                 norm_cfg: dict = dict(type='LN')):
        super().__init__()
        owner = type(self).__name__
        if embed_dims % num_heads:
            raise ValueError(f'{owner}: num_heads={num_heads} must divide embed_dims={embed_dims}')
        if pool_size is not None and sr_ratio != 1:
            raise ValueError(f'{owner}: sr_ratio={sr_ratio} beside pool_size={pool_size}; the pooled map is not '
                             'reduced further, set sr_ratio=1')
        reduces = sr_ratio > 1 or pool_size is not None
        self.num_heads = num_heads
        self.sr_ratio = sr_ratio
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.pool = None if pool_size is None else nn.AdaptiveAvgPool2d(pool_size)
        self.sr = nn.Conv2d(embed_dims, embed_dims, sr_ratio, sr_ratio) if reduces else None
        self.norm = build_norm_layer(norm_cfg, embed_dims)[1] if reduces else None
        self.act = nn.Identity() if pool_size is None else nn.GELU()
        self.proj = nn.Linear(embed_dims, embed_dims)

    def reduce(self, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` -> ``(N, S, C)``, what keys and values are made of."""
        if self.sr is None:
            return x.flatten(1, 2)
        x = x.permute(0, 3, 1, 2)  # (N, C, H, W)
        if self.pool is not None:
            x = self.pool(x)  # (N, C, pool_size, pool_size)
        x = pad_to_size(x, tuple(larger(length, self.sr_ratio) for length in x.shape[2:]))
        x = self.sr(x).flatten(2).transpose(1, 2)  # (N, S, C)
        return self.act(self.norm(x))

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.kv(self.reduce(x)).chunk(2, dim=-1)
        out = multi_head_attention(self.q(x).flatten(1, 2), k, v, self.num_heads)  # (N, H * W, C)
        return self.proj(out).view(x.shape)
