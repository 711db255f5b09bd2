"""One file per backbone family."""
from ._base import BaseBackbone
from .botnet import BoTNet
from .coatnet import CoAtNet
from .conv2former import Conv2Former
from .dogenet import DogeNet
from .dsnet import DSNet
from .dynamic_mobilenetv2 import CondConvMobileNetV2, DyConvMobileNetV2, ODConvMobileNetV2
from .dynamic_resnet import CondConvResNet, DyConvResNet, ODConvResNet
from .necks import PooledDropout, PooledNorm
from .pvt import PyramidVisionTransformer, PyramidVisionTransformerV2
from .swin import SwinTransformer
from .vit import VisionTransformer
from .wrappers import (OpenMMLabBackbone, TimmBackbone, TorchvisionBackbone, expected_pixels, pretrained_tags,
                       torchvision_tags)

__all__ = [
    'BaseBackbone', 'BoTNet', 'CoAtNet', 'CondConvMobileNetV2', 'CondConvResNet', 'Conv2Former', 'DSNet', 'DogeNet',
    'DyConvMobileNetV2', 'DyConvResNet', 'ODConvMobileNetV2', 'ODConvResNet', 'OpenMMLabBackbone', 'PooledDropout',
    'PooledNorm', 'PyramidVisionTransformer', 'PyramidVisionTransformerV2', 'SwinTransformer', 'TimmBackbone',
    'TorchvisionBackbone', 'VisionTransformer', 'expected_pixels', 'pretrained_tags', 'torchvision_tags'
]
