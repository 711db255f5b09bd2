"""When a layer may work piece by piece: in eager mode on the CPU, where large temporary tensors cost much.

The C library gives large blocks back to the system at once, and the next tensor of that size takes them anew, page by
page. Filling a page for the first time costs about as much as the arithmetic on what it holds. Pieces fit the cache and
use the same memory again. In training that pays where it saves tensors that would only be kept, or made, for the
backward pass; a GPU's allocator keeps its blocks, and a compiler fuses what lies between: these get the plain form.

:func:`set_eager_cpu`, or ``MMBACKBONES_EAGER_CPU=0`` in the environment, gives the plain form to all.
"""
import os
from typing import Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

__all__ = ['is_eager', 'is_large', 'is_plain', 'set_eager_cpu', 'works_in_pieces']

# glibc's DEFAULT_MMAP_THRESHOLD_MAX: it keeps smaller blocks, once one of their size was freed
LARGE_BYTES = 32 * 2**20

PLAIN = nn.Linear, nn.Conv2d, nn.GELU
HOOKS = '_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks'

_enabled = os.environ.get('MMBACKBONES_EAGER_CPU', '1') != '0'


def set_eager_cpu(enabled: bool) -> None:
    """Turn the forms of their own that layers have in eager mode on the CPU on or off, for the whole process.

    Off, every layer computes by torch's own operations, as it does on a GPU: to look for a fault, to compare, or for
    what only these have, such as second derivatives. Values and gradients are the same. A form that is given to
    :func:`dynamic_conv2d` by name is taken in any case.
    """
    global _enabled
    _enabled = enabled


def is_eager(x: Tensor, low_precision: bool = False) -> bool:
    """Whether ``x`` is on the CPU and nothing traces what is done with it, unless :func:`set_eager_cpu` said no.

    Args:
        x: a layer's input.
        low_precision: True also for half precision and under autocast.
    """
    return (_enabled and x.is_cpu and not torch.compiler.is_compiling() and not torch.jit.is_tracing()
            and (low_precision or (x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled('cpu'))))


def works_in_pieces(x: Tensor) -> bool:
    """Whether what follows on ``x`` is eager inference on the CPU."""
    return not torch.is_grad_enabled() and is_eager(x)


def is_large(dtype: torch.dtype, elements: int) -> bool:
    """Whether a tensor of so many elements is given back to the system when it is freed."""
    return elements * dtype.itemsize > LARGE_BYTES


def is_plain(*layers: nn.Module, kinds: Tuple[type, ...] = PLAIN) -> bool:
    """Whether weights and biases say all that these layers do, so that their work can be done without a call of them.

    It is not so for another class in the place of one (an adapter, a parametrization), a tensor that is more than its
    values (quantized, sharded), a missing bias, and where a hook or a ``forward`` of its own waits for the call.

    Args:
        layers: linear layers, convolutions and exact GELUs.
        kinds: classes of them, where they are others.
    """
    if any(getattr(torch_module, f'_global{hooks}') for hooks in HOOKS):
        return False
    for layer in layers:
        if type(layer) not in kinds or 'forward' in vars(layer) or any(getattr(layer, hooks) for hooks in HOOKS):
            return False
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            if type(layer.weight) is not nn.Parameter or type(layer.bias) is not nn.Parameter:
                return False
        elif isinstance(layer, nn.GELU) and layer.approximate != 'none':
            return False
    return True
