"""Which form of a dynamic convolution to take: an estimate from what it computes, moves and keeps."""
import functools
from typing import Collection, Dict, List, Tuple

import torch
from torch import Tensor

from .forms import Geometry, is_channels_last

__all__ = ['NAMES', 'check_form', 'choose_form', 'estimate', 'possible_forms', 'work']

NAMES = ('shared', *(f'{name}{end}' for name in ('grouped', 'product', 'samples') for end in ('', '-folded')), 'shifts')

# Tensors of at most this size stay in the cache of the last level from one operation to the next.
CACHE_BYTES = 16 * 2**20

# Seconds an item of work, those whose choices lose least on the layers of ODConv-ResNet50 and ODConv-MobileNetV2 with
# one and four kernels, at 1 x 224 x 224 in inference and at 2 x 384 x 640 and 16 x 224 x 224 in training, by
# benchmarks/dynamic_conv_layers.py: float32, two cores with AVX2. Only their ratios count.
SECONDS = {
    'macs': 1.9e-11,  # multiply-accumulate operations of convolutions
    'products': 2.1e-11,  # and of matrix products
    'cached': 6.6e-10,  # elements read or written in a block or a tensor that stays in the cache
    'moved': 7.5e-10,  # in larger tensors
    'calls': 3e-05,  # operations started
    # Elements of maps that are kept for the backward pass beside those that a static convolution keeps: no time, but
    # memory, at a price at which one kernel takes a tenth more of it than the static network.
    'kept': 3.2e-09,
}


def work(form: str,
         input_shape: Tuple[int, ...],
         weight_shape: Tuple[int, ...],
         present: Collection[str],
         geometry: Geometry,
         train: bool,
         channels_last: bool = False,
         itemsize: int = 4) -> Dict[str, float]:
    """What a form does: how many items of each kind in :data:`SECONDS`.

    Args:
        form: one of :data:`NAMES`.
        input_shape: ``(N, C_in, H, W)``.
        weight_shape: ``(K, C_out, C_in / groups, kH, kW)``.
        present: names of the attentions that there are.
        geometry: of the convolution.
        train: count the backward pass too.
        channels_last: the input's layout, which ``'shared'`` and ``'samples'`` keep and the others change.
        itemsize: bytes of an element.
    """
    name, _, folded = form.partition('-')
    batch, in_channels, height, width = input_shape
    count, out_channels, channels, *kernel_size = weight_shape
    taps = kernel_size[0] * kernel_size[1]
    out_height, out_width = geometry.output_size((height, width), kernel_size)
    inputs, outputs = batch * in_channels * height * width, batch * out_channels * out_height * out_width
    columns = batch * taps * in_channels * out_height * out_width
    kernel = out_channels * channels * taps  # elements of one
    kernels = batch * kernel
    macs = outputs * channels * taps * (3 if train else 1)
    counts = dict.fromkeys(SECONDS, 0.)
    own_function = name in ('product', 'samples', 'shifts')  # does as much again around the arithmetic
    counts['calls'] = (60 if train else 20) * (1 + own_function)

    def touch(elements, passes, blocked=False):
        counts['cached' if blocked or itemsize * elements <= CACHE_BYTES else 'moved'] += elements * passes

    # the factors that stay on the features: read and written once, in training also scaled back and multiplied
    if 'channel' in present and not folded and name != 'shifts':
        touch(inputs, 7 if train else 2)
        counts['kept'] += inputs if train else 0
    if 'filter' in present and not folded:
        touch(outputs, 7 if train else 2)
        counts['kept'] += outputs if train else 0

    if channels_last and name not in ('shared', 'samples'):
        touch(inputs + outputs, 6 if train else 2)

    if name == 'shared':
        counts['macs'] = macs
        touch(inputs + outputs, 3 if train else 1)
        touch(kernel, 6 if train else 2)
        return counts
    if name == 'shifts':
        counts['macs'] = macs * count
        counts['calls'] += count * taps * (8 if train else 2)
        touch(columns * count, 14 if train else 3, blocked=True)
        touch(outputs, 4 if train else 2)
        touch(kernel * count, 6 if train else 2)
        return counts

    mixed = 'kernel' in present
    # 'product' scales the shifts instead of larger kernels
    pointwise = taps == 1 and geometry.padding == (0, 0)
    inner = ('channel' in present and folded) or 'spatial' in present
    scaled = (bool(folded) and 'filter' in present) + (inner and (pointwise or name != 'product'))
    # assembled: mixed, scaled; in training twice, and gradients written, multiplied, contracted, scaled, summed. For
    # one image in inference all but the first are in place, on a block in the cache, and take next to no time
    passes = mixed + scaled
    if train:
        passes = 2 * passes + 2 + mixed + 4 * bool(scaled)
    elif batch == 1:
        passes = min(passes, 1)
    touch(kernel * count, 3 if train else 1)
    if name == 'product':
        counts['products'] = macs
        touch(kernels, passes, blocked=True)
        touch(outputs, 1)
        touch(inputs, 1 if train else 0)
        if not pointwise:
            counts['calls'] += taps * (8 if train else 2)
            touch(columns, 9 if train else 2)
            counts['kept'] += columns if train else 0
        return counts
    counts['macs'] = macs
    passes += 6 if train else 2  # a convolution brings its kernels into another layout
    if name == 'samples':
        counts['calls'] += batch * (16 if train else 6)
        touch(kernels, passes, blocked=True)
        touch(inputs + outputs, 4 if train else 2, blocked=True)
        touch(outputs, 1)
        touch(inputs, 1 if train else 0)
    else:
        touch(kernels, passes)
        # in training the groups that a batch becomes cost changes of the layout
        touch(inputs + outputs, (6 if batch > 1 else 3) if train else 1)
    return counts


def estimate(*args, itemsize: int = 4, **kwargs) -> float:
    """Seconds that a form takes, and a price for the memory that it keeps; arguments of :func:`work`.

    The constants are float32's. Of elements of half the size a register and a line of the cache hold twice as many.
    """
    return sum(SECONDS[kind] * amount * (1 if kind == 'calls' else itemsize / 4)
               for kind, amount in work(*args, itemsize=itemsize, **kwargs).items())


def possible_forms(weight_shape: Tuple[int, ...], present: Collection[str], geometry: Geometry) -> List[str]:
    """The forms that can compute this; arguments of :func:`work`."""
    names = list(NAMES)
    if 'spatial' in present or 'kernel' in present:
        names.remove('shared')
    if geometry.groups != 1:
        names = [name for name in names if not name.startswith('product')]
    return names


def check_form(form: str, weight_shape: Tuple[int, ...], present: Collection[str], geometry: Geometry) -> None:
    """Raise a ValueError that lists the choices, where ``form`` is none of the possible ones."""
    possible = possible_forms(weight_shape, present, geometry)
    if form not in possible:
        known = 'cannot compute this convolution' if form in NAMES else 'is unknown'
        raise ValueError(f'dynamic_conv2d: form={form!r} {known}; choose from {", ".join(possible)}')


def choose_form(x: Tensor, weight: Tensor, attentions, geometry: Geometry) -> str:
    """The form with the least :func:`estimate` for this input, in training where a gradient is needed.

    Measured constants exist for the CPU alone. Elsewhere, and where a graph is traced, which must not depend on sizes,
    it is the form that needs no loop: ``'shared'`` where it is possible, ``'grouped'`` otherwise.
    """
    if x.device.type != 'cpu' or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return 'shared' if attentions.spatial is None and attentions.kernel is None else 'grouped'
    train = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, weight, *attentions))
    dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    return _fastest(x.shape, weight.shape, attentions.present, geometry, train, is_channels_last(x), dtype.itemsize)


@functools.lru_cache(maxsize=4096)
def _fastest(input_shape, weight_shape, present, geometry, train, channels_last, itemsize):
    return min(
        possible_forms(weight_shape, present, geometry),
        key=lambda form: estimate(
            form, input_shape, weight_shape, present, geometry, train, channels_last, itemsize=itemsize))
