"""The convolution that makes patches of a map, of any size."""
from torch import Tensor, nn

from .padding import pad_to_multiples

__all__ = ['PatchConv2d']


class PatchConv2d(nn.Conv2d):
    """One linear map of patches side by side. ``(N, C_in, H, W)`` -> ``(N, C, ceil(H / P), ceil(W / P))``.

    Patches that reach over the right or lower edge see zeros there; each has at least one pixel of the map.

    Args:
        in_channels: C_in.
        out_channels: C.
        patch_size: P.
        bias: whether there is one.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int, bias: bool = True):
        super().__init__(in_channels, out_channels, patch_size, patch_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_to_multiples(x, self.stride))
