"""ResNet whose blocks convolve dynamically: ODConv, and the two it is compared with, CondConv and DyConv.

Paper: "Omni-Dimensional Dynamic Convolution", Li, Zhou and Yao, ICLR 2022.
Origin of the design: OSVAI/ODConv at 0901cc1 (models/od_resnet.py, Apache-2.0).
Different here: no classifier inside; ``style='caffe'`` puts the stride in the
1x1 convolution, the form that the paper counts its operations on, while the released code and checkpoints have it in
the 3x3. The baselines follow the paper's tables: their parameter counts say that CondConv replaces the last three
blocks only, and that DyConv replaces the downsample convolutions too.
"""
from functools import partial
from typing import Callable, Dict, Optional, Sequence, Union

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import CeilMaxPool2d, CondConv2d, DyConv2d, ODConv2d, add_temperatures, static_conv
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['CondConvResNet', 'DyConvResNet', 'ODConvResNet', 'convert_state_dict']


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``."""
    expansion = 1
    # style -> which convolution has the stride
    strided = {'pytorch': 0, 'caffe': 0}

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, style: str,
                 downsample: Optional[nn.Module], norm_cfg: dict):
        super().__init__()
        strides = [stride if index == self.strided[style] else 1 for index in range(2)]
        self.conv1 = conv(in_channels, channels, 3, strides[0], 1)
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = conv(channels, channels, 3, strides[1], 1)
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)).add_(identity))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut. ``(N, C_in, H, W)`` -> ``(N, 4 * C, ceil(H / stride), ceil(W / stride))``."""
    expansion = 4
    strided = {'pytorch': 1, 'caffe': 0}

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, style: str,
                 downsample: Optional[nn.Module], norm_cfg: dict):
        super().__init__()
        strides = [stride if index == self.strided[style] else 1 for index in range(3)]
        self.conv1 = conv(in_channels, channels, 1, strides[0])
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = conv(channels, channels, 3, strides[1], 1)
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.conv3 = conv(channels, channels * self.expansion, 1, strides[2])
        self.bn3 = build_norm_layer(norm_cfg, channels * self.expansion)[1]
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)).add_(identity))


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the authors' weights onto ours: the names are the same. Dropped: the classifier ``fc``."""
    return add_temperatures({key: value for key, value in state_dict.items() if not key.startswith('fc.')})


class DynamicResNet(BaseBackbone):
    """What the three dynamic ResNets share; stage i has stride 4, 8, 16, 32.

    Args:
        depth: 18, 34, 50, 101 or 152.
        conv: makes a dynamic convolution from ``(in_channels, out_channels, kernel_size, stride, padding)``.
        downsample_conv: makes the 1x1 convolution of a shortcut. Defaults to a static one.
        dynamic_blocks: how many of the last blocks are dynamic. Defaults to None: all.
        style: where a bottleneck has its stride: ``'pytorch'`` in the 3x3 convolution, ``'caffe'`` in the first 1x1.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms after the convolutions.
    """
    # He et al. 2016, table 1
    arch_settings = {
        18: dict(block=BasicBlock, depths=(2, 2, 2, 2)),
        34: dict(block=BasicBlock, depths=(3, 4, 6, 3)),
        50: dict(block=Bottleneck, depths=(3, 4, 6, 3)),
        101: dict(block=Bottleneck, depths=(3, 4, 23, 3)),
        152: dict(block=Bottleneck, depths=(3, 8, 36, 3)),
    }
    stem_names = ('conv1', 'bn1')
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 depth: int,
                 conv: Callable,
                 downsample_conv: Callable = static_conv,
                 dynamic_blocks: Optional[int] = None,
                 style: str = 'pytorch',
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        arch = choose_arch(owner, depth, self.arch_settings, 'depth')
        block, depths = arch['block'], arch['depths']
        if style not in block.strided:
            raise ValueError(f"{owner}: style={style!r}; 'pytorch' has a bottleneck's stride in the 3x3 convolution, "
                             "'caffe' in the first 1x1")
        self.conv1 = static_conv(in_channels, 64, 7, 2, 3)
        self.bn1 = build_norm_layer(norm_cfg, 64)[1]
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = CeilMaxPool2d(3, 2)

        blocks_left, in_channels, total_stride = sum(depths), 64, 4
        for stage_index in range(self.num_built_stages):
            channels = 64 * 2**stage_index
            out_channels = channels * block.expansion
            blocks = []
            for block_index in range(depths[stage_index]):
                stride = 2 if stage_index and not block_index else 1
                downsample = None
                if stride != 1 or in_channels != out_channels:
                    downsample = nn.Sequential(
                        downsample_conv(in_channels, out_channels, 1, stride),
                        build_norm_layer(norm_cfg, out_channels)[1])
                static = dynamic_blocks is not None and blocks_left > dynamic_blocks
                blocks.append(
                    block(static_conv if static else conv, in_channels, channels, stride, style, downsample, norm_cfg))
                in_channels, total_stride, blocks_left = out_channels, total_stride * stride, blocks_left - 1
            self.add_stage(nn.Sequential(*blocks), out_channels, total_stride)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, 64, ceil(H / 4), ceil(W / 4))``."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))


@MODELS.register_module()
class ODConvResNet(DynamicResNet):
    """ResNet with omni-dimensional dynamic convolution in its blocks; stem and downsample convolutions are static.

    Args:
        depth: 18, 34, 50, 101 or 152.
        kernel_num: kernels of each convolution. Defaults to 1.
        reduction: of the attentions. Defaults to 1/16.
        norm_cfg: of the norms after the convolutions and in the attentions.
        **kwargs: ``style`` and the common tail of arguments, see :class:`DynamicResNet`.
    """

    def __init__(self,
                 depth: int,
                 kernel_num: int = 1,
                 reduction: float = 1 / 16,
                 norm_cfg: dict = dict(type='BN'),
                 **kwargs):
        conv = partial(ODConv2d, kernel_num=kernel_num, reduction=reduction, norm_cfg=norm_cfg)
        super().__init__(depth, conv=conv, norm_cfg=norm_cfg, **kwargs)


@MODELS.register_module()
class DyConvResNet(DynamicResNet):
    """ResNet with dynamic convolution (Chen et al.) everywhere but in the stem, the paper's baseline DyConv (4x).

    Args:
        depth: 18, 34, 50, 101 or 152.
        kernel_num: kernels of each convolution. Defaults to 4.
        reduction: of the attentions. Defaults to 1/4.
        **kwargs: ``style`` and the common tail of arguments, see :class:`DynamicResNet`.
    """

    def __init__(self, depth: int, kernel_num: int = 4, reduction: float = 1 / 4, **kwargs):
        conv = partial(DyConv2d, kernel_num=kernel_num, reduction=reduction)
        super().__init__(depth, conv=conv, downsample_conv=conv, **kwargs)


@MODELS.register_module()
class CondConvResNet(DynamicResNet):
    """ResNet with conditionally parameterised convolution in its last three blocks, the paper's baseline CondConv (8x).

    Args:
        depth: 18, 34, 50, 101 or 152.
        kernel_num: experts of each convolution. Defaults to 8.
        **kwargs: ``style`` and the common tail of arguments, see :class:`DynamicResNet`.
    """

    def __init__(self, depth: int, kernel_num: int = 8, **kwargs):
        super().__init__(depth, conv=partial(CondConv2d, kernel_num=kernel_num), dynamic_blocks=3, **kwargs)
