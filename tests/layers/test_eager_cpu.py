"""The switch for the forms of their own that layers have in eager mode on the CPU, and which layers are plain."""
import importlib.util

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations

from mmbackbones.layers import ConvMlp, Mlp, ODConv2d, WindowAttention, _eager_cpu, set_eager_cpu

# layer, shape of its input
LAYERS = {
    'perceptron': (lambda: Mlp(6, 20), (2, 5, 3, 6)),
    'convolutional perceptron': (lambda: ConvMlp(6, 20, relu=True), (2, 5, 3, 6)),
    'window attention': (lambda: WindowAttention(6, 2, 3, shift=True), (2, 5, 4, 6)),
    'dynamic convolution': (lambda: ODConv2d(6, 6, 3, padding=1, kernel_num=2), (2, 6, 4, 5)),
}


@pytest.fixture
def off():
    set_eager_cpu(False)
    yield
    set_eager_cpu(True)


@pytest.mark.parametrize('name', LAYERS)
def test_without_them_values_and_gradients_stay_and_second_derivatives_are_possible(name, off, monkeypatch):
    monkeypatch.setattr(_eager_cpu, 'LARGE_BYTES', 0)
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]

    def outputs():
        with torch.no_grad():
            inference = layer(x)
        y = layer(x)
        return (inference, y, *torch.autograd.grad(y.square().sum(), leaves))

    plain = outputs()
    gradient, = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    set_eager_cpu(True)
    for ours, theirs in zip(outputs(), plain):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_switch_reaches_every_question_and_the_environment_sets_it(off, monkeypatch):
    x = torch.zeros(1)
    with torch.no_grad():
        assert not (_eager_cpu.is_eager(x) or _eager_cpu.is_eager(x, True) or _eager_cpu.works_in_pieces(x))
        for value, expected in (('0', False), ('1', True)):
            monkeypatch.setenv('MMBACKBONES_EAGER_CPU', value)
            spec = importlib.util.spec_from_file_location('fresh', _eager_cpu.__file__)
            fresh = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(fresh)
            assert fresh.is_eager(x) == fresh.works_in_pieces(x) == expected


class Subclass(nn.Linear):
    """An adapter."""


def with_forward(layer):
    layer.forward = lambda x: x


def frozen_away(layer):
    layer.weight.data, layer.bias = layer.weight.data.clone(), None


NOT_PLAIN = {
    'forward hook': lambda layer: layer.register_forward_hook(lambda *_: None),
    'forward pre-hook': lambda layer: layer.register_forward_pre_hook(lambda *_: None),
    'backward hook': lambda layer: layer.register_full_backward_hook(lambda *_: None),
    'backward pre-hook': lambda layer: layer.register_full_backward_pre_hook(lambda *_: None),
    'parametrization': parametrizations.weight_norm,
    'forward of its own': with_forward,
    'no bias': frozen_away,
}


@pytest.mark.parametrize('change', NOT_PLAIN)
def test_a_layer_that_does_more_than_its_weights_say_is_not_plain(change):
    layer = nn.Linear(3, 3)
    assert _eager_cpu.is_plain(layer, nn.Conv2d(3, 3, 3), nn.GELU())
    NOT_PLAIN[change](layer)
    assert not _eager_cpu.is_plain(nn.GELU(), layer)


def test_neither_are_other_classes_nor_any_layer_under_hooks_on_all_modules():
    assert not _eager_cpu.is_plain(Subclass(3, 3))
    assert not _eager_cpu.is_plain(nn.GELU('tanh'))
    assert not _eager_cpu.is_plain(nn.ReLU()) and _eager_cpu.is_plain(nn.ReLU(), kinds=(nn.ReLU, ))
    for register in (torch_module.register_module_forward_hook, torch_module.register_module_forward_pre_hook,
                     torch_module.register_module_full_backward_hook,
                     torch_module.register_module_full_backward_pre_hook):
        handle = register(lambda *_: None)
        assert not _eager_cpu.is_plain(nn.Linear(3, 3))
        handle.remove()
    assert _eager_cpu.is_plain(nn.Linear(3, 3))
