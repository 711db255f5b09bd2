"""Vision transformer with a simple feature pyramid, so that it too feeds a detector.

Papers: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et al., ICLR 2021;
"Training data-efficient image transformers & distillation through attention" (DeiT), Touvron et al., ICML 2021;
"Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet), Li et al., ECCV 2022.
Origin of the design: vit_base_patch16_224 and its like of timm 1.0.31 (models/vision_transformer.py, Apache-2.0), whose
names the weights of MAE and of most others have too; the pyramid of detectron2 (projects/ViTDet).
Different here:
 - No class token, as in ViTDet. In a pretrained classifier the patches attend to it as well, so the maps of its weights
   differ slightly from those beside a token; fine-tuning makes up for it.
 - Every block attends globally. ViTDet confines most blocks to windows to save memory; fused attention needs memory
   linear in the 4,200 patches of 800 x 1333, and without windows the pretrained function stays what it was.
 - Absolute positions alone; the relative ones that ViTDet adds when it fine-tunes are in no pretrained classifier.
 - The last norm, which ViTDet leaves out, is kept: a neck behind it expects maps of a common size.
 - Strides 4, 8, 16, 32 by ViTDet's transposed convolutions and pooling, for patches of other sizes than its 16 too; the
   1x1 and 3x3 convolutions behind them, to 256 channels, are those of the detector's FPN.
 - An image whose sides are no multiples of the patch's is padded with zeros; each patch has at least one pixel of it.
"""
import math
import re
from typing import Dict, Optional, Sequence, Tuple, Union

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import (CeilMaxPool2d, Mlp, PatchConv2d, PreNormBlock, drop_path_ramp, multi_head_attention, pad_to_size,
                      resize_positions)
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['VisionTransformer', 'convert_state_dict']

STRIDES = (4, 8, 16, 32)
NUM_STAGES = len(STRIDES)


class PatchEmbed(nn.Module):
    """Project patches of P x P and add their positions. ``(N, C_in, H, W)`` -> ``(N, ceil(H / P), ceil(W / P), C)``.

    Args:
        in_channels: of the image.
        embed_dims: C.
        patch_size: P.
        table_size: sides, in patches, of the table of positions, which other images interpolate.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int, table_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.proj = PatchConv2d(in_channels, embed_dims, patch_size)
        self.pos_embed = nn.Parameter(torch.empty(1, embed_dims, table_size, table_size))

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        x = x + resize_positions(self.pos_embed, x.shape[-2:])
        return x.permute(0, 2, 3, 1)  # (N, H / P, W / P, C)


class Attention(nn.Module):
    """Global self-attention. ``(N, H, W, C)`` -> the same."""

    def __init__(self, embed_dims: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(1, 2)).chunk(3, -1)  # (N, H * W, C) each
        return self.proj(multi_head_attention(q, k, v, self.num_heads)).view_as(x)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel. ``(N, C, H, W)`` -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (N, H, W, C) inside


def pyramid_level(channels: int, patch_size: int, stride: int) -> nn.Module:
    """Bring the map of the patches to another stride (ViTDet, figure 2 and its appendix).

    Doubled sizes halve the channels, with a norm and GELU before the next doubling; larger strides pool.

    Returns:
        nn.Module: ``(N, C, H, W)`` -> ``(N, C / r, r H, r W)`` with ``r = patch_size / stride`` where that is 1 or
        more, else ``(N, C, ceil(r H), ceil(r W))``.
    """
    if stride > patch_size:
        return CeilMaxPool2d(stride // patch_size, stride // patch_size)
    layers = []
    while patch_size > stride:
        if layers:
            layers += [ChannelNorm(channels, eps=1e-6), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, 2))
        channels, patch_size = channels // 2, patch_size // 2
    return nn.Sequential(*layers) if layers else nn.Identity()


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map weights of timm's and MAE's layout, or of MMPretrain's, onto ours.

    Blocks go to four stages of equal depth, so that those of a whole network must be there. Dropped: the class token
    ``cls_token`` and its position, and what is behind the trunk: ``head``, ``pre_logits``, ``fc_norm`` (a norm of the
    pooled vector, which the backbone has not), MAE's ``mask_token`` and ``decoder_*``.
    """
    dropped = ('cls_token', 'head.', 'pre_logits.', 'fc_norm.', 'mask_token', 'decoder_')
    # MMPretrain's names -> timm's
    renamed = {
        'patch_embed.projection.': 'patch_embed.proj.',
        '.ffn.layers.0.0.': '.mlp.fc1.',
        '.ffn.layers.1.': '.mlp.fc2.',
        '.ln1.': '.norm1.',
        '.ln2.': '.norm2.',
    }
    blocks = [re.match(r'(?:blocks|layers)\.(\d+)\.', key) for key in state_dict]
    depth = 1 + max((int(match[1]) for match in blocks if match), default=0)
    weights = {}
    for key, value in state_dict.items():
        if key.startswith(dropped):
            continue
        if key == 'pos_embed' and value.dim() == 3:
            key, value = 'patch_embed.pos_embed', _position_map(value)
        if key.startswith('ln1.'):
            key = key.replace('ln1.', 'norm.')
        for theirs, ours in renamed.items():
            key = key.replace(theirs, ours)
        match = re.match(r'(?:blocks|layers)\.(\d+)\.', key)
        if match:
            stage, block = divmod(int(match[1]), max(depth // NUM_STAGES, 1))
            key = f'layer{stage + 1}.{block}.{key[match.end():]}'
        weights[key] = value
    return weights


def _position_map(table: Tensor) -> Tensor:
    """``(1, L, C)`` of a square image, or ``(1, 1 + L, C)`` with a class token's before -> ``(1, C, sqrt L, sqrt L)``.

    Anything else is returned as it is, for strict loading to name its shape.
    """
    for positions in (table, table[:, 1:]):
        side = math.isqrt(positions.shape[1])
        if side**2 == positions.shape[1]:
            return positions.transpose(1, 2).unflatten(2, (side, side))
    return table


@MODELS.register_module()
class VisionTransformer(BaseBackbone):
    """Plain vision transformer; its maps of strides 4, 8, 16, 32 are all made of the last block's (ViTDet).

    Its stages, which ``frozen_stages`` counts, are four equal groups of blocks at the stride of the patches. All are
    built whatever ``out_indices`` names: that chooses levels of the pyramid.

    Args:
        arch: ``'small'``, ``'base'``, ``'large'``, ``'huge'``, or a dict with ``embed_dims`` (a multiple of the heads
            and of ``patch_size / 4``), ``depth`` (a multiple of 4) and ``num_heads``.
        patch_size: side of a patch in pixels: 4, 8, 16 or 32, strides that a detector can use. Defaults to 16, for the
            paper's huge network too; its kernel of 14x14 is resized on loading, see :meth:`resize_tables`.
        img_size: training size in pixels, a multiple of ``patch_size``: that of the table of positions, which other
            images interpolate. Defaults to 224.
        drop_path_rate: of the last block, growing from 0. ViTDet trains the three with 0.1, 0.4, 0.5. Defaults to 0.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms in and behind the blocks.

    Raises:
        ValueError: unknown ``arch``, numbers in it that do not divide, another ``patch_size``, or an ``img_size`` that
            is not a multiple of it.
    """
    # Dosovitskiy et al., table 1, and 'small' Touvron et al., table 1; the perceptrons have four times the channels
    arch_settings = {
        'small': dict(embed_dims=384, depth=12, num_heads=6),
        'base': dict(embed_dims=768, depth=12, num_heads=12),
        'large': dict(embed_dims=1024, depth=24, num_heads=16),
        'huge': dict(embed_dims=1280, depth=32, num_heads=16),
    }
    stem_names = ('patch_embed', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict] = 'base',
                 patch_size: int = 16,
                 img_size: int = 224,
                 drop_path_rate: float = 0.,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(NUM_STAGES, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        settings = choose_arch(owner, arch, self.arch_settings)
        embed_dims, depth, num_heads = settings['embed_dims'], settings['depth'], settings['num_heads']
        if patch_size not in STRIDES:
            raise ValueError(f'{owner}: patch_size={patch_size} must be a stride that a detector can use: '
                             f'{", ".join(map(str, STRIDES))}; kernels of 14x14 are resized to 16 on loading')
        finest = patch_size // STRIDES[0]
        if embed_dims % finest or embed_dims % num_heads or depth % NUM_STAGES:
            raise ValueError(
                f'{owner}: embed_dims={embed_dims} must be a multiple of {finest}, for the map of stride 4, '
                f'and of num_heads={num_heads}, and depth={depth} of {NUM_STAGES}, the number of stages')
        if img_size <= 0 or img_size % patch_size:
            raise ValueError(f'{owner}: img_size={img_size} is the training size and must be a multiple of '
                             f'{patch_size}; the image itself may have any size')
        self.num_built_stages = NUM_STAGES  # every level comes from the last block

        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size, img_size // patch_size)
        rates = drop_path_ramp(drop_path_rate, (depth // NUM_STAGES, ) * NUM_STAGES)
        for index, stride in enumerate(STRIDES):
            blocks = [
                PreNormBlock(embed_dims, Attention(embed_dims, num_heads), Mlp(embed_dims, 4 * embed_dims), rate,
                             norm_cfg) for rate in rates[index]
            ]
            self.add_stage(nn.Sequential(*blocks), embed_dims * min(stride, patch_size) // patch_size, stride)
        self.norm = build_norm_layer(norm_cfg, embed_dims)[1]
        self.pyramid = nn.ModuleDict(
            {str(index): pyramid_level(embed_dims, patch_size, STRIDES[index])
             for index in self.out_indices})
        self.reset_parameters()
        self.train()

    def reset_parameters(self) -> None:
        """As the paper's release: Xavier for linear layers, each of q, k, v its own; LeCun for patches; 0.02 else."""
        nn.init.normal_(self.patch_embed.pos_embed, std=0.02)
        nn.init.normal_(self.patch_embed.proj.weight, std=(3 * self.patch_embed.patch_size**2)**-0.5)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                for part in module.weight.chunk(3 if name.endswith('.qkv') else 1):
                    nn.init.xavier_uniform_(part)
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.zeros_(module.bias)

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, ceil(H / P), ceil(W / P), C)`` with patches of P x P."""
        return self.patch_embed(x)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        x = self.forward_stem(x)
        for name in self.stage_names:
            for block in getattr(self, name):
                x = self._run(block, x)
        x = self.norm(x).permute(0, 3, 1, 2).contiguous()  # (N, C, H / P, W / P)
        outs = []
        for level, stride in zip(self.pyramid.values(), self.out_strides):
            rows, columns = ((length + stride - 1) // stride for length in (height, width))
            # what a patch over the edge has beyond it is cut off
            outs.append(pad_to_size(self._run(level, x), (rows, columns)).contiguous())
        return tuple(outs)

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Interpolate the table of positions of another ``img_size``, and the kernels of slightly smaller patches.

        The kernels are resized as ViTDet does for ViT-H/14, bicubically, and scaled by the areas: the sum over 256
        pixels shall be that over 196 of the same, smaller picture. Those of half the side or less are of another
        network.
        """
        resized = dict(state_dict)
        positions, kernel = (state_dict.get(f'patch_embed.{name}') for name in ('pos_embed', 'proj.weight'))
        if positions is not None and positions.dim() == 4:
            resized['patch_embed.pos_embed'] = resize_positions(positions, self.patch_embed.pos_embed.shape[-2:])
        side = self.patch_embed.patch_size
        if kernel is not None and kernel.dim() == 4 and side // 2 < kernel.shape[-1] < side:
            scale = kernel[0, 0].numel() / side**2
            resized['patch_embed.proj.weight'] = resize_positions(kernel, (side, side)) * scale
        return resized

    @property
    def omitted_prefixes(self) -> Tuple[str, ...]:
        """Levels of the pyramid that are not returned."""
        return tuple(f'pyramid.{index}.' for index in range(NUM_STAGES) if index not in self.out_indices)

    @property
    def optional_prefixes(self) -> Tuple[str, ...]:
        """The pyramid, which no classifier has, and the norm, which those fine-tuned by MAE have behind the pooling."""
        return ('norm.', ) + tuple(f'pyramid.{index}.' for index in self.out_indices)
