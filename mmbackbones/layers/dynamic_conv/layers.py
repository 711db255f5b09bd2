"""Dynamic convolution: the kernel is mixed and scaled per sample by attention over the input.

ODConv: "Omni-Dimensional Dynamic Convolution", Li, Zhou and Yao, ICLR 2022 (OSVAI/ODConv at 0901cc1, Apache-2.0).
DyConv: "Dynamic Convolution: Attention over Convolution Kernels", Chen et al., CVPR 2020.
CondConv: "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", Yang et al., NeurIPS 2019.

All three are one operation, :func:`dynamic_conv2d`; they differ in which attentions there are and how these are made.
Different from the release: groups, dilation and even or oblong kernels work, a bias is possible, and the temperature is
a buffer, so that a checkpoint taken while it is annealed computes the same function when it is loaded again.
"""
from typing import Dict, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmengine.utils import to_2tuple
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...registry import MODELS
from ..means import MeanConv2d, mean_of_map, on_means
from .cost import choose_form, find_form
from .forms import FORMS, Form, Geometry

__all__ = ['Attentions', 'CondConv2d', 'DyConv2d', 'DynamicConv2d', 'ODConv2d', 'add_temperatures', 'dynamic_conv2d']


class Attentions(NamedTuple):
    """What a dynamic convolution multiplies its kernels with; None stands for a factor of one.

    Attributes:
        channel: ``(N, C_in)``, one factor an input channel.
        filter: ``(N, C_out)``, one factor an output filter.
        spatial: ``(N, kH, kW)``, one factor a position of the kernel.
        kernel: ``(N, K)``, the weights that mix the K kernels.
    """
    channel: Optional[Tensor] = None
    filter: Optional[Tensor] = None
    spatial: Optional[Tensor] = None
    kernel: Optional[Tensor] = None

    @property
    def present(self) -> Tuple[str, ...]:
        """Names of those that are not None."""
        return tuple(name for name, factor in zip(self._fields, self) if factor is not None)


def dynamic_conv2d(x: Tensor,
                   weight: Tensor,
                   attentions: Attentions,
                   bias: Optional[Tensor] = None,
                   stride: Union[int, Tuple[int, int]] = 1,
                   padding: Union[int, Tuple[int, int]] = 0,
                   dilation: Union[int, Tuple[int, int]] = 1,
                   groups: int = 1,
                   form: Union[Form, str, None] = None) -> Tensor:
    r"""Convolve every sample with its own mixture of kernels (ODConv, equation 2).

    .. math:: y = \Big(\sum_i \alpha_{wi} \odot \alpha_{f} \odot \alpha_{c} \odot \alpha_{s} \odot W_i\Big) * x

    The same result can be computed in several forms (:data:`FORMS`). Which one is fastest depends on the layer and on
    the machine:

    - ``'shared'``: all samples share one ordinary convolution, between scaled inputs and scaled outputs. Only without
      spatial and kernel attention.
    - ``'grouped'``: each sample's kernel is assembled, and the batch becomes the groups of one convolution.
    - ``'samples'``: each sample's kernel is assembled and convolves alone.
    - ``'product'``: each sample's kernel is assembled and multiplied with the map, or with its shifted copies, which
      are scaled by spatial and channel attention. Not with groups.
    - ``'shifts'``: no kernel is assembled; the shifted inputs, scaled by the attentions, pass one shared 1x1
      convolution.

    Channel and filter attention scale the features, which is equal by linearity, or, with ``'-folded'`` after the name
    of one of the three that assemble kernels, the kernels. ``'shifts'`` has the channel attention in the shifts.
    Second derivatives have ``'shared'`` and ``'grouped'`` alone.

    Args:
        x: ``(N, C_in, H, W)``.
        weight: ``(K, C_out, C_in / groups, kH, kW)``.
        attentions: the factors; without a kernel attention K must be 1.
        bias: ``(K, C_out)``, mixed by the kernel attention like the kernels. Defaults to None.
        stride, padding, dilation, groups: as in :func:`torch.nn.functional.conv2d`.
        form: such as ``Form('samples', folded=True)``, or its name ``'samples-folded'``. Defaults to None:
            :func:`choose_form` estimates which one is fastest.

    Returns:
        Tensor: ``(N, C_out, H', W')``.

    Raises:
        ValueError: an unknown form, or one that cannot compute this.
    """
    geometry = Geometry(to_2tuple(stride), to_2tuple(padding), to_2tuple(dilation), groups)
    return _convolve(x, weight, attentions, bias, geometry, form)


def _convolve(x, weight, attentions, bias, geometry, form):
    """:func:`dynamic_conv2d` of a layer, which has its geometry at hand."""
    if form is None:
        form = choose_form(x, weight, attentions, geometry)
    else:
        form = find_form(form, attentions.present, geometry)
    channel, filter_, spatial, kernel = attentions
    way, right = FORMS[form], None
    if channel is not None:
        if 'channel' in way.inside:
            right = _over_map(channel)
        else:
            x = x * _over_map(channel)
    if spatial is not None:
        spatial = spatial[:, None]
        # with a number for each input channel the product with a kernel is four times as fast as with nine in all
        right = spatial.expand(-1, x.shape[1], -1, -1).contiguous() if right is None else right * spatial
    left = filter_ if 'filter' in way.inside else None
    if way.own_backward and torch.is_autocast_enabled(x.device.type):
        # it does not reach into the backward pass of our own autograd functions
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, left, right, kernel = (None if tensor is None else tensor.to(dtype)
                                          for tensor in (x, weight, left, right, kernel))
    y = way.function(x, weight, left, right, kernel, geometry)
    if filter_ is not None and left is None:
        factor = _over_map(filter_)
        # nothing else holds y, and filling a new tensor of its size takes longer than the products
        y = y * factor if torch.is_grad_enabled() else y.mul_(factor)
    if bias is not None:
        y = y + _over_map(bias if kernel is None else kernel @ bias)  # of (1 or N, C_out)
    return y


def _over_map(factor: Tensor) -> Tensor:
    """``(N, C)`` -> ``(N, C, 1, 1)``."""
    return factor.view(*factor.shape, 1, 1)


class DynamicConv2d(BaseModule):
    """What the three dynamic convolutions share: K kernels, the signature of a convolution layer, the mixing.

    A subclass sets ``self.attention``, a module from ``(N, C_in, H, W)`` to :class:`Attentions`. The attribute
    ``form``, of a layer or of the class, forces a form of :func:`dynamic_conv2d`; with None each call chooses.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in ``torch.nn.Conv2d``.
        kernel_num: K, the number of kernels.

    Raises:
        ValueError: for ``kernel_num < 1`` or channels that ``groups`` does not divide.
    """
    # read by mmcv's ConvModule from whatever convolution it holds
    transposed = False
    output_padding = (0, 0)
    form: Union[Form, str, None] = None

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Union[int, Tuple[int, int]],
                 stride: Union[int, Tuple[int, int]] = 1,
                 padding: Union[int, Tuple[int, int]] = 0,
                 dilation: Union[int, Tuple[int, int]] = 1,
                 groups: int = 1,
                 bias: bool = False,
                 *,
                 kernel_num: int):
        super().__init__()
        if kernel_num < 1:
            raise ValueError(f'{type(self).__name__}: kernel_num={kernel_num}, but at least one kernel is needed')
        if in_channels % groups or out_channels % groups:
            raise ValueError(f'{type(self).__name__}: groups={groups} must divide in_channels={in_channels} '
                             f'and out_channels={out_channels}')
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = to_2tuple(kernel_size)
        self.stride = to_2tuple(stride)
        self.padding = to_2tuple(padding)
        self.dilation = to_2tuple(dilation)
        self.groups = groups
        self.kernel_num = kernel_num
        self.weight = nn.Parameter(torch.empty(kernel_num, out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(kernel_num, out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for kernel in self.weight:
            nn.init.kaiming_normal_(kernel, mode='fan_out', nonlinearity='relu')
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def init_weights(self) -> None:
        """Initialise anew as the papers' code does. mmcv's ConvModule leaves a layer that has this method alone."""
        self.reset_parameters()
        self.attention.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C_out, H', W')``."""
        geometry = Geometry(self.stride, self.padding, self.dilation, self.groups)
        return _convolve(x, self.weight, self.attention(x), self.bias, geometry, self.form)

    def elementwise_macs(self, x: Tensor, y: Tensor) -> int:
        """Multiplications by the attentions, of one sample, that torch's counter of products does not see.

        The rule: each attention multiplies once what it is defined on. Kernel and spatial attention meet each of the
        K kernels (``K * C_out * C_in / groups * kH * kW`` each; the former is a matrix product and counted as such),
        channel attention the input map (``C_in * H * W``), filter attention the output map (``C_out * H' * W'``).
        Sums, pooling and activations are not counted.

        Args:
            x: input ``(N, C_in, H, W)``.
            y: output ``(N, C_out, H', W')``.
        """
        present = self.attention.present
        count = self.weight.numel() if 'spatial' in present else 0
        count += x[0].numel() if 'channel' in present else 0
        count += y[0].numel() if 'filter' in present else 0
        return count

    def extra_repr(self) -> str:
        return (f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, '
                f'padding={self.padding}, dilation={self.dilation}, groups={self.groups}, '
                f'bias={self.bias is not None}, kernel_num={self.kernel_num}')


def _reset(attention: nn.Module) -> None:
    """As in the paper's code: Kaiming normal over the outputs for 1x1 layers, zero biases, identity norms. And a
    temperature of 1."""
    for layer in attention.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif layer is not attention and hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
    attention.temperature.fill_(1)


def _normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """A norm on means ``(N, C)``, where the last batch of an epoch may hold one image.

    A single value has no variance: a batch norm, unless it looks at other processes too, then uses the running
    statistics and leaves them alone.
    """
    alone = norm.training and x.shape[0] == 1 and isinstance(norm, _BatchNorm)
    if not alone or (isinstance(norm, nn.SyncBatchNorm) and get_world_size(norm.process_group) > 1):
        return on_means(norm, x)
    norm.training = False  # eval() would walk through children that it does not have
    try:
        return on_means(norm, x)
    finally:
        norm.training = True


class OmniAttention(nn.Module):
    """The four attentions of ODConv (section 3.2): pooling, 1x1 reduction with norm and ReLU, one 1x1 head each.

    A training batch of one image uses the running statistics of a batch norm and leaves them alone.

    Args:
        in_channels, out_channels, groups: of the convolution. A depth-wise one has no filter attention.
        kernel_size: a 1x1 kernel has no spatial attention.
        kernel_num: a single kernel has no kernel attention.
        reduction: hidden channels are ``max(in_channels * reduction, 16)``.
        norm_cfg: of the norm. A group norm has one group here, whatever ``num_groups`` says for maps: in a mean, a
            group of two channels has two values, and one of a single channel none but zero.
    """
    min_channels = 16

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Tuple[int, int],
                 groups: int,
                 kernel_num: int,
                 reduction: float,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        hidden = max(int(in_channels * reduction), self.min_channels)
        depthwise = in_channels == groups == out_channels
        self.kernel_size = kernel_size
        self.fc = MeanConv2d(in_channels, hidden, bias=False)
        if norm_cfg['type'] in ('BN', 'BN2d'):
            norm_cfg = dict(norm_cfg, type='mmbackbones.MeanBatchNorm2d')
        elif norm_cfg['type'] == 'GN':
            norm_cfg = dict(norm_cfg, num_groups=1)
        self.bn = build_norm_layer(norm_cfg, hidden)[1]
        self.channel_fc = MeanConv2d(hidden, in_channels)
        self.filter_fc = None if depthwise else MeanConv2d(hidden, out_channels)
        self.spatial_fc = None if kernel_size == (1, 1) else MeanConv2d(hidden, kernel_size[0] * kernel_size[1])
        self.kernel_fc = None if kernel_num == 1 else MeanConv2d(hidden, kernel_num)
        self.register_buffer('temperature', torch.ones(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self)

    @property
    def present(self) -> Tuple[str, ...]:
        return tuple(name for name in Attentions._fields if getattr(self, f'{name}_fc') is not None)

    def forward(self, x: Tensor) -> Attentions:
        """``(N, C_in, H, W)`` -> :class:`Attentions`."""
        hidden = F.relu(_normalize(self.bn, on_means(self.fc, mean_of_map(x))))  # (N, hidden)

        def head(fc):
            # a new tensor: what a layer gave belongs to its hooks too. What follows is in place, for on so few values
            # it is the number of tensors that takes the time
            return None if fc is None else on_means(fc, hidden) / self.temperature

        channel, filter_, spatial, kernel = map(head,
                                                (self.channel_fc, self.filter_fc, self.spatial_fc, self.kernel_fc))
        return Attentions(
            channel=channel.sigmoid_(),
            filter=None if filter_ is None else filter_.sigmoid_(),
            spatial=None if spatial is None else spatial.sigmoid_().view(x.shape[0], *self.kernel_size),
            kernel=None if kernel is None else kernel.softmax(1))


@MODELS.register_module()
class ODConv2d(DynamicConv2d):
    """Omni-dimensional dynamic convolution, usable as ``conv_cfg=dict(type='mmbackbones.ODConv2d', kernel_num=4)``.

    Args:
        in_channels, out_channels, kernel_size, *args, **kwargs: as in ``torch.nn.Conv2d``; ``bias`` defaults to False.
        kernel_num: number of kernels. Defaults to 1.
        reduction: of the attention's hidden channels, which are at least 16. Defaults to 1/16.
        norm_cfg: of the attention's norm, see :class:`OmniAttention`. Defaults to a batch norm.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Union[int, Tuple[int, int]],
                 *args,
                 kernel_num: int = 1,
                 reduction: float = 1 / 16,
                 norm_cfg: dict = dict(type='BN'),
                 **kwargs):
        super().__init__(in_channels, out_channels, kernel_size, *args, kernel_num=kernel_num, **kwargs)
        self.attention = OmniAttention(in_channels, out_channels, self.kernel_size, self.groups, kernel_num, reduction,
                                       norm_cfg)


class KernelAttention(nn.Module):
    """DyConv's attention over kernels: pooling, a two-layer perceptron, softmax with temperature (section 3.2).

    Args:
        in_channels: of the convolution.
        kernel_num: number of kernels.
        reduction: hidden channels are ``in_channels * reduction``, at least one.
    """
    present = ('kernel', )

    def __init__(self, in_channels: int, kernel_num: int, reduction: float):
        super().__init__()
        hidden = max(int(in_channels * reduction), 1)
        self.fc1 = MeanConv2d(in_channels, hidden, bias=False)
        self.fc2 = MeanConv2d(hidden, kernel_num)
        self.register_buffer('temperature', torch.ones(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self)

    def forward(self, x: Tensor) -> Attentions:
        """``(N, C_in, H, W)`` -> :class:`Attentions` with the kernel's alone."""
        logits = on_means(self.fc2, F.relu(on_means(self.fc1, mean_of_map(x))))
        return Attentions(kernel=(logits / self.temperature).softmax(1))


@MODELS.register_module()
class DyConv2d(DynamicConv2d):
    """Dynamic convolution of Chen et al.: K kernels mixed by a softmax over the input's mean.

    Args:
        in_channels, out_channels, kernel_size, *args, **kwargs: as in ``torch.nn.Conv2d``; ``bias`` defaults to False.
        kernel_num: number of kernels. Defaults to 4.
        reduction: of the attention's hidden channels. Defaults to 1/4.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Union[int, Tuple[int, int]],
                 *args,
                 kernel_num: int = 4,
                 reduction: float = 1 / 4,
                 **kwargs):
        super().__init__(in_channels, out_channels, kernel_size, *args, kernel_num=kernel_num, **kwargs)
        self.attention = KernelAttention(in_channels, kernel_num, reduction)


class ExpertRouting(nn.Module):
    """CondConv's routing: pooling, one linear layer, sigmoid (section 3).

    Args:
        in_channels: of the convolution.
        kernel_num: number of experts.
    """
    present = ('kernel', )

    def __init__(self, in_channels: int, kernel_num: int):
        super().__init__()
        self.fc = nn.Linear(in_channels, kernel_num)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.fc.reset_parameters()

    def forward(self, x: Tensor) -> Attentions:
        """``(N, C_in, H, W)`` -> :class:`Attentions` with the kernel's alone."""
        return Attentions(kernel=self.fc(mean_of_map(x)).sigmoid())


@MODELS.register_module()
class CondConv2d(DynamicConv2d):
    """Conditionally parameterised convolution: K experts mixed by sigmoid routing weights.

    Args:
        in_channels, out_channels, kernel_size, *args, **kwargs: as in ``torch.nn.Conv2d``; ``bias`` defaults to False.
        kernel_num: number of experts. Defaults to 8.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Union[int, Tuple[int, int]],
                 *args,
                 kernel_num: int = 8,
                 **kwargs):
        super().__init__(in_channels, out_channels, kernel_size, *args, kernel_num=kernel_num, **kwargs)
        self.attention = ExpertRouting(in_channels, kernel_num)


def add_temperatures(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Give the attentions in the ODConv release's weights the temperature that they were trained to, which is 1.

    The release keeps it outside its checkpoints.
    """
    end = '.attention.channel_fc.weight'
    temperatures = {
        key.replace(end, '.attention.temperature'): torch.ones(())
        for key in state_dict if key.endswith(end)
    }
    return {**temperatures, **state_dict}
