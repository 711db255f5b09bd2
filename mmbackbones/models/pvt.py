"""Pyramid Vision Transformers, both versions.

Papers: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions", Wang et al.,
ICCV 2021, and "PVT v2: Improved Baselines with Pyramid Vision Transformer", Wang et al., 2022.
Origin of the design: whai362/PVT at 57e2dfa (detection/pvt.py and detection/pvt_v2.py, Apache-2.0).
Different here:

- fused attention, and maps that keep their height and width from block to block;
- any image size: the first version's patches are filled up with zeros at the right and at the bottom, so that a map has
  ``ceil(size / stride)`` positions and not ``floor``;
- the first version's position tables are interpolated wherever the map has another height or width. The authors' code
  asks whether it has as many positions as the first table (3136), and so adds the wrong table, or none that fits, to a
  map of 28 x 112, or in the second stage of a 448 x 448 image;
- no class token. As in the authors' detection code the first version has no norm behind its stages, while the second
  normalises the map of each stage before it is returned and handed on.
"""
import math
import re
from typing import Callable, Dict, Optional, Sequence, Union

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import (ConvMlp, Mlp, PatchConv2d, PreNormBlock, SpatialReductionAttention, drop_path_ramp,
                      resize_positions)
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['PyramidVisionTransformer', 'PyramidVisionTransformerV2', 'convert_state_dict']


class PatchEmbed(nn.Module):
    """Convolution, norm and position table. ``(N, H, W, C_in)`` -> ``(N, ceil(H / stride), ceil(W / stride), C)``.

    Args:
        in_channels: C_in.
        embed_dims: C.
        kernel_size: the stride, or odd and larger: then patches overlap and are centred (PVTv2, section 3.3).
        stride: of the convolution.
        norm_cfg: of the norm.
        table_size: height and width of the position table. Defaults to None: no table.
    """

    def __init__(self,
                 in_channels: int,
                 embed_dims: int,
                 kernel_size: int,
                 stride: int,
                 norm_cfg: dict,
                 table_size: Optional[int] = None):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, kernel_size, stride, kernel_size // 2) \
            if kernel_size > stride else PatchConv2d(in_channels, embed_dims, stride)
        self.norm = build_norm_layer(norm_cfg, embed_dims)[1]
        self.positions = None
        if table_size is not None:
            self.positions = nn.Parameter(torch.empty(1, embed_dims, table_size, table_size))
            nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x.permute(0, 3, 1, 2))  # (N, C, H', W')
        x = self.norm(x.permute(0, 2, 3, 1))  # (N, H', W', C)
        if self.positions is None:
            return x
        return x + resize_positions(self.positions, x.shape[1:3], 'bilinear').permute(0, 2, 3, 1)  # (1, H', W', C)


# names of timm (second version) and of MMDetection (both), which count stages from 0 -> the authors'
FOREIGN_NAMES = (
    (r'stages\.(\d)\.downsample\.(.+)', 'patch_embed{}.{}'),
    (r'stages\.(\d)\.blocks\.(.+)', 'block{}.{}'),
    (r'stages\.(\d)\.norm\.(.+)', 'norm{}.{}'),
    (r'layers\.(\d)\.0\.projection\.(.+)', 'patch_embed{}.proj.{}'),
    (r'layers\.(\d)\.0\.norm\.(.+)', 'patch_embed{}.norm.{}'),
    (r'layers\.(\d)\.1\.0\.pos_embed', 'pos_embed{}'),
    (r'layers\.(\d)\.1\.(.+)', 'block{}.{}'),
    (r'layers\.(\d)\.2\.(.+)', 'norm{}.{}'),
)
# parts of a block: MMDetection's, but for the last, which is the authors' -> ours
BLOCK_NAMES = (
    ('attn.attn.out_proj.', 'attn.proj.'),
    ('ffn.layers.0.', 'mlp.fc1.'),
    ('ffn.layers.1.', 'mlp.dwconv.'),
    ('ffn.layers.3.', 'mlp.fc2.'),  # first version
    ('ffn.layers.4.', 'mlp.fc2.'),  # second version
    ('mlp.dwconv.dwconv.', 'mlp.dwconv.'),
)


def _authors_name(key: str) -> str:
    for pattern, name in FOREIGN_NAMES:
        found = re.fullmatch(pattern, key)
        if found:
            return name.format(int(found[1]) + 1, *found.groups()[1:])
    return key


def _to_grid(table: Tensor) -> Tensor:
    """``(1, L, C)`` -> ``(1, C, h, h)``; where L is one more than a square, the first entry is the class token's."""
    if table.dim() != 3:
        return table  # strict loading will name it
    length = table.shape[1]
    size = math.isqrt(length)
    if length == size**2 + 1:
        table = table[:, 1:]
    elif length != size**2:
        return table
    return table.transpose(1, 2).unflatten(2, (size, size)).contiguous()


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the authors' weights (classification or detection), MMDetection's or timm's, of either version, onto ours.

    Dropped, because only the classifier reads them: ``head``, and in the first version ``cls_token``, the position of
    that token, which is the first entry of ``pos_embed4``, and ``norm``, which the authors' detection code lacks too.

    MMDetection's norms all have an ``eps`` of 1e-6, the authors' embeddings and reductions 1e-5: with its weights our
    maps differ from its own in the fifth digit.
    """
    # MMDetection's first version counts the table among the blocks
    first_block = int(any(key.endswith('.1.0.pos_embed') for key in state_dict))
    weights = {}
    for key, value in state_dict.items():
        packed = re.fullmatch(r'(layers\..+\.attn\.)attn\.in_proj_(weight|bias)', key)
        if packed:  # query, key and value in one
            channels = value.shape[0] // 3
            weights[_authors_name(f'{packed[1]}q.{packed[2]}')] = value[:channels]
            weights[_authors_name(f'{packed[1]}kv.{packed[2]}')] = value[channels:]
        else:
            weights[_authors_name(key)] = value

    depths: Dict[str, int] = {}
    for key in weights:
        found = re.match(r'block(\d)\.(\d+)\.', key)
        if found:
            depths[found[1]] = max(depths.get(found[1], 0), int(found[2]) + 1 - first_block)

    converted = {}
    for key, value in weights.items():
        if key.startswith(('head.', 'norm.')) or key == 'cls_token':
            continue
        found = re.fullmatch(r'(patch_embed|pos_embed|block|norm)(\d)(?:\.(.+))?', key)
        if not found:
            converted[key] = value
            continue
        part, stage, rest = found.groups()
        # the first embedding is the stem; the others open their stages and come before the blocks there
        embed, before = ('patch_embed', 0) if stage == '1' else (f'layer{stage}.0', 1)
        if part == 'patch_embed':
            converted[f'{embed}.{rest}'] = value
        elif part == 'pos_embed':
            converted[f'{embed}.positions'] = _to_grid(value)
        elif part == 'norm':
            converted[f'layer{stage}.{depths.get(stage, 0) + before}.{rest}'] = value
        else:
            index, _, rest = rest.partition('.')
            for theirs, ours in BLOCK_NAMES:
                rest = rest.replace(theirs, ours)
            if rest.startswith('mlp.fc'):
                value = value.flatten(1) if value.dim() == 4 else value  # MMDetection has 1x1 convolutions
            converted[f'layer{stage}.{int(index) - first_block + before}.{rest}'] = value
    return converted


class PyramidTransformer(BaseBackbone):
    """What both versions share; stage i has stride 4, 8, 16, 32.

    Args:
        arch: a variant, as in ``arch_settings``.
        embed: makes the patch embedding of a stage from ``(index, in_channels, embed_dims, norm_cfg)``.
        mlp: makes an MLP from ``(embed_dims, hidden_dims)``.
        norm_stages: whether a norm closes each stage.
        drop_path_rate: of the last block; see :func:`drop_path_ramp`.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms in the blocks and behind the stages. Those of the embeddings and of the reduced maps have
            an ``eps`` of 1e-5, torch's own, as in the authors' code.
    """
    stem_names = ('patch_embed', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self, arch: dict, embed: Callable, mlp: Callable, norm_stages: bool, drop_path_rate: float,
                 in_channels: int, out_indices: Union[int, Sequence[int]], frozen_stages: int, norm_eval: bool,
                 norm_cfg: dict, with_cp: bool, init_cfg: Optional[dict]):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        inner_norm_cfg = {**norm_cfg, 'eps': 1e-5}
        drop_paths = drop_path_ramp(drop_path_rate, arch['depths'])
        for index in range(self.num_built_stages):
            channels, num_heads = arch['embed_dims'][index], arch['num_heads'][index]
            modules = [embed(index, in_channels, channels, inner_norm_cfg)]
            for drop_path in drop_paths[index]:
                attn = SpatialReductionAttention(channels, num_heads, arch['sr_ratios'][index], arch.get('pool_size'),
                                                 inner_norm_cfg)
                modules.append(
                    PreNormBlock(channels, attn, mlp(channels, channels * arch['mlp_ratios'][index]), drop_path,
                                 norm_cfg))
            if norm_stages:
                modules.append(build_norm_layer(norm_cfg, channels)[1])
            if index == 0:
                self.patch_embed = modules.pop(0)
            self.add_stage(nn.Sequential(*modules), channels, 4 * 2**index)
            in_channels = channels
        self.apply(self._init_module)
        self.train()

    def _init_module(self, module: nn.Module) -> None:
        # what is not named here the authors leave as torch initialises it
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, ceil(H / 4), ceil(W / 4), C)``."""
        return self.patch_embed(x.permute(0, 2, 3, 1))  # (N, H, W, 3)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` -> ``(N, C, H, W)``."""
        return x.permute(0, 3, 1, 2).contiguous()


@MODELS.register_module()
class PyramidVisionTransformer(PyramidTransformer):
    """PVT, the first version: patches side by side, a table of positions in each stage.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'medium'``, ``'large'``, or a dict with the keys of ``arch_settings``.
        img_size: height and width of the images that the position tables are made for; others interpolate them
            (bilinear). A checkpoint of another size is interpolated to this one.
        drop_path_rate: of the last block. Defaults to 0.1, the authors' for tiny and small; they train medium and large
            with 0.3 for classification and with 0 for detection.
        in_channels, out_indices, frozen_stages, norm_eval, norm_cfg, with_cp, init_cfg: see
            :class:`PyramidTransformer`.
    """
    # paper, table 1
    arch_settings = {
        name:
        dict(
            embed_dims=(64, 128, 320, 512),
            depths=depths,
            num_heads=(1, 2, 5, 8),
            mlp_ratios=(8, 8, 4, 4),
            sr_ratios=(8, 4, 2, 1))
        for name, depths in {
            'tiny': (2, 2, 2, 2),
            'small': (3, 4, 6, 3),
            'medium': (3, 4, 18, 3),
            'large': (3, 8, 27, 3),
        }.items()
    }

    def __init__(self,
                 arch: Union[str, dict] = 'small',
                 img_size: int = 224,
                 drop_path_rate: float = 0.1,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):

        def embed(index, in_channels, embed_dims, norm_cfg):
            patch_size = 2 if index else 4
            table_size = math.ceil(img_size / (4 * 2**index))
            return PatchEmbed(in_channels, embed_dims, patch_size, patch_size, norm_cfg, table_size)

        arch = choose_arch(type(self).__name__, arch, self.arch_settings)
        super().__init__(arch, embed, Mlp, False, drop_path_rate, in_channels, out_indices, frozen_stages, norm_eval,
                         norm_cfg, with_cp, init_cfg)

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Interpolate position tables of another image size to ours."""
        resized = dict(state_dict)
        for key, own in self.named_parameters():
            table = state_dict.get(key)
            if key.endswith('positions') and table is not None and table.shape[:-2] == own.shape[:-2]:
                resized[key] = resize_positions(table, own.shape[-2:], 'bilinear')
        return resized


@MODELS.register_module()
class PyramidVisionTransformerV2(PyramidTransformer):
    """PVTv2: overlapping patches, a depth-wise convolution in each MLP instead of tables, a norm behind each stage.

    Args:
        arch: ``'b0'`` to ``'b5'``, ``'b2_li'`` (linear attention), or a dict with the keys of ``arch_settings``.
        drop_path_rate: of the last block. Defaults to 0.1, the authors' for detection; for classification they train b3
            to b5 with 0.3.
        in_channels, out_indices, frozen_stages, norm_eval, norm_cfg, with_cp, init_cfg: see
            :class:`PyramidTransformer`.
    """
    # paper, table 1; pool_size: of the map that linear attention looks at, None for the other kind
    arch_settings = {
        name:
        dict(
            embed_dims=tuple(width * heads for heads in (1, 2, 5, 8)),
            depths=depths,
            num_heads=(1, 2, 5, 8),
            mlp_ratios=mlp_ratios,
            sr_ratios=(8, 4, 2, 1) if pool_size is None else (1, 1, 1, 1),
            pool_size=pool_size)
        for name, width, depths, mlp_ratios, pool_size in (
            ('b0', 32, (2, 2, 2, 2), (8, 8, 4, 4), None),
            ('b1', 64, (2, 2, 2, 2), (8, 8, 4, 4), None),
            ('b2', 64, (3, 4, 6, 3), (8, 8, 4, 4), None),
            ('b2_li', 64, (3, 4, 6, 3), (8, 8, 4, 4), 7),
            ('b3', 64, (3, 4, 18, 3), (8, 8, 4, 4), None),
            ('b4', 64, (3, 8, 27, 3), (8, 8, 4, 4), None),
            ('b5', 64, (3, 6, 40, 3), (4, 4, 4, 4), None),
        )
    }

    def __init__(self,
                 arch: Union[str, dict] = 'b2',
                 drop_path_rate: float = 0.1,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        arch = choose_arch(type(self).__name__, arch, self.arch_settings)

        def embed(index, in_channels, embed_dims, norm_cfg):
            kernel_size, stride = (3, 2) if index else (7, 4)
            return PatchEmbed(in_channels, embed_dims, kernel_size, stride, norm_cfg)

        def mlp(embed_dims, hidden_dims):
            return ConvMlp(embed_dims, hidden_dims, relu=arch['pool_size'] is not None)

        super().__init__(arch, embed, mlp, True, drop_path_rate, in_channels, out_indices, frozen_stages, norm_eval,
                         norm_cfg, with_cp, init_cfg)

    def _init_module(self, module: nn.Module) -> None:
        super()._init_module(module)
        if isinstance(module, nn.Conv2d):
            # torch's own initialisation would count the outputs of all groups
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out)**0.5)
            nn.init.zeros_(module.bias)
