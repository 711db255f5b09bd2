"""CoAtNet: two stages of inverted bottlenecks, then two of attention with a bias for relative positions.

Paper: "CoAtNet: Marrying Convolution and Attention for All Data Sizes", Dai, Liu, Le and Tan, NeurIPS 2021 (C-C-T-T).
Origin of the design: coatnet_0_224 to coatnet_4_224 of timm 1.0.31 (models/maxxvit.py, Apache-2.0), which follow the
blocks that the same group released in google-research/maxvit at 70a4707. There are no published weights for these five.
What that code has and the paper's appendix has not: the stride of an MBConv stage sits in its depth-wise convolution
(the paper: in the first 1x1), pooling is by the mean (the paper: by the maximum), and the shortcut of a stage that
keeps its channels has no projection.
Different here: the tables of relative positions are interpolated, bilinearly as in the paper's appendix, to any map, so
the image may have any size; the pooling of an odd map averages the pixels that there are; no normalised, hidden layer
of a classifier (``head``) inside. Blocks hand on ``(N, C, H, W)``, which attention stages lay out channels last.

Memory: attention is global, and its bias has one entry for each head and pair of positions. At 800 x 1333 the stage of
stride 16 has 50 * 84 = 4,200 positions: 12 heads * 4,200^2 = 212 million entries, 847 MB in float32, for each block of
CoAtNet-0 and -1 (twice that for 3 and 4), and training keeps them until the backward pass; on a CPU, where a bias that
learns rules out the fused kernel, the scores of every image as well. ``with_cp=True`` keeps those of one block;
autocast halves them.
"""
import math
from typing import Dict, Optional, Sequence, Tuple, Union

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import DropPath
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ..layers import HalvingMean, Mlp, drop_path_ramp, multi_head_attention, relative_position_bias, resize_positions
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['CoAtNet', 'convert_state_dict']

# channels of a head in every variant (caption of table 3)
HEAD_DIMS = 32


class Downsample(nn.Module):
    """Shortcut into a stage: mean over 2x2, then a 1x1 convolution where the channels change.

    ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / 2), ceil(W / 2))``.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.pool = HalvingMean()
        self.expand = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.pool(x))


class SqueezeExcite(nn.Module):
    """Scale the channels by what their means say (Hu et al., 2018). ``(N, C, H, W)`` -> the same."""

    def __init__(self, channels: int, hidden_channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class MBConv(nn.Module):
    """Inverted bottleneck with norm first and squeeze-excitation: 1x1 to four times the channels, 3x3 depth-wise, 1x1.

    ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, drop_path_rate: float, norm_cfg: dict):
        super().__init__()
        hidden = 4 * channels
        self.shortcut = Downsample(in_channels, channels) if stride == 2 else nn.Identity()
        self.pre_norm = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv1 = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.norm1 = build_norm_layer(norm_cfg, hidden)[1]
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.norm2 = build_norm_layer(norm_cfg, hidden)[1]
        self.se = SqueezeExcite(hidden, channels // 4)
        self.conv3 = nn.Conv2d(hidden, channels, 1)
        self.act = nn.GELU()
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm1(self.conv1(self.pre_norm(x))))
        out = self.act(self.norm2(self.conv2(out)))
        return self.shortcut(x) + self.drop_path(self.conv3(self.se(out)))


class RelativeAttention(nn.Module):
    """Global attention, with a bias for each head and offset (equation 3). ``(N, H, W, C_in)`` -> ``(N, H, W, C)``.

    Args:
        in_channels: C_in.
        channels: C, a multiple of 32.
        table_size: sides of the map that the table is made for.
    """

    def __init__(self, in_channels: int, channels: int, table_size: int):
        super().__init__()
        self.num_heads = channels // HEAD_DIMS
        self.qkv = nn.Linear(in_channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_bias = nn.Parameter(torch.empty(self.num_heads, 2 * table_size - 1, 2 * table_size - 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        q, k, v = self.qkv(x.flatten(1, 2)).chunk(3, -1)  # (N, H * W, C) each
        table = resize_positions(self.relative_bias[None], (2 * height - 1, 2 * width - 1), 'bilinear')[0]
        # the type of the queries, as the kernels demand; cast before the table is spread over all pairs
        bias = relative_position_bias(table.to(q.dtype), height, width)
        out = multi_head_attention(q, k, v, self.num_heads, bias[None])
        return self.proj(out).unflatten(1, (height, width))  # (N, H, W, C)


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each with norm first and a shortcut.

    ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``, channels last in memory.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, table_size: int, drop_path_rate: float):
        super().__init__()
        self.shortcut = Downsample(in_channels, channels) if stride == 2 else nn.Identity()
        self.norm1 = nn.LayerNorm(in_channels, eps=1e-6)
        self.pool = HalvingMean() if stride == 2 else nn.Identity()
        self.attn = RelativeAttention(in_channels, channels, table_size)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, 4 * channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        # from block to block these are views
        out = self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (N, H, W, C_in) inside
        out = self.attn(self.pool(out).permute(0, 2, 3, 1))  # (N, H, W, C)
        x = self.shortcut(x).permute(0, 2, 3, 1) + self.drop_path(out)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)  # (N, C, H, W)


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map timm's weights onto ours.

    Convolutions of 1x1 in the attention stages become linear layers; queries, keys and values, which timm interleaves
    head by head, become three blocks; a flat table of a square map becomes ``(heads, 2 H - 1, 2 W - 1)``.
    Dropped: the classifier ``head``, its norm and hidden layer included.

    Raises:
        ValueError: a flat table that is not of a square map.
    """
    renamed = {
        '.conv1_1x1.': '.conv1.',
        '.conv2_kxk.': '.conv2.',
        '.conv3_1x1.': '.conv3.',
        '.norm1.norm.': '.norm1.',
        '.attn.rel_pos.relative_position_bias_table': '.attn.relative_bias',
    }
    weights = {}
    for key, value in state_dict.items():
        if key.startswith('head.'):
            continue
        if key.startswith('stages.'):
            _, stage, _, block, name = key.split('.', 4)
            if name.startswith('attn.qkv.'):
                # (heads * 3 * 32, ...) -> (3 * heads * 32, ...)
                value = value.unflatten(0, (-1, 3, HEAD_DIMS)).transpose(0, 1).flatten(0, 2)
            if name.startswith(('attn.', 'mlp.')) and name.endswith('.weight'):
                value = value.flatten(1)  # (C, C_in, 1, 1) -> (C, C_in)
            if name.endswith('_bias_table'):
                side = math.isqrt(len(value))
                if side**2 != len(value):
                    raise ValueError(f'{key} has {len(value)} offsets, which are not those of a square map; '
                                     'train or convert with a square image')
                value = value.T.unflatten(1, (side, side))  # (offsets, heads) -> (heads, 2 H - 1, 2 W - 1)
            key = f'layer{int(stage) + 1}.{block}.{name}'
            for theirs, ours in renamed.items():
                key = key.replace(theirs, ours)
        weights[key] = value
    return weights


@MODELS.register_module()
class CoAtNet(BaseBackbone):
    """CoAtNet; stage i has stride 4, 8, 16, 32, convolutions in the first two and attention in the last two.

    Args:
        arch: ``'0'`` to ``'4'``, or a dict with ``stem_channels``, ``embed_dims`` (multiples of 32 in the last two
            stages) and ``depths``.
        img_size: training size in pixels, a multiple of 32: that of the tables of relative positions, which other
            images interpolate. Defaults to 224.
        drop_path_rate: of the last block, growing from 0. The paper trains 0 to 3 on ImageNet-1k with 0.2, 0.3, 0.5
            and 0.7. Defaults to 0.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms in the stem and the convolution stages; attention has layer norms.

    Raises:
        ValueError: unknown ``arch``, ``embed_dims`` that the heads do not divide, or an ``img_size`` that is not a
            multiple of 32.
    """
    # table 3
    arch_settings = {
        '0': dict(stem_channels=64, embed_dims=(96, 192, 384, 768), depths=(2, 3, 5, 2)),
        '1': dict(stem_channels=64, embed_dims=(96, 192, 384, 768), depths=(2, 6, 14, 2)),
        '2': dict(stem_channels=128, embed_dims=(128, 256, 512, 1024), depths=(2, 6, 14, 2)),
        '3': dict(stem_channels=192, embed_dims=(192, 384, 768, 1536), depths=(2, 6, 14, 2)),
        '4': dict(stem_channels=192, embed_dims=(192, 384, 768, 1536), depths=(2, 12, 28, 2)),
    }
    num_conv_stages = 2
    stem_names = ('stem', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict] = '0',
                 img_size: int = 224,
                 drop_path_rate: float = 0.,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        settings = choose_arch(owner, arch, self.arch_settings)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        if any(channels % HEAD_DIMS for channels in embed_dims[self.num_conv_stages:]):
            raise ValueError(f'{owner}: embed_dims={embed_dims} of the last two stages must be multiples of '
                             f'{HEAD_DIMS}, the channels of a head')
        if img_size <= 0 or img_size % 32:
            raise ValueError(f'{owner}: img_size={img_size} is the training size and must be a multiple of 32; the '
                             'image itself may have any size')

        self.stem = nn.Sequential()
        self.stem.add_module('conv1', nn.Conv2d(in_channels, settings['stem_channels'], 3, 2, 1, bias=False))
        in_channels = settings['stem_channels']
        self.stem.add_module('norm1', build_norm_layer(norm_cfg, in_channels)[1])
        self.stem.add_module('act', nn.GELU())
        self.stem.add_module('conv2', nn.Conv2d(in_channels, in_channels, 3, 1, 1, bias=False))

        rates, total_stride = drop_path_ramp(drop_path_rate, depths), 2
        for stage_index in range(self.num_built_stages):
            channels, blocks = embed_dims[stage_index], []
            total_stride *= 2
            for block_index, rate in enumerate(rates[stage_index]):
                stride = 1 if block_index else 2
                if stage_index < self.num_conv_stages:
                    blocks.append(MBConv(in_channels, channels, stride, rate, norm_cfg))
                else:
                    blocks.append(TransformerBlock(in_channels, channels, stride, img_size // total_stride, rate))
                in_channels = channels
            self.add_stage(nn.Sequential(*blocks), channels, total_stride)
        self.reset_parameters()
        self.train()

    def reset_parameters(self) -> None:
        """Normal over the outputs for convolutions, Xavier for attention and perceptrons, 0.02 for tables, as timm."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, RelativeAttention):
                trunc_normal_(module.relative_bias, std=0.02)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, stem_channels, ceil(H / 2), ceil(W / 2))``."""
        return self.stem(x)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        """Attention stages leave ``(N, C, H, W)`` channels last in memory; their maps are not."""
        return x if index < self.num_conv_stages else x.contiguous()

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Interpolate the tables of relative positions of another training size to ``img_size``."""
        own: Dict[str, Tuple[int, ...]] = {key: value.shape for key, value in self.named_parameters()}
        return {
            key:
            resize_positions(value[None], own[key][1:], 'bilinear')[0]
            if key.endswith('.relative_bias') and key in own and value.dim() == 3 else value
            for key, value in state_dict.items()
        }
