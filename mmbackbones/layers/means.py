"""Mean over a map, the first step of every attention that looks at the whole image, and layers that take such means.

These layers are called with means ``(N, C)`` as with maps: several times faster than with maps of one position.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS

__all__ = ['MeanBatchNorm2d', 'MeanConv2d', 'mean_of_map', 'on_means']


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


class MeanConv2d(nn.Conv2d):
    """A 1x1 convolution, on means the linear layer that it then is.

    Args:
        in_channels, out_channels, bias: as in ``torch.nn.Conv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C_out, H, W)``, or ``(N, C_in)`` -> ``(N, C_out)``."""
        return F.linear(x, self.weight.flatten(1), self.bias) if x.dim() == 2 else super().forward(x)


@MODELS.register_module()
class MeanBatchNorm2d(nn.BatchNorm2d):
    """A batch norm of maps ``(N, C, H, W)`` or means ``(N, C)``."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() != 2:
            super()._check_input_dim(x)


def on_means(layer: nn.Module, x: Tensor) -> Tensor:
    """Call a layer on means ``(N, C)``. Any but the two above, such as an adapter around one, gets and gives maps."""
    if isinstance(layer, (MeanConv2d, MeanBatchNorm2d)):
        return layer(x)
    return layer(x.view(*x.shape, 1, 1)).flatten(1)
