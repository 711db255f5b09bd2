"""Primitives: used by two or more models, or a hot path of its own."""
from .dynamic_conv import Attentions, CondConv2d, DyConv2d, DynamicConv2d, ODConv2d, add_temperatures, dynamic_conv2d
from .static_conv import static_conv

__all__ = [
    'Attentions', 'CondConv2d', 'DyConv2d', 'DynamicConv2d', 'ODConv2d', 'add_temperatures', 'dynamic_conv2d',
    'static_conv'
]
