"""When a layer may work piece by piece: in eager mode on the CPU, where large temporary tensors are dear.

The C library gives large blocks back to the system at once, and the next tensor of that size takes them anew, page by
page. Filling a page for the first time costs about as much as the arithmetic on what it holds. Pieces fit the cache and
use the same memory again. In training that pays where it saves tensors that would only be kept, or made, for the
backward pass; a GPU's allocator keeps its blocks, and a compiler fuses what lies between: these get the plain form.
"""
import torch
from torch import Tensor, nn

__all__ = ['is_eager', 'is_large', 'is_plain', 'works_in_pieces']

# glibc's DEFAULT_MMAP_THRESHOLD_MAX: it keeps smaller blocks, once one of their size was freed
LARGE_BYTES = 32 * 2**20

HOOKS = '_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks'


def is_eager(x: Tensor) -> bool:
    """Whether ``x`` is on the CPU, in full precision, not under autocast, and nothing traces what is done with it."""
    return (x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled('cpu')
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing())


def works_in_pieces(x: Tensor) -> bool:
    """Whether what follows on ``x`` is eager inference on the CPU."""
    return not torch.is_grad_enabled() and is_eager(x)


def is_large(dtype: torch.dtype, elements: int) -> bool:
    """Whether a tensor of so many elements is given back to the system when it is freed."""
    return elements * dtype.itemsize > LARGE_BYTES


def is_plain(*layers: nn.Module) -> bool:
    """Whether weights and biases say all that linear layers, convolutions and exact GELUs do: no adapter in the place
    of one, no hook."""
    return all(
        type(layer) in (nn.Linear, nn.Conv2d, nn.GELU) and getattr(layer, 'approximate', 'none') == 'none' and not any(
            getattr(layer, hooks) for hooks in HOOKS) for layer in layers)
