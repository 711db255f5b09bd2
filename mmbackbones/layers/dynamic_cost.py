"""Which form of a dynamic convolution is fastest: an estimate from what the form computes and moves."""
import functools
from typing import Collection, Dict, List, Tuple

import torch
from torch import Tensor

from .dynamic_forms import Geometry

__all__ = ['NAMES', 'check_form', 'choose_form', 'estimate', 'possible_forms', 'work']

NAMES = ('shared', *(f'{name}{end}' for name in ('grouped', 'product', 'samples') for end in ('', '-folded')), 'shifts')

# Seconds an item of work, fitted to the table of benchmarks/dynamic_conv_layers.py: float32, one core with AVX2.
SECONDS = {
    'macs': 3.3e-11,  # multiply-accumulate operations of convolutions
    'cached': 3e-10,  # elements read or written within a block
    'moved': 1e-9,  # elements read from or written to memory
    'calls': 2e-5,  # operations started
}


def work(form: str, input_shape: Tuple[int, ...], weight_shape: Tuple[int, ...], present: Collection[str],
         geometry: Geometry, train: bool) -> Dict[str, float]:
    """What a form does: how many items of each kind in :data:`SECONDS`.

    Args:
        form: one of :data:`NAMES`.
        input_shape: ``(N, C_in, H, W)``.
        weight_shape: ``(K, C_out, C_in / groups, kH, kW)``.
        present: names of the attentions that there are.
        geometry: of the convolution.
        train: count the backward pass too.
    """
    name, _, folded = form.partition('-')
    batch, in_channels, height, width = input_shape
    count, out_channels, channels, *kernel_size = weight_shape
    taps = kernel_size[0] * kernel_size[1]
    out_height, out_width = geometry.output_size((height, width), kernel_size)
    inputs, outputs = batch * in_channels * height * width, batch * out_channels * out_height * out_width
    kernel = out_channels * channels * taps  # elements of one
    macs = outputs * channels * taps * (3 if train else 1)
    calls, moved, cached = 20., 0., 0.

    # the factors that stay on the features: read and written once, in training also scaled back and multiplied
    scaled = 0
    if ('channel' in present) and not folded and name != 'shifts':
        scaled += inputs
    if ('filter' in present) and not folded:
        scaled += outputs
    moved += scaled * (7 if train else 2)

    if name == 'shared':
        moved += (inputs + outputs) * (3 if train else 1) + kernel * (6 if train else 2)
    elif name == 'shifts':
        columns = batch * count * taps * in_channels * out_height * out_width
        macs *= count
        cached += columns * (9 if train else 2)
        moved += count * kernel * (6 if train else 2) + outputs * (3 if train else 1)
        calls += count * taps * (8 if train else 2)
    else:
        kernels = batch * kernel
        # assembled: mixed, scaled, read. In training twice, and gradients written, multiplied, summed
        mix = ('kernel' in present)
        scale = ('spatial' in present) or bool(folded) and (('channel' in present) or ('filter' in present))
        passes = 2 + 2 * mix + 2 * scale
        if train:
            passes = 2 * passes + 4 + 2 * mix + 4 * scale
        if name == 'samples':
            cached += kernels * passes + (inputs + outputs) * (4 if train else 2)
            moved += outputs + (inputs if train else 0) + count * kernel * (3 if train else 1)
            calls += batch * (6 if train else 3)
        else:
            moved += kernels * passes + (inputs + outputs) * (3 if train else 1)
    return dict(macs=macs, cached=cached, moved=moved, calls=calls)


def estimate(*args, **kwargs) -> float:
    """Seconds that a form takes; arguments of :func:`work`."""
    return sum(SECONDS[kind] * amount for kind, amount in work(*args, **kwargs).items())


def possible_forms(weight_shape: Tuple[int, ...], present: Collection[str], geometry: Geometry) -> List[str]:
    """The forms that can compute this; arguments of :func:`work`."""
    names = list(NAMES)
    if 'spatial' in present or 'kernel' in present:
        names.remove('shared')
    if tuple(weight_shape[3:]) != (1, 1) or geometry.padding != (0, 0) or geometry.groups != 1:
        names = [name for name in names if not name.startswith('product')]
    return names


def check_form(form: str, weight_shape: Tuple[int, ...], present: Collection[str], geometry: Geometry) -> None:
    """Raise a ValueError that lists the choices, where ``form`` is none of the possible ones."""
    possible = possible_forms(weight_shape, present, geometry)
    if form not in possible:
        known = 'cannot compute this convolution' if form in NAMES else 'is unknown'
        raise ValueError(f'dynamic_conv2d: form={form!r} {known}; choose from {", ".join(possible)}')


def choose_form(x: Tensor, weight: Tensor, attentions, geometry: Geometry) -> str:
    """The form that should take the least time for this input, in training where a gradient is needed.

    Measured constants exist for the CPU alone. Elsewhere, and where a graph is traced, which must not depend on sizes,
    it is the form that needs no loop: ``'shared'`` where it is possible, ``'grouped'`` otherwise.
    """
    present = attentions.present
    if x.device.type != 'cpu' or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return 'grouped' if 'spatial' in present or 'kernel' in present else 'shared'
    train = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, weight, *attentions))
    return _fastest(tuple(x.shape), tuple(weight.shape), present, geometry, train)


@functools.lru_cache(maxsize=4096)
def _fastest(input_shape, weight_shape, present, geometry, train):
    return min(
        possible_forms(weight_shape, present, geometry),
        key=lambda form: estimate(form, input_shape, weight_shape, present, geometry, train))
