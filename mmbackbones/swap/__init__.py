"""A catalogue backbone in the config of a detector or classifier, and everything else that must change with it.

Parts are known by their roles, not by a list of names: the config's own model is followed on the meta device, which
tells the channels and strides of its maps; what is configured for these channels takes the new ones. The result is
followed in the same way before it is handed out.
"""
from ..config.edit import Change, SwapError
from ..config.files import default_output, load_config
from .backbone import swap_backbone, swap_file

__all__ = ['Change', 'SwapError', 'default_output', 'load_config', 'swap_backbone', 'swap_file']
