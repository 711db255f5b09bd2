"""Mean over a map, the first step of every attention that looks at the whole image."""
import torch
from torch import Tensor

__all__ = ['mean_of_map']


class _MapMean(torch.autograd.Function):
    """The gradient is one number a channel; torch's own writes it out over the map before adding it."""

    @staticmethod
    def forward(ctx, x):
        ctx.size = x.shape
        return x.mean((2, 3))

    @staticmethod
    def backward(ctx, gradient):
        height, width = ctx.size[2:]
        return (gradient / (height * width))[:, :, None, None].expand(ctx.size)


def mean_of_map(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, C)``."""
    # without a gradient there is nothing to save, and a compiler writes nothing out either
    if not (x.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
        return x.mean((2, 3))
    return _MapMean.apply(x)
