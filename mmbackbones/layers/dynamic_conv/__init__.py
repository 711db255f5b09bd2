"""Dynamic convolutions: the layers, the forms in which they are computed, and the choice of one."""
from .forms import FORMS, Form
from .layers import Attentions, CondConv2d, DyConv2d, DynamicConv2d, ODConv2d, add_temperatures, dynamic_conv2d

__all__ = [
    'Attentions', 'CondConv2d', 'DyConv2d', 'DynamicConv2d', 'FORMS', 'Form', 'ODConv2d', 'add_temperatures',
    'dynamic_conv2d'
]
