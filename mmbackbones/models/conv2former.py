"""Conv2Former: blocks of a transformer whose attention is a product with a large depth-wise convolution.

Paper: "Conv2Former: A Simple Transformer-Style ConvNet for Visual Recognition", Hou, Lu, Cheng and Feng, 2022.
Origin of the design: HVision-NKU/Conv2Former at 94fd1c4 (models/conv2former.py, Apache-2.0); the form for images of
32 x 32 pixels is that of founding document 003.
Different here: no classifier inside (the authors' has a hidden layer of 1280 channels); the arguments that the
authors' code takes and does not use (heads, windows, the layer scale's initial value) do not exist; maps of odd height
or width are padded where the authors cut them; outputs are normalised, unless ``output_norm=False``. The authors have
published no detection code; ConvNeXt's, whose stages are of the same kind, has these norms, since nothing in the
residual stream bounds its values.
"""
import re
from typing import Dict, Optional, Sequence, Union

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from ..layers import PatchConv2d, drop_path_ramp
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['Conv2Former', 'convert_state_dict']


def normalise_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer norm over the channels at every position. ``(N, C, H, W)`` -> ``(N, C, H, W)``."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # there and back: (N, H, W, C)


class LayerNormHalving(nn.Module):
    """The paper's way between two stages: ``(N, C, H, W)`` -> ``(N, 2C, ceil(H/2), ceil(W/2))``."""

    def __init__(self, in_channels: int, norm_cfg: dict):
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv = PatchConv2d(in_channels, 2 * in_channels, 2, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(normalise_channels(self.norm, x))


class ConvModulation(nn.Module):
    """Convolutional modulation (paper, section 3.2): ``W_3 (DWConv(GELU(W_1 X)) * W_2 X)`` of the normed X.

    ``(N, C, H, W)`` -> ``(N, C, H, W)``. Attention weighs values by the likeness of queries and keys; here the
    weight of a value is what a large depth-wise convolution makes of its surroundings.
    """

    def __init__(self, channels: int, kernel_size: int, norm_cfg: dict):
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, channels)[1]
        self.att = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.GELU(),
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels))
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = normalise_channels(self.norm, x)
        return self.proj(self.att(x) * self.v(x))


class ResidualConvMlp(nn.Module):
    """Perceptron with a 3x3 depth-wise convolution added to its hidden layer. ``(N, C, H, W)`` -> ``(N, C, H, W)``."""

    def __init__(self, channels: int, hidden_channels: int, norm_cfg: dict):
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, channels)[1]
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.pos = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc1(normalise_channels(self.norm, x)))
        return self.fc2(x + self.act(self.pos(x)))


class Block(nn.Module):
    """Modulation and perceptron, each added to its input. ``(N, C, H, W)`` -> ``(N, C, H, W)``.

    Args:
        channels: C.
        kernel_size: of the modulation, odd.
        mlp_ratio: hidden channels of the perceptron over C.
        layer_scale: initial value of the factor that each branch's channels have. None: no factor.
        drop_path: rate at which either branch is left out in training.
        norm_cfg: of the layer norms.
    """

    def __init__(self, channels: int, kernel_size: int, mlp_ratio: int, layer_scale: Optional[float], drop_path: float,
                 norm_cfg: dict):
        super().__init__()
        self.attn = ConvModulation(channels, kernel_size, norm_cfg)
        self.mlp = ResidualConvMlp(channels, mlp_ratio * channels, norm_cfg)
        self.drop_path = DropPath(drop_path)
        for name in ('layer_scale_1', 'layer_scale_2'):
            scale = None if layer_scale is None else nn.Parameter(torch.full((channels, ), layer_scale))
            self.register_parameter(name, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self._scale(self.attn(x), self.layer_scale_1))
        return x + self.drop_path(self._scale(self.mlp(x), self.layer_scale_2))

    @staticmethod
    def _scale(x: Tensor, factor: Optional[Tensor]) -> Tensor:
        return x if factor is None else factor[:, None, None] * x


def stride4_stem(in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    """The paper's: 3x3 with stride 2, 3x3, 2x2 with stride 2.

    ``(N, in_channels, H, W)`` -> ``(N, channels, ceil(H / 4), ceil(W / 4))``.
    """
    hidden = channels // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden, 3, 2, 1, bias=False), nn.GELU(),
        build_norm_layer(norm_cfg, hidden)[1], nn.Conv2d(hidden, hidden, 3, 1, 1, bias=False), nn.GELU(),
        build_norm_layer(norm_cfg, hidden)[1], PatchConv2d(hidden, channels, 2, bias=False))


def pixel_stem(in_channels: int, channels: int) -> nn.Sequential:
    """The document's: a 1x1 convolution. ``(N, C_in, H, W)`` -> ``(N, C, H, W)``."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1))


def group_norm_halving(channels: int) -> nn.Sequential:
    """The document's way between two stages: all of an image normed at once, then 2x2, to ``2C`` channels."""
    return nn.Sequential(nn.GroupNorm(1, channels), PatchConv2d(channels, 2 * channels, 2, bias=False))


# theirs -> ours. The paper's release keeps stem and downsampling apart from the stages; the document's code has the
# downsampling at the end of the stage before.
RENAMED = (
    (r'downsample_layers\.0\.', lambda m: 'stem.'),
    (r'downsample_layers\.(\d)\.0\.', lambda m: f'layer{int(m[1]) + 1}.0.norm.'),
    (r'downsample_layers\.(\d)\.1\.', lambda m: f'layer{int(m[1]) + 1}.0.conv.'),
    (r'stages\.(\d)\.(\d+)\.', lambda m: _block(m[1], m[2])),
    (r'fc1\.', lambda m: 'stem.0.'),
    (r'layers\.(\d)\.downsample\.(\d)\.', lambda m: f'layer{int(m[1]) + 2}.0.{m[2]}.'),
    (r'layers\.(\d)\.blocks\.(\d+)\.attn\.a\.', lambda m: _block(m[1], m[2]) + 'attn.att.'),
    (r'layers\.(\d)\.blocks\.(\d+)\.', lambda m: _block(m[1], m[2])),
    (r'norm\.', lambda m: 'norm4.'),
)
CLASSIFIER = ('head.', 'pred.')


def _block(stage: str, block: str) -> str:
    """Our prefix of a block; all stages but the first begin with the downsampling."""
    return f'layer{int(stage) + 1}.{int(block) + (stage != "0")}.'


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the authors' weights, or those of document 003's code, onto ours.

    Dropped: the classifier, ``head`` (the authors' hidden layer, the document's only one) and ``pred``. Our own names
    pass through.
    """
    converted = {}
    for key, value in state_dict.items():
        if key.startswith(CLASSIFIER):
            continue
        for pattern, rename in RENAMED:
            match = re.match(pattern, key)
            if match:
                key = rename(match) + key[match.end():]
                break
        converted[key] = value
    return converted


@MODELS.register_module()
class Conv2Former(BaseBackbone):
    """Conv2Former; its stages have strides 4, 8, 16, 32, or 1, 2, 4, 8 in the form for small images.

    Args:
        arch: ``'nano'``, ``'tiny'``, ``'small'``, ``'base'``, ``'large'`` of the paper, ``'nano_cifar'`` of document
            003, or a dict with the keys of ``arch_settings``; ``'base'`` with kernels of 7 is the release's ``b_22k``.
            ``form='cifar'`` has a 1x1 convolution for a stem, group norms of one group between the stages, and no
            layer scale.
        drop_path_rate: of the last block; the blocks before have rates that grow from 0.
        output_norm: whether a layer norm stands behind each output. Without, the maps are what the authors' classifier
            takes; the document's has the norm of the last stage.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`. The only batch norms are in
            the stem of the paper's form.
        norm_cfg: of the layer norms.
        stem_norm_cfg: of the two norms in the stem of the paper's form. Defaults to None: batch norms. The form for
            small images has none there, and none but those of ``norm_cfg`` that can be chosen.

    Raises:
        ValueError: an argument is out of range; it lists the choices.
    """
    # the release's models/conv2former.py, conv2former_n to conv2former_l; document 003, section 3.1
    arch_settings = {
        'nano': dict(form='paper', embed_dims=64, depths=(2, 2, 8, 2), kernel_size=7, mlp_ratio=4),
        'tiny': dict(form='paper', embed_dims=72, depths=(3, 3, 12, 3), kernel_size=11, mlp_ratio=4),
        'small': dict(form='paper', embed_dims=72, depths=(4, 4, 32, 4), kernel_size=11, mlp_ratio=4),
        'base': dict(form='paper', embed_dims=96, depths=(4, 4, 34, 4), kernel_size=11, mlp_ratio=4),
        'large': dict(form='paper', embed_dims=128, depths=(4, 4, 48, 4), kernel_size=11, mlp_ratio=4),
        'nano_cifar': dict(form='cifar', embed_dims=64, depths=(2, 2, 8, 2), kernel_size=11, mlp_ratio=2),
    }
    stem_names = ('stem', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict] = 'nano',
                 drop_path_rate: float = 0.,
                 output_norm: bool = True,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 stem_norm_cfg: Optional[dict] = None,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        arch = choose_arch(type(self).__name__, arch, self.arch_settings)
        super().__init__(len(arch['depths']), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        if arch['form'] not in ('paper', 'cifar'):
            raise ValueError(f"{type(self).__name__}: form={arch['form']!r}; choose from 'paper', 'cifar'")
        small = arch['form'] == 'cifar'
        embed_dims, depths = arch['embed_dims'], arch['depths']
        if small and stem_norm_cfg is not None:
            raise ValueError(
                f"{type(self).__name__}: stem_norm_cfg={stem_norm_cfg!r}, but the stem of form='cifar' has "
                'no norm; leave it out')
        self.stem = pixel_stem(in_channels, embed_dims) if small else stride4_stem(in_channels, embed_dims,
                                                                                   stem_norm_cfg or dict(type='BN'))
        rates = drop_path_ramp(drop_path_rate, depths)
        for stage_index in range(self.num_built_stages):
            channels = embed_dims * 2**stage_index
            blocks = []
            if stage_index:
                blocks.append(group_norm_halving(channels // 2) if small else LayerNormHalving(channels // 2, norm_cfg))
            blocks += [
                Block(channels, arch['kernel_size'], arch['mlp_ratio'], None if small else 1e-6, rate, norm_cfg)
                for rate in rates[stage_index]
            ]
            self.add_stage(nn.Sequential(*blocks), channels, 2**stage_index * (1 if small else 4))
        self.norm_names = tuple(f'norm{index + 1}' for index in self.out_indices) if output_norm else ()
        for name, channels in zip(self.norm_names, self.out_channels):
            self.add_module(name, build_norm_layer(norm_cfg, channels)[1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, C, ceil(H / 4), ceil(W / 4))``, or ``(N, C, H, W)`` in the CIFAR form."""
        return self.stem(x)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        """The map ``(N, C, H, W)``, normalised over its channels if there are norms."""
        if not self.norm_names:
            return x
        return normalise_channels(getattr(self, f'norm{index + 1}'), x).contiguous()

    @property
    def optional_prefixes(self):
        """The authors' classifier has no norm behind a stage, the document's only behind the last."""
        return tuple(f'{name}.' for name in self.norm_names)

    @property
    def omitted_prefixes(self):
        """As in :class:`BaseBackbone`; and the norms of outputs that are not asked for."""
        norms = (f'norm{index + 1}' for index in range(self.num_stages))
        return super().omitted_prefixes + tuple(f'{name}.' for name in norms if name not in self.norm_names)
