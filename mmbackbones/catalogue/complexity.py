"""Parameters and multiply-accumulate operations (MACs), counted on the meta device: no memory, no arithmetic.

The rule: one MAC for each multiplication in a convolution, linear layer, matrix product or attention product, counted
by torch's own counter. Norms, activations, pooling, biases and residual sums are not counted. A layer that multiplies
elementwise as part of its method (dynamic convolution) says how often by ``elementwise_macs(x, y)``.
"""
import copy
from typing import NamedTuple, Optional, Tuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ['Complexity', 'count_complexity', 'count_params']


class Complexity(NamedTuple):
    """Counts of one network at one input size.

    Attributes:
        params: learnable parameters.
        macs: multiply-accumulate operations of one image.
    """
    params: int
    macs: int


def count_params(module: nn.Module) -> int:
    """Number of learnable parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_complexity(backbone: nn.Module,
                     input_size: Tuple[int, int] = (224, 224),
                     num_classes: Optional[int] = None) -> Complexity:
    """Count parameters and MACs of a backbone.

    Args:
        backbone: takes ``(N, 3, H, W)``, has ``out_channels``. It is not changed.
        input_size: ``(H, W)`` in pixels.
        num_classes: add the linear classifier of the paper on the last map's mean: ``C * num_classes`` MACs and as
            many parameters, plus ``num_classes`` biases. Defaults to None: the backbone alone.
    """
    backbone = copy.deepcopy(backbone).to('meta')
    backbone.eval()  # not chained: MMDetection's networks return None
    elementwise = 0

    def add(module, inputs, output):
        nonlocal elementwise
        elementwise += module.elementwise_macs(inputs[0], output)

    for module in backbone.modules():
        if hasattr(module, 'elementwise_macs'):
            module.register_forward_hook(add)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        backbone(torch.empty(1, 3, *input_size, device='meta'))
    params, macs = count_params(backbone), counter.get_total_flops() // 2 + elementwise
    if num_classes is not None:
        channels = backbone.out_channels[-1]
        params += (channels + 1) * num_classes
        macs += channels * num_classes
    return Complexity(params, macs)
