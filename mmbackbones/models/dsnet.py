"""DSNet: convolution on the full map and attention on a pooled one, side by side in every block.

Paper: "Dual-stream Network for Visual Recognition", Mao, Zhang et al., NeurIPS 2021 (arXiv 2105.14734).
Origin of the design: PaddlePaddle/PaddleClas at d178931 (ppcls/arch/backbone/model_zoo/dsnet.py, Apache-2.0), the
published weights' definition. Where the paper says otherwise, that code is followed:
 - the last stage pools to 1/64 of the image, not to 1/32: a map of 7 x 7 at 224 pixels becomes 3 x 3;
 - the drop-path rates start from 0 in every stage: block i of any stage has the rate of the network's block i;
 - the attention weights are dropped at 0.1 in training.
Different here: any image size, where the patch embeddings there demand the 224 of the training. Attention goes through
fused kernels and keeps memory linear in the number of positions, with dropout too. No weight of the original is
unused, so none is left out.
"""
import re
from typing import Dict, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from ..layers import PatchConv2d, co_attention, drop_path_ramp, larger, linear_memory_attention
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['DSNet', 'convert_state_dict']

MLP_RATIO = 4


class CoAttention(nn.Module):
    """Exchange between the two streams, each with a shortcut (the paper's inter-scale alignment).

    Args:
        channels: of either stream, C.
        num_heads: C is a multiple of it.
        attn_drop_rate: dropout of the attention weights.
        norm_cfg: of the local stream's norm; the global one has a layer norm.
    """

    def __init__(self, channels: int, num_heads: int, attn_drop_rate: float, norm_cfg: dict):
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.local_norm = build_norm_layer(norm_cfg, channels)[1]
        self.local_qkv = nn.Linear(channels, 3 * channels)
        self.local_proj = nn.Linear(channels, channels)
        self.global_norm = nn.LayerNorm(channels)
        self.global_qkv = nn.Linear(channels, 3 * channels)
        self.global_proj = nn.Linear(channels, channels)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tuple[Tensor, Tensor]:
        """Fine map ``(N, C, H, W)`` and coarse tokens ``(N, S, C)`` -> the same shapes."""
        tokens = self.local_norm(fine).flatten(2).transpose(1, 2)  # (N, H * W, C)
        to_fine, to_coarse = co_attention(
            self.local_qkv(tokens), self.global_qkv(self.global_norm(coarse)), self.num_heads,
            self.attn_drop_rate if self.training else 0.)
        to_fine = self.local_proj(to_fine).transpose(1, 2).unflatten(2, fine.shape[2:])  # (N, C, H, W)
        return fine + to_fine, coarse + self.global_proj(to_coarse)


class DualStreamBlock(nn.Module):
    """``(N, C, H, W)`` -> the same shape; one half of the channels is the global stream, the other the local one.

    The global stream's map is sampled bilinearly onto a smaller grid of the same extent, and back in the end. Nothing
    is padded for it, whatever the size, so nothing foreign enters; for images of a multiple of 32 the samples are the
    authors'. One exception is Paddle's own: onto a grid of a single row (the last stage, below 128 pixels) it samples
    the first row, here it is the middle as with any other grid.

    Args:
        embed_dims: C, even.
        num_heads: of all attention in the block; C / 2 is a multiple of it.
        pool: how many rows (columns) of the map make one of the grid.
        ceil_mode: whether a remainder makes a row of its own. If not, the grid still has one row.
        drop_path: rate at which a sample skips a branch.
        attn_drop_rate: dropout of the attention weights.
        norm_cfg: of the norms of maps; tokens have layer norms.
    """

    def __init__(self, embed_dims: int, num_heads: int, pool: int, ceil_mode: bool, drop_path: float,
                 attn_drop_rate: float, norm_cfg: dict):
        super().__init__()
        channels = embed_dims // 2
        self.num_heads = num_heads
        self.pool = pool
        self.ceil_mode = ceil_mode
        self.attn_drop_rate = attn_drop_rate
        self.pos_embed = nn.Conv2d(embed_dims, embed_dims, 3, 1, 1, groups=embed_dims)
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.proj_in = nn.Conv2d(embed_dims, embed_dims, 1)
        self.local_norm = build_norm_layer(norm_cfg, channels)[1]
        self.local_conv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.global_norm = nn.LayerNorm(channels)
        self.global_qkv = nn.Linear(channels, 3 * channels)
        self.co_attn = CoAttention(channels, num_heads, attn_drop_rate, norm_cfg)
        self.proj_out = nn.Conv2d(embed_dims, embed_dims, 1)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.mlp = nn.Sequential(
            nn.Conv2d(embed_dims, MLP_RATIO * embed_dims, 1), nn.GELU(), nn.Conv2d(MLP_RATIO * embed_dims, embed_dims,
                                                                                   1))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.proj_out(self._streams(self.proj_in(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _streams(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)``, global half first -> the same shape, local half first."""
        size = x.shape[2:]
        coarse, fine = x.chunk(2, 1)
        fine = fine + self.local_conv(self.local_norm(fine))

        grid = [larger((length + (self.pool - 1) * self.ceil_mode) // self.pool, 1) for length in size]
        coarse = F.interpolate(coarse, grid, mode='bilinear').flatten(2).transpose(1, 2)  # (N, S, C / 2)
        q, k, v = self.global_qkv(self.global_norm(coarse)).chunk(3, -1)
        dropout_p = self.attn_drop_rate if self.training else 0.
        coarse = coarse + linear_memory_attention(q, k, v, self.num_heads, dropout_p)

        fine, coarse = self.co_attn(fine, coarse)
        coarse = coarse.transpose(1, 2).unflatten(2, grid)  # (N, C / 2, h, w)
        return torch.cat([fine, F.interpolate(coarse, size, mode='bilinear')], 1)


# PaddleClas' names within a block -> ours
_NAMES = {
    'conv1': 'proj_in',
    'conv2': 'proj_out',
    'norm_conv1': 'local_norm',
    'conv': 'local_conv',
    'norm_sa1': 'global_norm',
    'channel_up': 'global_qkv',
    'norm_conv2': 'co_attn.local_norm',
    'cross_channel_up_conv': 'co_attn.local_qkv',
    'fuse_channel_conv': 'co_attn.local_proj',
    'norm_sa2': 'co_attn.global_norm',
    'cross_channel_up_sa': 'co_attn.global_qkv',
    'fuse_channel_sa': 'co_attn.global_proj',
    'mlp.fc1': 'mlp.0',
    'mlp.fc2': 'mlp.2',
}
_STATISTICS = {'_mean': 'running_mean', '_variance': 'running_var'}


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map PaddleClas' weights onto ours; other keys, ours among them, pass as they are.

    Theirs start with ``patch_embed1`` to ``4`` and ``blocks1`` to ``4``, which ours never do. In those, Paddle's linear
    weights ``(in, out)`` are transposed, and the 1x1 convolution that makes the local queries, keys and values becomes
    the linear layer that it is. Dropped: the classifier ``head``.
    """
    converted = {}
    for key, value in state_dict.items():
        if key in ('head.weight', 'head.bias'):
            continue
        path, _, leaf = key.rpartition('.')
        leaf = _STATISTICS.get(leaf, leaf)
        embed = re.fullmatch(r'patch_embed([1-4])\.proj', path)
        block = re.fullmatch(r'blocks([1-4])\.(\d+)\.(.+)', path)
        if embed:
            # the first patch embedding is the stem, the others open their stages
            path = 'patch_embed' if embed[1] == '1' else f'layer{embed[1]}.0'
        elif block:
            stage, index, name = block.groups()
            path = f'layer{stage}.{int(index) + (stage != "1")}.{_NAMES.get(name, name)}'
            if value.dim() == 2:
                value = value.t()  # (in, out) -> (out, in)
            elif name == 'cross_channel_up_conv' and value.dim() == 4:
                value = value.flatten(1)  # (3 * C, C, 1, 1) -> (3 * C, C)
        converted[f'{path}.{leaf}' if path else leaf] = value
    return converted


@MODELS.register_module()
class DSNet(BaseBackbone):
    """Dual-stream network; stage i has stride 4, 8, 16, 32, and the map of the last one is normed.

    Memory grows linearly with the image's area, time with its square: an image of H x W has H * W / 16 local positions
    in the first stage and H * W / 1024 global ones.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'``, or a dict with ``embed_dims`` (even numbers), ``depths`` and
            ``num_heads`` (dividing half of ``embed_dims``) of the stages.
        drop_path_rate: at the end of the ramp; see above for which blocks get there.
        attn_drop_rate: dropout of all attention weights in training.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms of maps; tokens have layer norms.

    Raises:
        ValueError: a value out of range, or unknown ``arch``.
    """
    # depths: DSNet_tiny, DSNet_small and DSNet_base of the code named above; the rest is common to all
    arch_settings = {
        name: dict(embed_dims=(64, 128, 320, 512), depths=depths, num_heads=(1, 2, 5, 8))
        for name, depths in (('tiny', (2, 2, 4, 1)), ('small', (3, 4, 8, 3)), ('base', (3, 4, 28, 3)))
    }
    stem_names = ('patch_embed', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict] = 'tiny',
                 drop_path_rate: float = 0.1,
                 attn_drop_rate: float = 0.1,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        arch = choose_arch(owner, arch, self.arch_settings)
        if not 0 <= attn_drop_rate < 1:
            raise ValueError(f'{owner}: attn_drop_rate={attn_drop_rate} must be at least 0 and below 1')
        embed_dims, depths, num_heads = arch['embed_dims'], arch['depths'], arch['num_heads']
        rates = sum(drop_path_ramp(drop_path_rate, depths), [])  # each stage takes them from the start
        self.patch_embed = PatchConv2d(in_channels, embed_dims[0], 4)
        for index in range(self.num_built_stages):
            blocks = [PatchConv2d(embed_dims[index - 1], embed_dims[index], 2)] if index else []
            for rate in rates[:depths[index]]:
                blocks.append(
                    DualStreamBlock(
                        embed_dims[index],
                        num_heads[index],
                        pool=(8, 4, 2, 2)[index],
                        ceil_mode=index < 3,
                        drop_path=rate,
                        attn_drop_rate=attn_drop_rate,
                        norm_cfg=norm_cfg))
            self.add_stage(nn.Sequential(*blocks), embed_dims[index], 4 * 2**index)
        if self.num_built_stages == 4:
            self.norm = build_norm_layer(norm_cfg, embed_dims[3])[1]
        self._draw_weights()
        self.train()

    def _draw_weights(self) -> None:
        """As the code named above draws them: it asks for 0.02 in linear layers, but in a way that has no effect."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                # over all input channels, in depth-wise convolutions too: these start out small
                fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=(2 / fan_in)**0.5)
                nn.init.zeros_(module.bias)

    @property
    def omitted_prefixes(self) -> Tuple[str, ...]:
        return super().omitted_prefixes + (() if self.num_built_stages == 4 else ('norm.', ))

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, C, ceil(H / 4), ceil(W / 4))``."""
        return self.patch_embed(x)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        return self.norm(x) if index == 3 else x
