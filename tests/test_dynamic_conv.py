"""Dynamic convolution: against the slow reference, and as a layer of other people's modules."""
import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS, DefaultScope
from reference.dynamic_conv import dynamic_conv2d as reference

from mmbackbones.layers import Attentions, CondConv2d, DyConv2d, ODConv2d, dynamic_conv2d

# in, out, kernel, stride, padding, dilation, groups, kernel_num
SHAPES = {
    'pointwise': (6, 8, (1, 1), 1, 0, 1, 1, 1),
    'pointwise, strided, 4 kernels': (6, 8, (1, 1), 2, 0, 1, 1, 4),
    '3x3': (4, 6, (3, 3), 1, 1, 1, 1, 1),
    '3x3, strided, 2 kernels': (4, 6, (3, 3), 2, 1, 1, 1, 2),
    'even kernel': (4, 4, (2, 2), 1, 1, 1, 1, 2),
    'oblong kernel': (4, 4, (1, 5), 1, (0, 2), 1, 1, 2),
    'dilated': (4, 6, (3, 3), 1, 2, 2, 1, 1),
    'grouped': (8, 12, (3, 3), 1, 1, 1, 4, 2),
    'depth-wise': (6, 6, (3, 3), 2, 1, 1, 6, 4),
}
LAYERS = {'ODConv2d': ODConv2d, 'CondConv2d': CondConv2d, 'DyConv2d': DyConv2d}


def draw(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('case', SHAPES)
@pytest.mark.parametrize('present', ['all', 'channel', 'filter', 'spatial', 'kernel', 'none'])
def test_values_and_gradients_are_those_of_the_formula(case, present):
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, kernel_num = SHAPES[case]
    if present != 'all' and present != 'kernel':
        kernel_num = 1  # several kernels need an attention to mix them
    generator = torch.Generator().manual_seed(0)
    shapes = dict(channel=(2, in_channels), filter=(2, out_channels), spatial=(2, *kernel_size), kernel=(2, kernel_num))
    attentions = Attentions(**{
        name: draw(shape, generator) if present in ('all', name) else None
        for name, shape in shapes.items()
    })
    x = draw((2, in_channels, 7, 9), generator)
    weight = draw((kernel_num, out_channels, in_channels // groups, *kernel_size), generator)
    bias = draw((kernel_num, out_channels), generator)
    leaves = [x, weight, bias, *(factor for factor in attentions if factor is not None)]

    results = []
    for function in (dynamic_conv2d, reference):
        y = function(x, weight, attentions, bias, stride, padding, dilation, groups)
        gradients = torch.autograd.grad(y.square().sum(), leaves)
        results.append((y, *gradients))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    attentions = [draw(shape, generator) for shape in ((2, 4), (2, 2), (2, 3, 3), (2, 2))]
    x, weight = draw((2, 4, 4, 4), generator), draw((2, 2, 2, 3, 3), generator)
    assert torch.autograd.gradcheck(
        lambda x, weight, *factors: dynamic_conv2d(x, weight, Attentions(*factors), None, 1, 1, 1, 2),
        (x, weight, *attentions))


@pytest.mark.parametrize('case', SHAPES)
def test_odconv_has_the_attentions_that_the_paper_gives_it(case):
    in_channels, out_channels, kernel_size, _, _, _, groups, kernel_num = SHAPES[case]
    layer = ODConv2d(in_channels, out_channels, kernel_size, groups=groups, kernel_num=kernel_num)
    expected = {'channel'}
    expected |= {'filter'} if not in_channels == out_channels == groups else set()
    expected |= {'spatial'} if kernel_size != (1, 1) else set()
    expected |= {'kernel'} if kernel_num > 1 else set()
    attentions = layer.attention(torch.rand(3, in_channels, 8, 8))
    assert {name for name in Attentions._fields if getattr(attentions, name) is not None} == expected
    assert set(layer.attention.present) == expected
    assert layer.attention.fc.out_channels == max(int(in_channels / 16), 16)
    if kernel_num > 1:
        torch.testing.assert_close(attentions.kernel.sum(1), torch.ones(3))


@pytest.mark.parametrize('kind', LAYERS)
def test_a_high_temperature_makes_the_attention_uniform(kind):
    layer = LAYERS[kind](16, 16, 3, kernel_num=4)
    if kind == 'CondConv2d':
        assert not hasattr(layer.attention, 'temperature')  # its routing is a plain sigmoid
        return
    layer.attention.temperature.fill_(1e6)
    attentions = layer.attention(torch.rand(2, 16, 8, 8))
    torch.testing.assert_close(attentions.kernel, torch.full((2, 4), 0.25))


@pytest.mark.parametrize('kind', LAYERS)
def test_serves_as_conv_cfg_of_any_module(kind):
    with DefaultScope.overwrite_default_scope('mmdet'):
        conv_cfg = dict(type=f'mmbackbones.{kind}', kernel_num=2)
        module = ConvModule(8, 16, 3, stride=2, padding=1, groups=2, conv_cfg=conv_cfg, norm_cfg=dict(type='BN'))
        backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18, base_channels=8, conv_cfg=conv_cfg))
        neck = MODELS.build(dict(type='mmdet.FPN', in_channels=[8, 16], out_channels=8, num_outs=3, conv_cfg=conv_cfg))
    module.init_weights()
    neck.init_weights()  # xavier for 'Conv2d' must not reach a five-dimensional weight
    assert module(torch.rand(2, 8, 9, 9)).shape == (2, 16, 5, 5)
    maps = backbone(torch.rand(2, 3, 64, 64))
    assert sum(type(m).__name__ == kind for m in backbone.modules()) == 20
    sum(out.mean() for out in neck(maps[:2])).backward()
    assert all(p.grad is not None for p in neck.parameters())


@pytest.mark.parametrize('kind', LAYERS)
def test_bad_arguments_are_named(kind):
    with pytest.raises(ValueError, match='kernel_num=0, but at least one kernel'):
        LAYERS[kind](4, 4, 3, kernel_num=0)
    with pytest.raises(ValueError, match='groups=3 must divide in_channels=4'):
        LAYERS[kind](4, 6, 3, groups=3)


def test_a_training_batch_of_one_image_uses_the_running_statistics_and_keeps_them():
    torch.manual_seed(0)
    layer = ODConv2d(4, 4, 3, padding=1)
    layer(torch.rand(8, 4, 8, 8))
    x, before = torch.rand(1, 4, 8, 8), copy.deepcopy(layer.state_dict())
    y = layer(x)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    torch.testing.assert_close(y, layer.eval()(x))
