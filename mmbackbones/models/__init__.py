"""One file per backbone family."""
from ._base import BaseBackbone
from .cls_neck import PooledDropout
from .conv2former import Conv2Former
from .dynamic_mobilenetv2 import CondConvMobileNetV2, DyConvMobileNetV2, ODConvMobileNetV2
from .dynamic_resnet import CondConvResNet, DyConvResNet, ODConvResNet

__all__ = [
    'BaseBackbone', 'CondConvMobileNetV2', 'CondConvResNet', 'Conv2Former', 'DyConvMobileNetV2', 'DyConvResNet',
    'ODConvMobileNetV2', 'ODConvResNet', 'PooledDropout'
]
