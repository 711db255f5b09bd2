"""One file per backbone family."""
from ._base import BaseBackbone
from .cls_neck import PooledDropout, PooledNorm
from .dynamic_mobilenetv2 import CondConvMobileNetV2, DyConvMobileNetV2, ODConvMobileNetV2
from .dynamic_resnet import CondConvResNet, DyConvResNet, ODConvResNet

__all__ = [
    'BaseBackbone', 'CondConvMobileNetV2', 'CondConvResNet', 'DyConvMobileNetV2', 'DyConvResNet', 'ODConvMobileNetV2',
    'ODConvResNet', 'PooledDropout', 'PooledNorm'
]
