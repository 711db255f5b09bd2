"""The residual bottleneck around any spatial operation."""
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

__all__ = ['Bottleneck']


class Bottleneck(nn.Module):
    """1x1, a spatial operation, 1x1 and a shortcut (He et al. 2016, figure 5), each with a norm.

    ``(N, C_in, H, W)`` -> ``(N, 4 * C, ceil(H / stride), ceil(W / stride))``.

    Args:
        in_channels: C_in.
        channels: C.
        spatial: ``(N, C, H, W)`` -> ``(N, C, ceil(H / stride), ceil(W / stride))``: a convolution, an attention.
        stride: of ``spatial``.
        shortcut_bias: whether the convolution of the shortcut has a bias.
        norm_cfg: of the norms.
    """
    expansion = 4

    def __init__(self, in_channels: int, channels: int, spatial: nn.Module, stride: int, shortcut_bias: bool,
                 norm_cfg: dict):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = spatial
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = build_norm_layer(norm_cfg, out_channels)[1]
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=shortcut_bias))
            self.shortcut.append(build_norm_layer(norm_cfg, out_channels)[1])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + identity)
