"""Primitives: used by two or more models, or a hot path of its own."""
from ._eager_cpu import set_eager_cpu
from .attention import multi_head_attention
from .bottleneck import Bottleneck
from .co_attention import co_attention, linear_memory_attention
from .conv import static_conv
from .drop_path import drop_path_ramp
from .dynamic_conv import Attentions, CondConv2d, DyConv2d, DynamicConv2d, ODConv2d, add_temperatures, dynamic_conv2d
from .map_attention import MapAttention, RelativeMapAttention, convert_map_positions, resize_map_positions
from .mlp import ConvMlp, Mlp
from .padding import larger, pad_to_multiples, pad_to_size, padded_size
from .patches import PatchConv2d
from .pooling import CeilMaxPool2d, HalvingMean
from .positions import relative_position_index, resize_positions
from .pre_norm_block import PreNormBlock
from .relative_bias import relative_position_bias
from .spatial_reduction import SpatialReductionAttention
from .window_attention import WindowAttention, window_attention, window_mask

__all__ = [
    'Attentions', 'Bottleneck', 'CeilMaxPool2d', 'CondConv2d', 'ConvMlp', 'DyConv2d', 'DynamicConv2d', 'HalvingMean',
    'MapAttention', 'Mlp', 'ODConv2d', 'PatchConv2d', 'PreNormBlock', 'RelativeMapAttention',
    'SpatialReductionAttention', 'WindowAttention', 'add_temperatures', 'co_attention', 'convert_map_positions',
    'drop_path_ramp', 'dynamic_conv2d', 'larger', 'linear_memory_attention', 'multi_head_attention', 'pad_to_multiples',
    'pad_to_size', 'padded_size', 'relative_position_bias', 'relative_position_index', 'resize_map_positions',
    'resize_positions', 'set_eager_cpu', 'static_conv', 'window_attention', 'window_mask'
]
