"""Which form of a dynamic convolution to take: an estimate from what it computes, moves and keeps."""
import functools
from typing import Collection, Dict, List, NamedTuple, Tuple, Union

import torch
from torch import Tensor

from .._eager_cpu import is_eager
from .forms import FORMS, Form, Geometry, is_channels_last

__all__ = ['choose_form', 'estimate', 'find_form', 'possible_forms', 'work']

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


class Item(NamedTuple):
    """One line of a form's work.

    Attributes:
        kind: of :data:`SECONDS`; what is ``'moved'`` counts as ``'cached'`` where the tensor is small.
        what: a name of :func:`_amounts`.
        inference, training: how many times, without and with the backward pass.
    """
    kind: str
    what: str
    inference: int
    training: int


# Attentions outside the kernels: the features are read and written, in training also scaled back and multiplied.
_FEATURES = (
    Item('moved', 'channel', 2, 7),
    Item('kept', 'channel', 0, 1),
    Item('moved', 'filter', 2, 7),
    Item('kept', 'filter', 0, 1),
)
_CALLS = Item('calls', 'one', 20, 60)
# An input that is channels last is brought into the usual layout, and the output back.
_LAYOUT = Item('moved', 'channels_last', 2, 6)


def _assembly(kind: str, more: int, more_training: int) -> Tuple[Item, ...]:
    """Kernels mixed and scaled; in training twice, and gradients written, multiplied, contracted, scaled, summed."""
    return (Item('moved', 'bank', 1, 3), Item(kind, 'assembled', 1, 2), Item(kind, 'mixed', 0, 1),
            Item(kind, 'scaled', 0, 4), Item(kind, 'kernels', more, 2 + more_training))


COSTS = {
    # One convolution for all: the maps are read and written once, in training three times; a convolution brings its
    # kernel into another layout.
    'shared': (_CALLS, Item('macs', 'macs', 1, 3), Item('moved', 'maps', 1, 3), Item('moved', 'kernel', 2, 6)),
    # All kernels are assembled, then changed in layout. In training so are the groups that a batch becomes.
    'grouped': (_CALLS, _LAYOUT, Item('macs', 'macs', 1, 3), *_assembly('moved', 2, 6), Item('moved', 'maps', 1, 3),
                Item('moved', 'groups', 0, 3)),
    # Kernels are assembled in blocks and need no other layout. Our own functions do as much again around the
    # arithmetic. The shifts of a 3x3 kernel are written, read and kept: more operations and elements for each.
    'product': (_CALLS, _CALLS, _LAYOUT, Item('products', 'macs', 1, 3), *_assembly('cached', 0, 0),
                Item('moved', 'outputs', 1, 1), Item('moved', 'inputs', 0, 1), Item('calls', 'shifted taps', 2, 8),
                Item('moved', 'columns', 2, 9), Item('kept', 'columns', 0, 1)),
    # The same blocks, then a convolution for each sample, whose maps stay in the cache.
    'samples': (_CALLS, _CALLS, Item('macs', 'macs', 1, 3), *_assembly('cached', 2, 6), Item('calls', 'samples', 6, 16),
                Item('cached', 'maps', 2, 4), Item('moved', 'outputs', 1, 1), Item('moved', 'inputs', 0, 1)),
    # No kernel is assembled: K times the arithmetic on K times the shifts, made in blocks, in training twice.
    'shifts': (_CALLS, _CALLS, _LAYOUT, Item('macs', 'macs of K', 1, 3), Item('calls', 'taps of K', 2, 8),
               Item('cached', 'columns of K', 3, 14), Item('moved', 'outputs', 2, 4), Item('moved', 'bank', 2, 6)),
}  # yapf: disable


def _amounts(form, input_shape, weight_shape, present, geometry, train, channels_last):
    """What items count: name -> (elements of a tensor or operations, how many of these there are)."""
    batch, in_channels, height, width = input_shape
    count, out_channels, channels, *kernel_size = weight_shape
    taps = kernel_size[0] * kernel_size[1]
    out_height, out_width = geometry.output_size((height, width), kernel_size)
    inputs, outputs = batch * in_channels * height * width, batch * out_channels * out_height * out_width
    columns = batch * taps * in_channels * out_height * out_width
    kernel = out_channels * channels * taps
    macs = outputs * channels * taps
    inside = FORMS[form].inside
    pointwise = taps == 1 and geometry.padding == (0, 0)
    mixed = 'kernel' in present
    inner = 'spatial' in present or ('channel' in present and 'channel' in inside)
    # 'product' scales the shifts instead of larger kernels
    scaled = ('filter' in present and 'filter' in inside) + (inner and (pointwise or form.name != 'product'))
    # for one image in inference all but the first are in place, on a block in the cache, and take next to no time
    assembled = min(mixed + scaled, 1) if batch == 1 and not train else mixed + scaled
    return {
        'one': (1, 1),
        'samples': (1, batch),
        'shifted taps': (1, 0 if pointwise else taps),
        'taps of K': (1, count * taps),
        'macs': (macs, 1),
        'macs of K': (macs, count),
        'inputs': (inputs, 1),
        'outputs': (outputs, 1),
        'maps': (inputs + outputs, 1),
        'groups': (inputs + outputs, batch > 1),
        'channels_last': (inputs + outputs, channels_last),
        'channel': (inputs, 'channel' in present and 'channel' not in inside),
        'filter': (outputs, 'filter' in present and 'filter' not in inside),
        'columns': (columns, not pointwise),
        'columns of K': (columns * count, 1),
        'kernel': (kernel, 1),
        'bank': (kernel * count, 1),
        'kernels': (kernel * batch, 1),
        'assembled': (kernel * batch, assembled),
        'mixed': (kernel * batch, mixed),
        'scaled': (kernel * batch, scaled > 0),
    }


def work(form: Form,
         input_shape: Tuple[int, ...],
         weight_shape: Tuple[int, ...],
         present: Collection[str],
         geometry: Geometry,
         train: bool,
         channels_last: bool = False,
         itemsize: int = 4) -> Dict[str, float]:
    """What a form does: how many items of each kind in :data:`SECONDS`.

    Args:
        form: one of :data:`FORMS`.
        input_shape: ``(N, C_in, H, W)``.
        weight_shape: ``(K, C_out, C_in / groups, kH, kW)``.
        present: names of the attentions that there are.
        geometry: of the convolution.
        train: count the backward pass too.
        channels_last: the input's layout.
        itemsize: bytes of an element.
    """
    amounts = _amounts(form, input_shape, weight_shape, present, geometry, train, channels_last)
    counts = dict.fromkeys(SECONDS, 0.)
    for kind, what, *times in (*_FEATURES, *COSTS[form.name]):
        size, number = amounts[what]
        if kind == 'moved' and itemsize * size <= CACHE_BYTES:
            kind = 'cached'
        counts[kind] += size * number * times[train]
    return counts


def estimate(*args, itemsize: int = 4, **kwargs) -> float:
    """Seconds that a form takes, and a price for the memory that it keeps; arguments of :func:`work`.

    The constants are float32's. Of elements of half the size a register and a line of the cache hold twice as many.
    """
    return sum(SECONDS[kind] * amount * (1 if kind == 'calls' else itemsize / 4)
               for kind, amount in work(*args, itemsize=itemsize, **kwargs).items())


def possible_forms(present: Collection[str], geometry: Geometry) -> List[Form]:
    """The forms that can compute this; arguments of :func:`work`."""
    needed = {'spatial', 'kernel'}.intersection(present)
    return [form for form, way in FORMS.items() if needed.issubset(way.inside) and (way.groups or geometry.groups == 1)]


def find_form(form: Union[Form, str], present: Collection[str], geometry: Geometry) -> Form:
    """The form of this name, or the form itself.

    Raises:
        ValueError: there is no such form, or it cannot compute this. It lists those that can.
    """
    known, possible = ({str(each): each for each in forms} for forms in (FORMS, possible_forms(present, geometry)))
    name = str(form)
    if name not in possible:
        problem = 'cannot compute this convolution' if name in known else 'is unknown'
        raise ValueError(f'dynamic_conv2d: form={name!r} {problem}; choose from {", ".join(possible)}')
    return possible[name]


def choose_form(x: Tensor, weight: Tensor, attentions, geometry: Geometry) -> Form:
    """The form with the least :func:`estimate` for this input, in training where a gradient is needed.

    Measured constants exist for the CPU alone. Elsewhere, and where a graph is traced, which must not depend on sizes,
    it is the first possible one: ``'shared'`` or ``'grouped'``.
    """
    if not is_eager(x, low_precision=True):
        return possible_forms(attentions.present, geometry)[0]
    train = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, weight, *attentions))
    dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    return _fastest(x.shape, weight.shape, attentions.present, geometry, train, is_channels_last(x), dtype.itemsize)


@functools.lru_cache(maxsize=4096)
def _fastest(input_shape, weight_shape, present, geometry, train, channels_last, itemsize):
    return min(
        possible_forms(present, geometry),
        key=lambda form: estimate(
            form, input_shape, weight_shape, present, geometry, train, channels_last, itemsize=itemsize))
