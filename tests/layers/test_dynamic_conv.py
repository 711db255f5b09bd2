"""Dynamic convolution: against the slow reference, and as a layer of other people's modules."""
import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import to_2tuple
from reference.dynamic_conv import dynamic_conv2d as reference

from mmbackbones.layers import Attentions, CondConv2d, DyConv2d, ODConv2d, dynamic_conv2d
from mmbackbones.layers.dynamic_conv import cost as dynamic_cost
from mmbackbones.layers.dynamic_conv import forms as dynamic_forms
from mmbackbones.layers.dynamic_conv.forms import FORMS, Form, Geometry

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
PRESENT = (('channel', 'filter', 'spatial', 'kernel'), ('channel', 'filter'), ('filter', 'spatial'),
           ('channel', 'kernel'), ('filter', ), ('spatial', ), ('kernel', ), ())
LAYERS = {'ODConv2d': ODConv2d, 'CondConv2d': CondConv2d, 'DyConv2d': DyConv2d}


def draw(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def draw_arguments(case, present, batch=3):
    """Arguments of ``dynamic_conv2d`` in float64, and those of them that get a gradient."""
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, kernel_num = SHAPES[case]
    if 'kernel' not in present:
        kernel_num = 1  # several kernels need an attention to mix them
    generator = torch.Generator().manual_seed(0)
    shapes = dict(
        channel=(batch, in_channels),
        filter=(batch, out_channels),
        spatial=(batch, *kernel_size),
        kernel=(batch, kernel_num))
    attentions = Attentions(**{
        name: draw(shape, generator) if name in present else None
        for name, shape in shapes.items()
    })
    x = draw((batch, in_channels, 7, 9), generator)
    weight = draw((kernel_num, out_channels, in_channels // groups, *kernel_size), generator)
    bias = draw((kernel_num, out_channels), generator)
    leaves = [x, weight, bias, *(factor for factor in attentions if factor is not None)]
    return (x, weight, attentions, bias, stride, padding, dilation, groups), leaves


def forms_of(arguments):
    _, _, attentions, _, stride, padding, dilation, groups = arguments
    geometry = Geometry(to_2tuple(stride), to_2tuple(padding), to_2tuple(dilation), groups)
    return dynamic_cost.possible_forms(attentions.present, geometry)


@pytest.mark.parametrize('case', SHAPES)
@pytest.mark.parametrize('present', PRESENT, ids=' '.join)
def test_every_form_has_the_values_and_gradients_of_the_formula(case, present, monkeypatch):
    # blocks of one sample and four channels: what a large layer is cut into
    monkeypatch.setattr(dynamic_forms, 'BLOCK_BYTES', 1000)
    monkeypatch.setattr(dynamic_forms, 'MIN_BLOCK_CHANNELS', 4)
    arguments, leaves = draw_arguments(case, present)
    expected = reference(*arguments)
    expected = (expected, *torch.autograd.grad(expected.square().sum(), leaves))
    for form in (None, *forms_of(arguments)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            y = dynamic_conv2d(arguments[0].to(memory_format=memory_format), *arguments[1:], form=form)
            for ours, theirs in zip((y, *torch.autograd.grad(y.square().sum(), leaves)), expected):
                torch.testing.assert_close(
                    ours, theirs, rtol=1e-10, atol=1e-10, msg=lambda text: f'{form}, {memory_format}: {text}')


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('case', SHAPES)
def test_inference_has_the_same_values_and_overwrites_no_argument(case, batch):
    for present in PRESENT:
        arguments, leaves = draw_arguments(case, present, batch)
        before = [leaf.detach().clone() for leaf in leaves]
        expected = reference(*arguments).detach()
        for form in (None, *forms_of(arguments)):
            with torch.no_grad():
                y = dynamic_conv2d(*arguments, form=form)
            torch.testing.assert_close(
                y, expected, rtol=1e-10, atol=1e-10, msg=lambda text: f'{present}, {form}: {text}')
        assert all(map(torch.equal, leaves, before)), present


@pytest.mark.parametrize('form', [form for form in FORMS if form.name != 'shared'], ids=str)
def test_gradients_of_single_arguments(form):
    """As a frozen layer or an attention without gradient asks for them."""
    case = '3x3, strided, 2 kernels' if form.name == 'product' else 'grouped'
    arguments, leaves = draw_arguments(case, ('channel', 'filter', 'spatial', 'kernel'))
    expected = torch.autograd.grad(reference(*arguments).square().sum(), leaves)
    for leaf, gradient in zip(leaves, expected):
        for other in leaves:
            other.requires_grad_(other is leaf)
        y = dynamic_conv2d(*arguments, form=form)
        torch.testing.assert_close(*torch.autograd.grad(y.square().sum(), leaf), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('form', [form for form in FORMS if form.name not in ('product', 'shared')], ids=str)
def test_gradcheck(form):
    generator = torch.Generator().manual_seed(0)
    attentions = [draw(shape, generator) for shape in ((2, 4), (2, 2), (2, 3, 3), (2, 2))]
    x, weight = draw((2, 4, 4, 4), generator), draw((2, 2, 2, 3, 3), generator)
    assert torch.autograd.gradcheck(
        lambda x, weight, *factors: dynamic_conv2d(x, weight, Attentions(*factors), None, 1, 1, 1, 2, form=form),
        (x, weight, *attentions))


@pytest.mark.parametrize('form', ['samples', 'samples-folded', 'product-folded', 'shifts'])
def test_nothing_but_the_arguments_is_saved_for_the_backward_pass(form):
    arguments, leaves = draw_arguments('pointwise', ('channel', ))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        y = dynamic_conv2d(*arguments, form=form)
    assert max(tensor.numel() for tensor in saved) <= max(leaf.numel() for leaf in leaves)
    assert all(tensor.data_ptr() != y.data_ptr() for tensor in saved)


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_autocast_reaches_every_form(form):
    arguments, leaves = draw_arguments('pointwise', ('channel', 'filter'))
    single = [tensor.detach().float().requires_grad_() for tensor in leaves]
    x, weight, _, *factors = single
    y = dynamic_conv2d(x, weight, Attentions(*factors), form=form)
    with torch.autocast('cpu', torch.bfloat16):
        low = dynamic_conv2d(x, weight, Attentions(*factors), form=form)
    torch.testing.assert_close(low.float(), y, rtol=0.05, atol=0.1)
    for ours, theirs in zip(*(torch.autograd.grad(z.float().sum(), (x, weight, *factors)) for z in (low, y))):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05 * theirs.abs().max().item())


def test_a_form_that_cannot_compute_a_convolution_is_named_with_those_that_can():
    arguments, _ = draw_arguments('3x3', ('spatial', ))
    with pytest.raises(ValueError, match="form='fastest' is unknown; choose from grouped, grouped-folded, product"):
        dynamic_conv2d(*arguments, form='fastest')
    with pytest.raises(ValueError, match="form='shared' cannot compute this convolution; choose from grouped"):
        dynamic_conv2d(*arguments, form=Form('shared'))


@pytest.mark.parametrize('dtype, autocast, itemsize', [(torch.float32, False, 4), (torch.float64, False, 8),
                                                       (torch.bfloat16, False, 2), (torch.float32, True, 2)])
def test_the_choice_counts_bytes_of_the_type_that_is_computed_in(dtype, autocast, itemsize, monkeypatch):
    asked = set()
    monkeypatch.setattr(dynamic_cost, 'estimate', lambda *args, itemsize: asked.add(itemsize) or 0)
    dynamic_cost._fastest.cache_clear()
    x, weight = torch.zeros(1, 3, 5, 7, dtype=dtype), torch.zeros(1, 2, 3, 3, 3, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        dynamic_cost.choose_form(x, weight, Attentions(), Geometry((1, 1), (1, 1), (1, 1), 1))
    dynamic_cost._fastest.cache_clear()
    assert asked == {itemsize}


def test_off_the_cpu_and_in_graphs_the_form_does_not_depend_on_sizes():
    """Counted operations and compiled graphs are those of the paper's form."""
    geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
    for size in (1, 1000):
        x, weight = torch.empty(size, 64, 56, 56, device='meta'), torch.empty(4, 64, 64, 3, 3, device='meta')
        attentions = Attentions(kernel=torch.empty(size, 4, device='meta'))
        assert dynamic_cost.choose_form(x, weight, attentions, geometry) == Form('grouped')
        assert dynamic_cost.choose_form(x, weight[:1], Attentions(), geometry) == Form('shared')


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


@pytest.mark.parametrize('kind', ['BN', 'SyncBN'])  # in one process a SyncBN sees no other values either
def test_a_training_batch_of_one_image_uses_the_running_statistics_and_keeps_them(kind):
    torch.manual_seed(0)
    layer = ODConv2d(4, 4, 3, padding=1, norm_cfg=dict(type=kind))
    layer(torch.rand(8, 4, 8, 8))
    x, before = torch.rand(1, 4, 8, 8), copy.deepcopy(layer.state_dict())
    y = layer(x)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    torch.testing.assert_close(y, layer.eval()(x))


@pytest.mark.parametrize('kind', LAYERS)
def test_hooks_on_the_layers_of_an_attention_are_called_and_a_layer_in_their_place_counts(kind):
    layer = LAYERS[kind](4, 6, 3, padding=1, kernel_num=2)
    x = torch.rand(2, 4, 5, 5, requires_grad=True)
    called = []
    children = dict(layer.attention.named_children())
    for name, child in children.items():
        child.register_forward_hook(lambda *_, name=name: called.append(name))
        child.register_full_backward_hook(lambda *_, name=name: called.append(name))
    layer(x).sum().backward()
    assert sorted(called) == sorted(2 * list(children))
    for name, child in children.items():

        class Twice(torch.nn.Module):
            """As an adapter that does not know what kind of layer it wraps: it takes maps."""

            def forward(self, x, child=child, name=name):
                assert x.dim() == 2 if isinstance(child, torch.nn.Linear) else x.shape[2:] == (1, 1)
                return 2 * child(x)

        before = layer.eval()(x)
        setattr(layer.attention, name, Twice())
        assert not torch.allclose(layer(x), before)
        setattr(layer.attention, name, child)


@pytest.mark.parametrize('norm_cfg, kind', [(dict(type='BN', momentum=0.3), torch.nn.BatchNorm2d),
                                            (dict(type='SyncBN', requires_grad=False), torch.nn.SyncBatchNorm),
                                            (dict(type='GN', num_groups=8), torch.nn.GroupNorm)])
@pytest.mark.parametrize('config', [dict(type='ODConvResNet', depth=18), dict(type='ODConvMobileNetV2')])
def test_the_norm_of_the_attentions_is_the_one_that_a_network_is_given(config, norm_cfg, kind):
    backbone = MODELS.build(dict(config, type=f'mmbackbones.{config["type"]}', norm_cfg=norm_cfg, out_indices=0))
    norms = [module.attention.bn for module in backbone.modules() if isinstance(module, ODConv2d)]
    assert norms
    for norm in norms:
        assert isinstance(norm, kind) and norm.weight.requires_grad == norm_cfg.get('requires_grad', True)
        if kind is torch.nn.GroupNorm:
            assert norm.num_groups == 1  # eight would leave two values of a mean to each
        else:
            assert norm.momentum == norm_cfg.get('momentum', 0.1)
    sum(out.square().mean() for out in backbone(torch.rand(2, 3, 32, 32))).backward()
