"""One file per backbone family."""
from ._base import BaseBackbone
from .botnet import BoTNet
from .cls_neck import PooledDropout
from .dogenet import DogeNet
from .dynamic_mobilenetv2 import CondConvMobileNetV2, DyConvMobileNetV2, ODConvMobileNetV2
from .dynamic_resnet import CondConvResNet, DyConvResNet, ODConvResNet

__all__ = [
    'BaseBackbone', 'BoTNet', 'CondConvMobileNetV2', 'CondConvResNet', 'DogeNet', 'DyConvMobileNetV2', 'DyConvResNet',
    'ODConvMobileNetV2', 'ODConvResNet', 'PooledDropout'
]
