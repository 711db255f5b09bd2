"""MobileNetV2 whose blocks convolve dynamically: ODConv, and the two it is compared with, CondConv and DyConv.

Papers: "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al., CVPR 2018;
"Omni-Dimensional Dynamic Convolution", Li, Zhou and Yao, ICLR 2022.
Origin of the design: OSVAI/ODConv at 0901cc1 (models/od_mobilenetv2.py, Apache-2.0).
Different here: no classifier inside; the network is cut into a stem and four stages where the release's detectors take
their maps, at strides 4, 8, 16 and 32, the last one after the final 1x1 convolution (24, 32, 96, 1280 channels).
"""
from functools import partial
from typing import Callable, Dict, Optional, Sequence, Union

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import CondConv2d, DyConv2d, ODConv2d, add_temperatures, static_conv
from ..registry import MODELS
from ._base import BaseBackbone

__all__ = ['CondConvMobileNetV2', 'DyConvMobileNetV2', 'ODConvMobileNetV2', 'convert_state_dict']


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor``, at least one of it and not more than a tenth below."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvBNReLU6(nn.Module):
    """Convolution, norm, ReLU6. ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``."""

    def __init__(self,
                 conv: Callable,
                 in_channels: int,
                 channels: int,
                 kernel_size: int,
                 stride: int,
                 norm_cfg: dict,
                 groups: int = 1):
        super().__init__()
        self.conv = conv(in_channels, channels, kernel_size, stride, kernel_size // 2, groups=groups)
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depth-wise, linear 1x1 projection (Sandler et al., section 3.3), shortcut where shapes allow.

    ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``.
    """

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, expand_ratio: int, norm_cfg: dict):
        super().__init__()
        hidden = in_channels * expand_ratio
        self.expand = nn.Identity() if expand_ratio == 1 else ConvBNReLU6(conv, in_channels, hidden, 1, 1, norm_cfg)
        self.depthwise = ConvBNReLU6(conv, hidden, hidden, 3, stride, norm_cfg, groups=hidden)
        self.project = conv(hidden, channels, 1)
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.project(self.depthwise(self.expand(x))))
        return y.add_(x) if self.shortcut else y


# Sandler et al., table 2, cut where the maps are taken: (expand_ratio, channels, number of blocks, first stride)
STAGES = (
    ((6, 24, 2, 2), ),
    ((6, 32, 3, 2), ),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the authors' weights (``features.N.conv.M``) onto ours. Dropped: the ``classifier``."""
    blocks = ['stem.0', 'stem.1']  # the release's features, in order
    for index, stage in enumerate(STAGES):
        count = sum(rows[2] for rows in stage) + (index == len(STAGES) - 1)  # the last 1x1 convolution is a block too
        blocks += [f'layer{index + 1}.{block}' for block in range(count)]
    conv_bn = {'0': 'conv', '1': 'bn'}
    weights = {}
    for key, value in state_dict.items():
        parts = key.split('.')
        if parts[0] == 'classifier':
            continue
        if parts[0] == 'features':
            block, rest = blocks[int(parts[1])], parts[2:]
            if rest[0] != 'conv':  # first or last convolution: 0 conv, 1 norm
                rest = [conv_bn[rest[0]], *rest[1:]]
            elif block == 'stem.1':  # no expansion: 0 depth-wise, 1 projection, 2 norm
                rest = ['depthwise', conv_bn[rest[2]], *rest[3:]] if rest[1] == '0' else [{
                    '1': 'project',
                    '2': 'bn'
                }[rest[1]], *rest[2:]]
            else:  # 0 expansion, 1 depth-wise, 2 projection, 3 norm
                rest = [{
                    '0': 'expand',
                    '1': 'depthwise'
                }[rest[1]], conv_bn[rest[2]], *rest[3:]] if rest[1] in '01' else [{
                    '2': 'project',
                    '3': 'bn'
                }[rest[1]], *rest[2:]]
            key = '.'.join([block, *rest])
        weights[key] = value
    return add_temperatures(weights)


class DynamicMobileNetV2(BaseBackbone):
    """What the three dynamic MobileNetV2 share; stage i has stride 4, 8, 16, 32.

    The stem is the first convolution, which is static, and the block without expansion (stride 2).

    Args:
        widen_factor: of all channels but the last 1280, which only grow.
        conv: makes a dynamic convolution from ``(in_channels, out_channels, kernel_size, stride, padding, groups=)``.
        dynamic_blocks: how many of the last blocks, counting the final convolution, are dynamic. Defaults to None: all.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms after the convolutions.

    Raises:
        ValueError: ``widen_factor`` is not positive.
    """
    stem_names = ('stem', )
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 widen_factor: float,
                 conv: Callable,
                 dynamic_blocks: Optional[int] = None,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(len(STAGES), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        if widen_factor <= 0:
            raise ValueError(
                f'{type(self).__name__}: widen_factor={widen_factor} must be positive; published: 1.0, 0.75, 0.5')
        blocks_left = 2 + sum(rows[2] for stage in STAGES for rows in stage)

        def next_conv():
            nonlocal blocks_left
            static = dynamic_blocks is not None and blocks_left > dynamic_blocks
            blocks_left -= 1
            return static_conv if static else conv

        stem_channels = make_divisible(32 * widen_factor)
        channels = make_divisible(16 * widen_factor)
        self.stem = nn.Sequential(
            ConvBNReLU6(static_conv, in_channels, stem_channels, 3, 2, norm_cfg),
            InvertedResidual(next_conv(), stem_channels, channels, 1, 1, norm_cfg))
        in_channels, total_stride = channels, 2
        for stage_index in range(self.num_built_stages):
            blocks = []
            for expand_ratio, base_channels, num_blocks, first_stride in STAGES[stage_index]:
                channels = make_divisible(base_channels * widen_factor)
                for block_index in range(num_blocks):
                    stride = 1 if block_index else first_stride
                    blocks.append(InvertedResidual(next_conv(), in_channels, channels, stride, expand_ratio, norm_cfg))
                    in_channels, total_stride = channels, total_stride * stride
            if stage_index == len(STAGES) - 1:
                channels = make_divisible(1280 * max(1.0, widen_factor))
                blocks.append(ConvBNReLU6(next_conv(), in_channels, channels, 1, 1, norm_cfg))
                in_channels = channels
            self.add_stage(nn.Sequential(*blocks), in_channels, total_stride)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, 16 * widen_factor, ceil(H / 2), ceil(W / 2))``."""
        return self.stem(x)


@MODELS.register_module()
class ODConvMobileNetV2(DynamicMobileNetV2):
    """MobileNetV2 with omni-dimensional dynamic convolution in all but the first convolution.

    Args:
        widen_factor: 1.0, 0.75 and 0.5 are published. Defaults to 1.0.
        kernel_num: kernels of each convolution. Defaults to 1.
        reduction: of the attentions. Defaults to 1/16.
        norm_cfg: of the norms after the convolutions and in the attentions.
        **kwargs: the common tail of arguments, see :class:`DynamicMobileNetV2`.
    """

    def __init__(self,
                 widen_factor: float = 1.0,
                 kernel_num: int = 1,
                 reduction: float = 1 / 16,
                 norm_cfg: dict = dict(type='BN'),
                 **kwargs):
        conv = partial(ODConv2d, kernel_num=kernel_num, reduction=reduction, norm_cfg=norm_cfg)
        super().__init__(widen_factor, conv=conv, norm_cfg=norm_cfg, **kwargs)


@MODELS.register_module()
class DyConvMobileNetV2(DynamicMobileNetV2):
    """MobileNetV2 with dynamic convolution (Chen et al.) in all but the first convolution, the paper's baseline.

    Args:
        widen_factor: 1.0, 0.75 and 0.5 are published. Defaults to 1.0.
        kernel_num: kernels of each convolution. Defaults to 4.
        reduction: of the attentions. Defaults to 1/4.
        **kwargs: the common tail of arguments, see :class:`DynamicMobileNetV2`.
    """

    def __init__(self, widen_factor: float = 1.0, kernel_num: int = 4, reduction: float = 1 / 4, **kwargs):
        super().__init__(widen_factor, conv=partial(DyConv2d, kernel_num=kernel_num, reduction=reduction), **kwargs)


@MODELS.register_module()
class CondConvMobileNetV2(DynamicMobileNetV2):
    """MobileNetV2 with conditionally parameterised convolution in its last blocks, the paper's baseline.

    Args:
        widen_factor: 1.0, 0.75 and 0.5 are published. Defaults to 1.0.
        kernel_num: experts of each convolution. Defaults to 8.
        **kwargs: the common tail of arguments, see :class:`DynamicMobileNetV2`.
    """

    def __init__(self, widen_factor: float = 1.0, kernel_num: int = 8, **kwargs):
        super().__init__(widen_factor, conv=partial(CondConv2d, kernel_num=kernel_num), dynamic_blocks=4, **kwargs)
