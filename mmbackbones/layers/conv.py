"""The ordinary convolution of the CNN families."""
from torch import nn

__all__ = ['static_conv']


def static_conv(in_channels: int,
                out_channels: int,
                kernel_size: int,
                stride: int = 1,
                padding: int = 0,
                groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, initialised as He et al. (2015) for a ReLU behind it, over the outputs."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
    return conv
