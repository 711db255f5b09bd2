"""When a layer may work piece by piece: in eager mode on the CPU, where large temporary tensors are dear.

The C library gives large blocks back to the system at once, and the next tensor of that size takes them anew, page by
page. Filling a page for the first time costs about as much as the arithmetic on what it holds. Pieces fit the cache and
use the same memory again. A GPU's allocator keeps its blocks, and a compiler fuses what lies between: both get the
plain form.
"""
import torch
from torch import Tensor, nn

__all__ = ['is_plain', 'works_in_pieces']


def works_in_pieces(x: Tensor) -> bool:
    """Whether ``x`` is in eager mode on the CPU, in full precision and not under autocast."""
    return (x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled('cpu')
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing())


def is_plain(*layers: nn.Module) -> bool:
    """Whether the weights and biases of linear layers and convolutions say all they do: no adapter in the place of one,
    no hook."""

    def hooks(layer):
        return (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)

    return all(type(layer) in (nn.Linear, nn.Conv2d) and not hooks(layer) for layer in layers)
