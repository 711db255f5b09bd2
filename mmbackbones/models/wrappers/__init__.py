"""Networks of other libraries behind our contract: their maps, strides and weights."""
from .openmmlab_backbone import OpenMMLabBackbone
from .timm_backbone import TimmBackbone, expected_pixels, pretrained_tags
from .torchvision_backbone import TorchvisionBackbone, torchvision_tags

__all__ = [
    'OpenMMLabBackbone', 'TimmBackbone', 'TorchvisionBackbone', 'expected_pixels', 'pretrained_tags', 'torchvision_tags'
]
