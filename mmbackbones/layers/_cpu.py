"""When a layer may work piece by piece: in inference on the CPU, where large temporary tensors are dear.

The C library gives large blocks back to the system at once, and the next tensor of that size takes them anew, page by
page. Filling a page for the first time costs about as much as the arithmetic on what it holds. Pieces fit the cache and
use the same memory again. In training the tensors are kept for the backward pass and nothing is gained; a GPU's
allocator keeps its blocks, and a compiler fuses what lies between: all of these get the plain form.
"""
import torch
from torch import Tensor, nn

__all__ = ['is_eager', 'is_plain', 'works_in_pieces']


def is_eager(x: Tensor) -> bool:
    """Whether ``x`` is on the CPU, in full precision, not under autocast, and nothing traces what is done with it."""
    return (x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled('cpu')
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing())


def works_in_pieces(x: Tensor) -> bool:
    """Whether what follows on ``x`` is eager inference on the CPU."""
    return not torch.is_grad_enabled() and is_eager(x)


def is_plain(*layers: nn.Module) -> bool:
    """Whether the weights and biases of linear layers and convolutions say all they do: no adapter in the place of one,
    no hook."""
    return all(
        type(layer) in (nn.Linear, nn.Conv2d) and not layer._forward_hooks and not layer._forward_pre_hooks
        for layer in layers)
