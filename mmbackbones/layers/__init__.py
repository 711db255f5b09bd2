"""Primitives: used by two or more models, or a hot path of its own."""
from .attention import multi_head_attention
from .co_attention import co_attention, linear_memory_attention
from .drop_path import drop_path_ramp
from .dynamic_conv import Attentions, CondConv2d, DyConv2d, DynamicConv2d, ODConv2d, add_temperatures, dynamic_conv2d
from .mlp import Mlp
from .positions import relative_position_index, resize_positions
from .relative_bias import relative_position_bias
from .spatial_reduction import SpatialReductionAttention
from .static_conv import static_conv
from .window_attention import WindowAttention, window_attention, window_mask

__all__ = [
    'Attentions', 'CondConv2d', 'DyConv2d', 'DynamicConv2d', 'Mlp', 'ODConv2d', 'SpatialReductionAttention',
    'WindowAttention', 'add_temperatures', 'co_attention', 'drop_path_ramp', 'dynamic_conv2d',
    'linear_memory_attention', 'multi_head_attention', 'relative_position_bias', 'relative_position_index',
    'resize_positions', 'static_conv', 'window_attention', 'window_mask'
]
