"""Dynamic convolution as its authors compute it, to measure ours against.

    mmbackbones bench odconv_r50 --against benchmarks/reference.py --shape 16,3,224,224 --train
"""
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmbackbones.layers import Attentions, DynamicConv2d
from mmbackbones.layers.dynamic_conv.layers import OmniAttention


class AuthorsConv(nn.Module):
    """The release's form: a kernel for every sample, the batch as groups of one convolution (OSVAI/ODConv).

    All factors are multiplied with all kernels, and these are summed. Attention to channels and filters is on the
    features there too; a single 1x1 kernel has no other and is an ordinary convolution.

    Args:
        ours: the layer whose weights and attention it computes with.
    """

    def __init__(self, ours: DynamicConv2d):
        super().__init__()
        self.weight, self.bias, self.groups, self.out_channels = ours.weight, ours.bias, ours.groups, ours.out_channels
        self.geometry = ours.stride, ours.padding, ours.dilation
        self.attention = AuthorsAttention(ours.attention) if isinstance(ours.attention, OmniAttention) \
            else ours.attention

    def forward(self, x: Tensor) -> Tensor:
        channel, filter_, spatial, kernel = self.attention(x)
        batch, in_channels, height, width = x.shape
        if channel is not None:
            x = x * channel[:, :, None, None]
        bias = None if self.bias is None else self.bias[0]  # (C_out)
        if spatial is None and kernel is None:
            y = F.conv2d(x, self.weight[0], None, *self.geometry, self.groups)
        else:
            factor = 1 if spatial is None else spatial[:, None, None, None]  # (N, 1, 1, 1, kH, kW)
            if kernel is not None:
                factor = factor * kernel[:, :, None, None, None, None]
                bias = None if self.bias is None else kernel @ self.bias  # (N, C_out)
            weight = factor * self.weight[None]  # (N, K, C_out, C_in / groups, kH, kW)
            y = F.conv2d(
                x.reshape(1, batch * in_channels, height, width),
                weight.sum(1).flatten(0, 1), None, *self.geometry, batch * self.groups)
            y = y.view(batch, self.out_channels, *y.shape[2:])
        if filter_ is not None:
            y = y * filter_[:, :, None, None]
        return y if bias is None else y + bias[..., None, None]


class AuthorsAttention(nn.Module):
    """The release's attention: convolutions and a batch norm on maps of one pixel.

    Args:
        ours: the attention whose layers it computes with.
    """

    def __init__(self, ours: OmniAttention):
        super().__init__()
        self.kernel_size = ours.kernel_size
        self.fc, self.bn = ours.fc, ours.bn
        self.channel_fc, self.filter_fc = ours.channel_fc, ours.filter_fc
        self.spatial_fc, self.kernel_fc = ours.spatial_fc, ours.kernel_fc
        self.register_buffer('temperature', ours.temperature)

    def forward(self, x: Tensor) -> Attentions:
        hidden = self.bn(self.fc(F.adaptive_avg_pool2d(x, 1))).relu()  # (N, hidden, 1, 1)
        logits = [
            None if fc is None else fc(hidden).flatten(1) / self.temperature
            for fc in (self.channel_fc, self.filter_fc, self.spatial_fc, self.kernel_fc)
        ]
        channel, filter_, spatial = (None if each is None else each.sigmoid() for each in logits[:3])
        return Attentions(channel, filter_, None if spatial is None else spatial.view(-1, *self.kernel_size),
                          None if logits[3] is None else logits[3].softmax(1))


def build(config: dict, with_cp: bool) -> nn.Module:
    """the authors' form"""
    backbone = MODELS.build({**config, 'with_cp': with_cp})
    for name, module in list(backbone.named_modules()):
        if isinstance(module, DynamicConv2d):
            parent, _, child = name.rpartition('.')
            setattr(backbone.get_submodule(parent), child, AuthorsConv(module))
    return backbone
