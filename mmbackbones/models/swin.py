"""Swin Transformer: attention in windows that shift from block to block, patches merged between the stages.

Paper: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., ICCV 2021.
Origin of the design: microsoft/Swin-Transformer at f82860b (models/swin_transformer.py, MIT) and, for any size of
image, SwinTransformer/Swin-Transformer-Object-Detection at c7b2011 (mmdet/models/backbones/swin_transformer.py).
Different here:

- Patch merging opens a stage instead of closing the one before, so that stages have strides 4, 8, 16, 32.
- No position sees the padding that completes the last windows. The detection code fills up with zeros and lets the map
  attend to them. Where every map is a multiple of the window the two are the same.
- Along a side that is not longer than the window nothing is shifted: there is one window, and shifting would only cut
  it. The classification code does so too (at 224 the last map is one window of 7, and the published weights are trained
  that way); the detection code shifts, which differs in the last map of images up to 224 pixels. The classification
  code decides by the shorter side for both; here each side decides for itself.
- A map smaller than the window is one window of its own size, with the middle of the bias table: what padding to the
  window would give, without the work.
"""
import re
from typing import Dict, Optional, Sequence, Tuple, Union

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import Mlp, PatchConv2d, PreNormBlock, WindowAttention, drop_path_ramp, pad_to_multiples, resize_positions
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['SwinTransformer', 'convert_state_dict']

BIAS_TABLE = 'relative_position_bias_table'
# of the authors and timm (layers), mmdet and mmpretrain (stages)
STAGE_KEY = re.compile(r'(?P<group>layers|stages)\.(?P<stage>\d+)\.(?:blocks\.(?P<block>\d+)|downsample)\.')


class PatchEmbed(nn.Module):
    """Non-overlapping patches, one linear map, norm. ``(N, C_in, H, W)`` -> ``(N, ceil(H / 4), ceil(W / 4), C)``."""
    stride = 4

    def __init__(self, in_channels, embed_dims, norm_cfg):
        super().__init__()
        self.proj = PatchConv2d(in_channels, embed_dims, self.stride)
        self.norm = build_norm_layer(norm_cfg, embed_dims)[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)


class PatchMerging(nn.Module):
    """Four neighbours become one. ``(N, H, W, C)`` -> ``(N, ceil(H / 2), ceil(W / 2), 2 * C)``."""

    def __init__(self, in_channels, norm_cfg):
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, 4 * in_channels)[1]
        self.reduction = nn.Linear(4 * in_channels, 2 * in_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_multiples(x, (2, 2), channels_last=True)
        # (N, H, W, C) -> (N, H / 2, row, W / 2, column, C) -> (N, H / 2, W / 2, column, row, C)
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.flatten(3)))


def _by_columns(value: Tensor) -> Tensor:
    """Inputs of patch merging, the last dimension, from (channel, row, column) to (column, row, channel)."""
    return value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map published weights onto ours. The names tell which of these they are:

    - the authors' classifiers (``layers.0.downsample``, one ``norm``) and detectors (``norm0`` to ``norm3``);
    - timm's, which merges patches at the beginning of a stage as we do (``layers.1.downsample`` and no
      ``layers.0.downsample``);
    - mmdet's and mmpretrain's (``stages``), whose patch merging has another order of inputs.

    Dropped: the classifier ``head``, and the tables ``relative_position_index`` and ``attn_mask`` that follow from the
    sizes. The classifiers' one norm is that of the last stage.
    """
    renamed = (('patch_embed.projection.', 'patch_embed.proj.'), ('.attn.w_msa.', '.attn.'),
               ('.ffn.layers.0.0.', '.mlp.fc1.'), ('.ffn.layers.1.', '.mlp.fc2.'))
    merged_before = any(key.startswith(('layers.0.downsample.', 'stages.0.downsample.')) for key in state_dict)
    converted = {}
    for key, value in state_dict.items():
        if key.startswith('head.') or key.endswith(('.relative_position_index', '.attn_mask')):
            continue
        if key.startswith('norm.'):
            key = key.replace('norm.', 'norm3.', 1)
        place = STAGE_KEY.match(key)
        if place:  # ours count stages from 1
            stage, rest = int(place['stage']) + 1, key[place.end():]
            if place['block'] is None:
                value = _by_columns(value) if place['group'] == 'stages' else value
                key = f'layer{stage + merged_before}.0.{rest}'
            else:  # behind the patch merging, which the first stage has not
                key = f'layer{stage}.{int(place["block"]) + (stage > 1)}.{rest}'
        for theirs, ours in renamed:
            key = key.replace(theirs, ours)
        converted[key] = value
    return converted


@MODELS.register_module()
class SwinTransformer(BaseBackbone):
    """Swin Transformer; stage i has stride 4, 8, 16, 32 and, behind it, a norm for its output map.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or a dict with the keys ``embed_dims``, ``depths`` and ``num_heads``.
        window_size: rows and columns of a window. The published weights have 7, those trained at 384 pixels 12;
            weights of another one are interpolated on loading.
        drop_path_rate: of the last block's paths. Published: 0.2, 0.3, 0.5 for tiny, small and base on ImageNet.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of all norms.

    Raises:
        ValueError: unknown ``arch``, heads that do not divide the channels, a window smaller than 1.
    """
    # section 3.3; 32 channels a head
    arch_settings = {
        'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
        'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
        'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
        'large': dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
    }
    stem_names = ('patch_embed', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict],
                 window_size: int = 7,
                 drop_path_rate: float = 0.1,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='LN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        arch = choose_arch(owner, arch, self.arch_settings)
        if window_size < 1:
            raise ValueError(f'{owner}: window_size={window_size}, but a window has at least one row and column')
        channels, depths, num_heads = arch['embed_dims'], arch['depths'], arch['num_heads']
        self.patch_embed = PatchEmbed(in_channels, channels, norm_cfg)
        drop_paths = drop_path_ramp(drop_path_rate, depths)
        for stage_index in range(self.num_built_stages):
            blocks = []
            if stage_index:
                blocks.append(PatchMerging(channels, norm_cfg))
                channels *= 2
            heads = num_heads[stage_index]
            if channels % heads:
                raise ValueError(
                    f'{owner}: num_heads={heads} of stage {stage_index} must divide its {channels} channels')
            for block_index in range(depths[stage_index]):
                attn = WindowAttention(channels, heads, window_size, shift=block_index % 2 == 1)
                drop_path_rate = drop_paths[stage_index][block_index]
                blocks.append(PreNormBlock(channels, attn, Mlp(channels, 4 * channels), drop_path_rate, norm_cfg))
            self.add_stage(nn.Sequential(*blocks), channels, PatchEmbed.stride * 2**stage_index)
            if stage_index in self.out_indices:
                self.add_module(f'norm{stage_index}', build_norm_layer(norm_cfg, channels)[1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, ceil(H / 4), ceil(W / 4), C)``."""
        return self.patch_embed(x)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` -> ``(N, C, H, W)``, with the norm of this output."""
        return getattr(self, f'norm{index}')(x).permute(0, 3, 1, 2).contiguous()

    @property
    def omitted_prefixes(self) -> Tuple[str, ...]:
        unused = (index for index in range(self.num_stages) if index not in self.out_indices)
        return super().omitted_prefixes + tuple(f'norm{index}.' for index in unused)

    @property
    def optional_prefixes(self) -> Tuple[str, ...]:
        """The classifiers have a norm behind the last stage only."""
        return tuple(f'norm{index}.' for index in self.out_indices if index < self.num_stages - 1)

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Interpolate the bias tables of another window size, as the authors do, from pixels to pixels (bicubic)."""
        wanted = self.state_dict()
        resized = dict(state_dict)
        for key, table in state_dict.items():
            if not key.endswith(BIAS_TABLE) or key not in wanted or len(table) == len(wanted[key]):
                continue
            side, new_side = (round(len(rows)**0.5) for rows in (table, wanted[key]))
            if side**2 == len(table):  # else loading says what is wrong
                grid = table.t().unflatten(1, (side, side))[None]  # (1, num_heads, 2 * window - 1, 2 * window - 1)
                resized[key] = resize_positions(grid, (new_side, new_side))[0].flatten(1).t()
        return resized
