"""Time every form of dynamic convolution on a network's layers, and fit the cost model's constants to the times.

Usage: python benchmarks/dynamic_conv_layers.py odconv_r50 --shape 16,3,224,224 [--forward] [--rounds 3]

Prints a line for each kind of layer: how often the network has it, milliseconds of the static convolution, then of each
form as a ratio to it, the one that the cost model chooses with a star. Forms are timed in alternation, the fastest
round counts. The last lines are the sums over the network and the seconds an item of work whose choices take least,
which belong into ``SECONDS`` of mmbackbones/layers/dynamic_conv/cost.py. With one thread (OMP_NUM_THREADS=1) a
round's time is the thread's own, which other jobs on the machine disturb less.
"""
import argparse
import collections
import random
import time

import torch
import torch.nn.functional as F

from mmbackbones.catalogue import find_backbone
from mmbackbones.layers import Attentions, DynamicConv2d, dynamic_conv2d
from mmbackbones.layers.dynamic_conv import cost as dynamic_cost
from mmbackbones.layers.dynamic_conv.forms import Form, Geometry
from mmbackbones.registry import MODELS

# a form that takes this many times as long as the static convolution is timed once
HOPELESS = 8


def find_layers(name, shape):
    """Counter of ``(input shape, weight shape, attentions' shapes, geometry)`` of the dynamic convolutions."""
    with torch.device('meta'):
        backbone = MODELS.build(find_backbone(name).config).eval()
    layers = collections.Counter()

    def record(layer, inputs):
        attentions = layer.attention(inputs[0])
        layers[tuple(inputs[0].shape),
               tuple(layer.weight.shape),
               Attentions(*(None if factor is None else tuple(factor.shape) for factor in attentions)),
               Geometry(layer.stride, layer.padding, layer.dilation, layer.groups)] += 1

    for layer in backbone.modules():
        if isinstance(layer, DynamicConv2d):
            layer.register_forward_pre_hook(record)
    with torch.no_grad():
        backbone(torch.empty(shape, device='meta'))
    return layers


def clock():
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(step):
    start = clock()
    step()
    return clock() - start


def times_of_layer(layer, train, rounds):
    """Seconds of the static convolution and of each form: dict."""
    input_shape, weight_shape, attention_shapes, geometry = layer
    x = torch.rand(input_shape, requires_grad=train)
    weight = (torch.rand(weight_shape) - 0.5).requires_grad_(train)
    static = weight.detach()[0].clone().requires_grad_(train)
    attentions = Attentions(*(None if shape is None else torch.rand(shape, requires_grad=train)
                              for shape in attention_shapes))
    with torch.no_grad():
        gradient = torch.rand_like(F.conv2d(x, static, None, *geometry))

    def run(convolve, *leaves):
        if train:
            torch.autograd.grad(convolve(), [leaf for leaf in leaves if leaf is not None], gradient)
        else:
            with torch.no_grad():
                convolve()

    def form_step(form):
        return lambda: run(lambda: dynamic_conv2d(x, weight, attentions, None, *geometry, form=form), x, weight, *
                           attentions)

    steps = {'static': lambda: run(lambda: F.conv2d(x, static, None, *geometry), x, static)}
    present = attentions.present
    steps.update({form: form_step(form) for form in dynamic_cost.possible_forms(present, geometry)})
    timed(steps['static'])
    best = {name: timed(step) for name, step in steps.items()}
    for _ in range(rounds):
        for name, step in steps.items():
            if best[name] < HOPELESS * best['static']:
                best[name] = min(best[name], timed(step))
    works = {
        form: dynamic_cost.work(form, input_shape, weight_shape, present, geometry, train)
        for form in steps if form != 'static'
    }
    return best, dynamic_cost.choose_form(x, weight, attentions, geometry), works


def fit(rows, tries=5000):
    """Seconds an item of work, found by chance: those whose choices take the least time in sum.

    Args:
        rows: of each kind of layer its count, and by form the seconds that it took and its work.
        tries: how many are tried.
    """
    draw = random.Random(0)

    def lost(constants):
        return sum(
            count *
            seconds[min(works, key=lambda form: sum(constants[kind] * amount for kind, amount in works[form].items()))]
            for count, seconds, works in rows)

    best = dict(dynamic_cost.SECONDS)
    least = lost(best)
    for _ in range(tries):
        constants = {
            kind: value * 2**draw.gauss(0, 0.5) if kind != 'kept' and draw.random() < 0.5 else value
            for kind, value in best.items()
        }
        constants = {kind: value / constants['macs'] * best['macs'] for kind, value in constants.items()}
        sum_ = lost(constants)
        if sum_ < least:
            best, least = constants, sum_
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('backbone', nargs='+')
    parser.add_argument('--shape', default='16,3,224,224', help='N,3,H,W')
    parser.add_argument('--forward', action='store_true', help='time inference instead of a training step')
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    for backbone in args.backbone:
        print(f'{backbone} at {args.shape}, {torch.get_num_threads()} threads', flush=True)
        totals = collections.Counter()
        for layer, count in find_layers(backbone, tuple(map(int, args.shape.split(',')))).items():
            best, chosen, works = times_of_layer(layer, not args.forward, args.rounds)
            static = best.pop('static')
            rows.append((count, best, works))
            totals['static'] += count * static
            totals['chosen'] += count * best[chosen]
            totals['best'] += count * min(best.values())
            totals['grouped'] += count * best[Form('grouped')]
            (_, channels, height, width), (kernels, out_channels, _, *kernel_size), _, geometry = layer
            cells = '  '.join(f'{form}{"*" * (form == chosen)} {seconds / static:.2f}'
                              for form, seconds in best.items())
            print(
                f'{count:2} x {kernels} x {channels}->{out_channels} {kernel_size[0]}x{kernel_size[1]}'
                f'/{geometry.stride[0]} g{geometry.groups} at {height}x{width}: {static * 1e3:.2f} ms  {cells}',
                flush=True)
        print(
            'sum: ' + ', '.join(f'{name} {seconds * 1e3:.0f} ms ({seconds / totals["static"]:.2f})'
                                for name, seconds in totals.items()),
            flush=True)
    print('SECONDS = {' + ', '.join(f'{kind!r}: {seconds:.2g}' for kind, seconds in fit(rows).items()) + '}')


if __name__ == '__main__':
    main()
