r"""Ways to compute one dynamic convolution. All give the same values and gradients; they differ in time and memory.

.. math:: y_n = \Big(\sum_k \alpha_{nk} \odot f_n \odot c_n \odot s_n \odot W_k\Big) * x_n

Every function here takes ``x`` ``(N, C_in, H, W)``, ``weight`` ``(K, C_out, C_in / groups, kH, kW)``, three factors
that may be None, and the geometry of the convolution:

- ``left`` ``(N, C_out)`` multiplies the outputs of the kernels,
- ``right`` ``(N, C_in, kH or 1, kW or 1)`` their inputs and positions,
- ``kernel`` ``(N, K)`` mixes them. Without it K is 1.

They return ``(N, C_out, H', W')``. :data:`FORMS` lists them with what each can compute.
"""
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ['FORMS', 'Form', 'Geometry', 'Way', 'is_channels_last']

# The kernels, columns or gradients that exist at one time are kept at this size: they stay in the cache of the last
# level, and the allocator reuses the memory, where fresh pages would cost more than the arithmetic.
BLOCK_BYTES = 8 * 2**20
# A convolution with fewer output channels wastes its time on reading the input.
MIN_BLOCK_CHANNELS = 64


class Geometry(NamedTuple):
    """Of a convolution, as :func:`torch.nn.functional.conv2d` takes it, with pairs of ints."""
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]
    groups: int

    def output_size(self, size: Tuple[int, int], kernel_size: Tuple[int, int]) -> Tuple[int, int]:
        """``(H, W)`` -> ``(H', W')``."""
        return tuple((size[i] + 2 * self.padding[i] - self.dilation[i] * (kernel_size[i] - 1) - 1) // self.stride[i] + 1
                     for i in range(2))


def _scale(weight: Tensor, left: Optional[Tensor], right: Optional[Tensor], groups: int, inplace: bool) -> Tensor:
    """Multiply kernels ``(N or 1, C_out, C_in / groups, kH, kW)`` by the factors -> ``(N, ...)``."""
    if right is not None:
        if groups == 1:
            factor = right[:, None]
            weight = weight.mul_(factor) if inplace else weight * factor
        else:
            factor = right.unflatten(1, (groups, 1, -1))  # (N, groups, 1, C_in / groups, kH, kW)
            grouped = weight.unflatten(1, (groups, -1))  # (N or 1, groups, C_out / groups, C_in / groups, kH, kW)
            weight = (grouped.mul_(factor) if inplace else grouped * factor).flatten(1, 2)
        inplace = not torch.is_grad_enabled()  # autograd would copy what it needs before it is overwritten
    if left is not None:
        factor = left.view(*left.shape, 1, 1, 1)
        weight = weight.mul_(factor) if inplace else weight * factor
    return weight


def _mix(weight: Tensor, kernel: Optional[Tensor]) -> Tensor:
    """Kernels ``(K, ...)`` -> ``(N, ...)``, or as they are, to be broadcast, where nothing mixes them."""
    return weight if kernel is None else (kernel @ weight.flatten(1)).view(-1, *weight.shape[1:])


def shared_convolution(x: Tensor, weight: Tensor, left: None, right: None, kernel: None, geometry: Geometry) -> Tensor:
    """One ordinary convolution for all samples: there is one kernel, and what scales it scales the features."""
    return F.conv2d(x, weight[0], None, *geometry)


def grouped_convolution(x: Tensor, weight: Tensor, left: Optional[Tensor], right: Optional[Tensor],
                        kernel: Optional[Tensor], geometry: Geometry) -> Tensor:
    """Each sample's kernel is assembled, and the samples are the groups of one convolution: the authors' form."""
    batch, in_channels = x.shape[:2]
    weights = _scale(
        _mix(weight, kernel), left, right, geometry.groups, kernel is not None and not torch.is_grad_enabled())
    if batch <= 1:
        # the sum over no sample is a kernel of zeros, through which everything gets a gradient of zero
        return F.conv2d(x, weights[0] if batch else weights.sum(0), None, *geometry)
    # (N * C_out, C_in / groups, kH, kW) on (1, N * C_in, H, W)
    y = F.conv2d(
        x.reshape(1, batch * in_channels, *x.shape[2:]),
        weights.expand(batch, -1, -1, -1, -1).flatten(0, 1), None, geometry.stride, geometry.padding, geometry.dilation,
        batch * geometry.groups)
    return y.view(batch, weight.shape[1], *y.shape[2:])


class _BlockedKernels(torch.autograd.Function):
    """Saves the arguments alone; the kernels are assembled again in the backward pass, block by block in both."""

    @staticmethod
    def forward(ctx, x, weight, left, right, kernel, geometry, multiply):
        weight = weight.contiguous()
        ctx.save_for_backward(x, weight, left, right, kernel)
        ctx.geometry, ctx.multiply = geometry, multiply
        size = geometry.output_size(x.shape[2:], weight.shape[3:])
        y = torch.empty((x.shape[0], weight.shape[1], *size),
                        dtype=x.dtype,
                        device=x.device,
                        memory_format=torch.channels_last if is_channels_last(x) else torch.contiguous_format)
        for samples, channels in _blocks(x, weight, geometry.groups):
            weights = _scale(
                _mix_block(_channels(weight, channels), _take(kernel, samples)), _take(left, samples, channels),
                _take(right, samples), geometry.groups, kernel is not None)
            if multiply:
                torch.bmm(
                    weights.flatten(2).expand(samples.stop - samples.start, -1, -1),
                    x[samples].flatten(2),
                    out=y[samples, channels].flatten(2))
                continue
            for index in range(samples.start, samples.stop):
                w = weights[index - samples.start if len(weights) > 1 else 0]
                y_n = F.conv2d(x[index:index + 1], w, None, *geometry)
                if y_n.shape == y.shape:
                    return y_n
                y[index, channels] = y_n[0]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, left, right, kernel = ctx.saved_tensors
        groups = ctx.geometry.groups
        need_x, need_weight, need_left, need_right, need_kernel = ctx.needs_input_grad[:5]
        dx = torch.empty_like(x) if need_x else None
        d_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format) if need_weight else None
        d_left = torch.empty_like(left) if need_left else None
        # over all input channels and positions; summed to the shape of ``right`` at the end
        d_right = x.new_zeros(x.shape[0], groups, 1, weight[0, 0].numel()) if need_right else None
        d_kernel = torch.zeros_like(kernel) if need_kernel else None
        if ctx.multiply:
            dy = dy.contiguous()
        for samples, channels in _blocks(x, weight, groups):
            block, a = _channels(weight, channels), _take(kernel, samples)
            factors = _take(left, samples, channels), _take(right, samples)
            mixed = _mix_block(block, a)
            gradients = x.new_empty(samples.stop -
                                    samples.start, *block.shape[1:]) if any(ctx.needs_input_grad[1:5]) else None
            arguments = (dy[samples,
                            channels], x[samples], _scale(mixed, *factors, groups,
                                                          False), _take(dx, samples), gradients, channels.start == 0)
            if ctx.multiply:
                _product_backward(*arguments)
            else:
                _convolutions_backward(*arguments, ctx.geometry)
            if need_left or need_right:
                _factors_backward(gradients * mixed, *factors, _take(d_left, samples, channels),
                                  _take(d_right, samples), groups)
            if need_weight or need_kernel:
                _mix_backward(
                    _scale(gradients, *factors, groups, True), block, a,
                    None if d_weight is None else _channels(d_weight, channels), _take(d_kernel, samples))
        if need_right:
            d_right = d_right.view(x.shape[0], x.shape[1], *weight.shape[3:]).sum_to_size(right.shape)
        return dx, d_weight, d_left, d_right, d_kernel, None, None


def _factors_backward(products, left, right, d_left, d_right, groups):
    """From gradients times mixed kernels: write that of ``left``, add to ``d_right`` ``(N, groups, 1, inner)``."""
    samples, _, channels, *kernel_size = products.shape
    products = products.unflatten(1, (groups, -1)).flatten(3)  # (N, groups, C_out / groups, inner)
    if d_left is not None:
        if right is None:
            d_left.copy_(products.sum(-1).flatten(1))
        else:
            inner = right.expand(-1, groups * channels, *kernel_size).unflatten(1, (groups, -1)).flatten(2)
            d_left.copy_((products @ inner[..., None]).flatten(1))
    if d_right is not None:
        outer = products.new_ones(1).expand(samples, groups, 1, products.shape[2]) if left is None else left.view(
            samples, groups, 1, -1)
        d_right += outer @ products


def _mix_backward(gradients, weight, kernel, d_weight, d_kernel):
    """Add to the gradients of what :func:`_mix_block` mixed, where they are needed."""
    gradients = gradients.flatten(1)
    if d_kernel is not None:
        d_kernel.addmm_(gradients, _flat(weight).t())
    if d_weight is not None:
        total = _flat(d_weight)
        if kernel is None:
            total.add_(gradients.sum(0, True))
        else:
            total.addmm_(kernel.t(), gradients)


def _product_backward(dy, x, weights, dx, gradients, first):
    """Write the gradients of ``weights @ x``; ``dx`` is added to after the ``first`` block of channels."""
    dy, weights = dy.flatten(2), weights.flatten(2).expand(len(x), -1, -1)
    if dx is not None:
        dx = dx.flatten(2)
        if first:
            torch.bmm(weights.transpose(1, 2), dy, out=dx)
        else:
            dx.baddbmm_(weights.transpose(1, 2), dy)
    if gradients is not None:
        torch.bmm(dy, x.flatten(2).transpose(1, 2), out=gradients.flatten(2))


def _convolutions_backward(dy, x, weights, dx, gradients, first, geometry):
    """The same for one convolution a sample."""
    for index in range(len(x)):
        dx_n, dw_n, _ = torch.ops.aten.convolution_backward(dy[index:index + 1], x[index:index + 1],
                                                            weights[index if len(weights) > 1 else 0], None,
                                                            geometry.stride, geometry.padding, geometry.dilation, False,
                                                            (0, 0), geometry.groups,
                                                            (dx is not None, gradients is not None, False))
        if dx is not None:
            if first:
                dx[index] = dx_n[0]
            else:
                dx[index] += dx_n[0]
        if gradients is not None:
            gradients[index] = dw_n


def sample_convolutions(x: Tensor, weight: Tensor, left: Optional[Tensor], right: Optional[Tensor],
                        kernel: Optional[Tensor], geometry: Geometry) -> Tensor:
    """One ordinary convolution a sample, kernels assembled block by block, as many as the cache holds."""
    return _BlockedKernels.apply(x, weight, left, right, kernel, geometry, False)


def batched_product(x: Tensor, weight: Tensor, left: Optional[Tensor], right: Optional[Tensor],
                    kernel: Optional[Tensor], geometry: Geometry) -> Tensor:
    """One matrix product a sample, the kernel with the map, or with its shifts, scaled by ``right``. Without groups."""
    count, out_channels, channels, *kernel_size = weight.shape
    if kernel_size == [1, 1] and geometry.padding == (0, 0):
        x = x[:, :, ::geometry.stride[0], ::geometry.stride[1]].contiguous()
    else:
        x = _Columns.apply(x, _column_factor(x, weight[:1], right, None), weight.shape[3:], geometry)
        weight, right = weight.reshape(count, out_channels, -1, 1, 1), None
    return _BlockedKernels.apply(x, weight, left, right, kernel, Geometry((1, 1), (0, 0), (1, 1), 1), True)


def _channels(weight, channels):
    """``weight[:, channels]``; whole kernels as they are."""
    return weight if channels == slice(0, weight.shape[1]) else weight[:, channels]


def _mix_block(weight, kernel):
    """:func:`_mix` for a slice of the channels."""
    return weight if kernel is None else (kernel @ _flat(weight)).view(-1, *weight.shape[1:])


def _flat(weight):
    """``(K, C, ...)`` -> ``(K, C * ...)``, a view for a slice of the channels too."""
    return weight.as_strided((len(weight), weight[0].numel()), (weight.stride(0), 1))


def is_channels_last(x: Tensor) -> bool:
    """Whether a map is laid out so, and not at the same time the usual way."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _take(factor, samples, channels=None):
    if factor is None:
        return None
    return factor[samples] if channels is None else factor[samples, channels]


def _blocks(x, weight, groups):
    """Slices of samples and of output channels whose kernels fit into a block, the channels outside."""
    batch, channels = x.shape[0], weight.shape[1]
    filter_bytes = weight[0, 0].numel() * x.element_size()
    if groups > 1:
        width = channels
    else:
        width = max(BLOCK_BYTES // (max(batch, 1) * filter_bytes) // 8 * 8, MIN_BLOCK_CHANNELS)
    samples = max(BLOCK_BYTES // (min(width, channels) * filter_bytes), 1)
    for start in range(0, channels, width):
        for first in range(0, batch, samples):
            yield slice(first, min(first + samples, batch)), slice(start, min(start + width, channels))


class _Columns(torch.autograd.Function):
    """The scaled shifts of the input as channels, see :func:`_columns`."""

    @staticmethod
    def forward(ctx, x, factor, kernel_size, geometry):
        ctx.save_for_backward(x, factor)
        ctx.kernel_size, ctx.geometry = kernel_size, geometry
        return _columns(_shifts(x, kernel_size, geometry), factor)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_columns):
        x, factor = ctx.saved_tensors
        gradients = _columns_backward(d_columns, x, factor, ctx.kernel_size, ctx.geometry, ctx.needs_input_grad)
        return (*gradients, None, None)


class _ScaledShifts(torch.autograd.Function):
    """Saves the arguments alone; the columns are built again in the backward pass."""

    @staticmethod
    def forward(ctx, x, weight, factor, geometry):
        ctx.save_for_backward(x, weight, factor)
        ctx.geometry = geometry
        pointwise = _pointwise(weight)
        y = None
        for samples in _column_blocks(x, weight, geometry):
            columns = _columns(_shifts(x[samples], weight.shape[3:], geometry), factor[samples])
            y_block = F.conv2d(columns, pointwise, groups=geometry.groups)
            if len(y_block) == len(x):
                return y_block
            if y is None:
                y = y_block.new_empty((len(x), *y_block.shape[1:]))
            y[samples] = y_block
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, factor = ctx.saved_tensors
        geometry, kernel_size = ctx.geometry, weight.shape[3:]
        need_x, need_weight, need_factor = ctx.needs_input_grad[:3]
        pointwise = _pointwise(weight)
        dx = torch.empty_like(x) if need_x else None
        d_pointwise = None
        d_factor = torch.empty_like(factor, memory_format=torch.contiguous_format) if need_factor else None
        for samples in _column_blocks(x, weight, geometry):
            columns = _columns(_shifts(x[samples], kernel_size, geometry), factor[samples])
            d_columns, d_block, _ = torch.ops.aten.convolution_backward(dy[samples], columns, pointwise, None, (1, 1),
                                                                        (0, 0), (1, 1), False, (0, 0), geometry.groups,
                                                                        (need_x or need_factor, need_weight, False))
            del columns
            if need_weight:
                d_pointwise = d_block if d_pointwise is None else d_pointwise.add_(d_block)
            if need_x or need_factor:
                dx_block, d_factor_block = _columns_backward(d_columns, x[samples], factor[samples], kernel_size,
                                                             geometry, (need_x, need_factor))
                if need_x:
                    dx[samples] = dx_block
                if need_factor:
                    d_factor[samples] = d_factor_block
        d_weight = None
        if need_weight:
            count, out_channels, channels = weight.shape[:3]
            d_weight = d_pointwise.view(out_channels, channels, count, *kernel_size).permute(2, 0, 1, 3, 4)
        return dx, d_weight, d_factor, None


def scaled_shifts(x: Tensor, weight: Tensor, left: Optional[Tensor], right: Optional[Tensor], kernel: Optional[Tensor],
                  geometry: Geometry) -> Tensor:
    """No kernel is assembled: one shared 1x1 convolution of the input's shifts, scaled and set side by side.

    ``K * kH * kW`` times the input's channels; for K kernels K times the operations. ``left`` must be None.
    """
    assert left is None
    return _ScaledShifts.apply(x, weight, _column_factor(x, weight, right, kernel), geometry)


def _column_factor(x, weight, right, kernel):
    """What the shifts are multiplied with: ``(N, K, C_in, kH * kW)``."""
    count, _, _, height, width = weight.shape
    factor = x.new_ones(()) if right is None else right.flatten(2)[:, None]  # (N, 1, C_in, kH * kW or 1)
    if kernel is not None:
        factor = factor * kernel[:, :, None, None]
    return factor.expand(x.shape[0], count, x.shape[1], height * width)


def _pointwise(weight):
    """``(K, C_out, C_in / groups, kH, kW)`` -> ``(C_out, C_in / groups * K * kH * kW, 1, 1)``."""
    return weight.permute(1, 2, 0, 3, 4).reshape(weight.shape[1], -1, 1, 1)


def _shifts(x, kernel_size, geometry):
    """The input under each position of the kernel: ``kH * kW`` views ``(N, C_in, H', W')`` of the padded input."""
    (top, left), stride, dilation = geometry.padding, geometry.stride, geometry.dilation
    height, width = geometry.output_size(x.shape[2:], kernel_size)
    if top or left:
        x = F.pad(x, (left, left, top, top))
    return [
        x[:, :, i * dilation[0]:i * dilation[0] + (height - 1) * stride[0] + 1:stride[0],
          j * dilation[1]:j * dilation[1] + (width - 1) * stride[1] + 1:stride[1]] for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]


def _columns(shifts, factor):
    """Scaled shifts as channels, those of one input channel side by side: ``(N, C_in * K * kH * kW, H', W')``."""
    batch, count, channels, taps = factor.shape
    columns = shifts[0].new_empty(batch, channels, count, taps, *shifts[0].shape[2:])
    for k in range(count):
        for tap, shift in enumerate(shifts):
            torch.mul(shift, factor[:, k, :, tap, None, None], out=columns[:, :, k, tap])
    return columns.flatten(1, 3)


def _columns_backward(d_columns, x, factor, kernel_size, geometry, needs):
    """Gradients of :func:`_columns` of ``x`` by ``x`` and by the factors, where needed."""
    batch, count, channels, taps = factor.shape
    d_columns = d_columns.reshape(batch, channels, count, taps, *d_columns.shape[2:])
    dx = d_factor = None
    if needs[0]:
        (top, left), (height, width) = geometry.padding, x.shape[2:]
        padded = x.new_zeros(batch, channels, height + 2 * top, width + 2 * left)
        for tap, view in enumerate(_shifts(padded, kernel_size, geometry._replace(padding=(0, 0)))):
            for k in range(count):
                view.addcmul_(d_columns[:, :, k, tap], factor[:, k, :, tap, None, None])
        dx = padded[:, :, top:top + height, left:left + width]
    if needs[1]:
        d_factor = x.new_empty(factor.shape)
        for tap, shift in enumerate(_shifts(x, kernel_size, geometry)):
            for k in range(count):
                d_factor[:, k, :, tap] = (d_columns[:, :, k, tap] * shift).sum((2, 3))
    return dx, d_factor


def _column_blocks(x, weight, geometry):
    """Slices of samples whose columns fit into two blocks; an empty one where there is no sample."""
    height, width = geometry.output_size(x.shape[2:], weight.shape[3:])
    taps = len(weight) * weight.shape[3] * weight.shape[4]
    samples = max(2 * BLOCK_BYTES // (taps * x.shape[1] * height * width * x.element_size()), 1)
    for first in range(0, max(len(x), 1), samples):
        yield slice(first, min(first + samples, len(x)))


class Form(NamedTuple):
    """The name of a way to compute a dynamic convolution, a key of :data:`FORMS`.

    Attributes:
        name: what is done with the kernels.
        folded: channel and filter attention scale the kernels, not the features.
    """
    name: str
    folded: bool = False

    def __str__(self) -> str:
        return self.name + '-folded' * self.folded


class Way(NamedTuple):
    """How a form computes, and what it can.

    Attributes:
        function: from ``x, weight, left, right, kernel, geometry`` to the output.
        inside: the attentions that the function is given. Of the others it can have channel and filter attention, which
            scale the features.
        groups: it can have more than one group.
        own_backward: it is an autograd function of ours. These have no second derivative, and autocast does not reach
            into them.
    """
    function: Callable[..., Tensor]
    inside: Tuple[str, ...]
    groups: bool = True
    own_backward: bool = False


_ALL = ('channel', 'filter', 'spatial', 'kernel')
# Where two are equally fast the first is taken. The first that is possible needs no loop over samples or positions.
FORMS: Dict[Form, Way] = {
    Form('shared'): Way(shared_convolution, ()),
    Form('grouped'): Way(grouped_convolution, ('spatial', 'kernel')),
    Form('grouped', folded=True): Way(grouped_convolution, _ALL),
    Form('product'): Way(batched_product, ('spatial', 'kernel'), groups=False, own_backward=True),
    Form('product', folded=True): Way(batched_product, _ALL, groups=False, own_backward=True),
    Form('samples'): Way(sample_convolutions, ('spatial', 'kernel'), own_backward=True),
    Form('samples', folded=True): Way(sample_convolutions, _ALL, own_backward=True),
    Form('shifts'): Way(scaled_shifts, ('channel', 'spatial', 'kernel'), own_backward=True),
}
