"""Padding for networks that have none: maps of ceil(size / stride) from any image."""
from typing import Optional, Tuple

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['keep_sizes']


def _pad_around(module: nn.Module, inputs: Tuple[Tensor]) -> Tensor:
    return F.pad(inputs[0], (1, 1, 1, 1))


def _pad_to_even(module: nn.Module, inputs: Tuple[Tensor]) -> Optional[Tensor]:
    height, width = inputs[0].shape[2:]
    return F.pad(inputs[0], (0, width % 2, 0, height % 2), value=float('-inf')) if height % 2 or width % 2 else None


def keep_sizes(net: nn.Module) -> None:
    """Give convolutions and poolings the padding with which stride s makes ceil(size / s), in place.

    - Odd kernels get half their size, where they have less.
    - Even kernels of poolings round up. Those of convolutions stay as they are.
    - A max pooling that rounds up gives that size for even maps, and one less for odd ones, which get a last row and
      column that win no maximum. So where every map is even its outputs are unchanged.
    - The blocks of timm's Inception-v3 that halve the map pool by a function, which has no padding to set: there the
      input is padded, with zeros, which win no maximum behind a ReLU.
    """
    halving = [module for module in net.modules() if type(module).__name__ in ('InceptionB', 'InceptionD')
               and type(module).__module__.endswith('.inception_v3')]  # yapf: disable
    for module in halving:
        module.register_forward_pre_hook(_pad_around)
    done = {layer for module in halving for layer in module.modules()}
    for module in net.modules():
        if module in done or not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            continue
        kernel, stride, padding = (
            value if isinstance(value, tuple) else (value, value)
            for value in (module.kernel_size, module.stride, module.padding))
        if kernel[0] % 2 == 0:
            if not isinstance(module, nn.Conv2d):
                module.ceil_mode = True
        elif isinstance(module, nn.MaxPool2d) and module.ceil_mode:
            if stride == (2, 2):
                module.register_forward_pre_hook(_pad_to_even)
        else:
            module.padding = tuple(max(side // 2, given) for side, given in zip(kernel, padding))
