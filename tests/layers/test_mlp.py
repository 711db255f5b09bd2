"""The perceptrons of transformer blocks: in pieces as in one, and what is frozen or replaced in them."""
import pytest
import torch
from torch import nn

from mmbackbones.layers import ConvMlp, Mlp, _eager_cpu, mlp

LAYERS = {
    'mlp': lambda: Mlp(6, 20),
    'depth-wise': lambda: ConvMlp(6, 20, relu=False),
    'depth-wise behind a ReLU': lambda: ConvMlp(6, 20, relu=True),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]().double()


def draw():
    torch.manual_seed(1)
    return torch.randn(2, 5, 3, 6, dtype=torch.float64)


def plain(layer, x):
    x = layer.fc1(x)
    if isinstance(layer, ConvMlp):
        x = layer.dwconv(layer.relu(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return layer.fc2(nn.functional.gelu(x))


@pytest.mark.parametrize('size', [1, 7, 2**20])
def test_pieces_give_the_values_and_gradients_of_the_whole(layer, size, monkeypatch):
    monkeypatch.setattr(_eager_cpu, 'LARGE_BYTES', 0)
    monkeypatch.setattr(mlp, 'ROWS', size)
    monkeypatch.setattr(mlp, 'VALUES', size)
    monkeypatch.setattr(mlp, 'CHANNELS', size)
    x = draw().requires_grad_()
    expected = plain(layer, x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    actual = layer(x)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected).transpose(1, 2).contiguous().transpose(1, 2)  # as from a permuted map
    inputs = [x, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        rtol=1e-10,
        atol=1e-10)


@pytest.mark.parametrize('frozen', [['fc1'], ['fc2'], ['fc1', 'fc2']])
def test_what_is_frozen_gets_no_gradient_and_the_rest_gets_its_own(layer, frozen, monkeypatch):
    monkeypatch.setattr(_eager_cpu, 'LARGE_BYTES', 0)
    for name in frozen:
        getattr(layer, name).requires_grad_(False)
    for x in (draw(), draw().requires_grad_()):
        inputs = [each for each in (x, *layer.parameters()) if each.requires_grad]
        if inputs:
            expected = torch.autograd.grad(plain(layer, x).square().sum(), inputs)
            layer(x).square().sum().backward()
            torch.testing.assert_close([each.grad for each in inputs], list(expected), rtol=1e-10, atol=1e-10)
        assert all(each.grad is None for name in frozen for each in getattr(layer, name).parameters())
        layer.zero_grad()


@pytest.mark.parametrize('name', ['fc1', 'relu', 'dwconv', 'act', 'fc2'])
def test_hooks_on_its_layers_are_called(layer, name, monkeypatch):
    monkeypatch.setattr(_eager_cpu, 'LARGE_BYTES', 0)
    called = []
    module = getattr(layer, name, None)
    if module is None:
        return  # an Mlp has fewer
    module.register_forward_pre_hook(lambda *_: called.append('before'))
    module.register_forward_hook(lambda *_: called.append('forward'))
    with torch.no_grad():
        layer(draw())
    assert called == ['before', 'forward']
    module.register_full_backward_hook(lambda *_: called.append('backward'))
    layer(draw().requires_grad_()).sum().backward()
    assert called == ['before', 'forward'] * 2 + ['backward']


@torch.no_grad()
def test_adapters_in_the_place_of_its_layers_are_seen(layer):
    x = draw()
    before = layer(x)

    class Adapter(nn.Linear):

        def forward(self, x):
            return super().forward(x) + 1

    layer.fc2.__class__ = Adapter
    torch.testing.assert_close(layer(x), before + 1)


@torch.no_grad()
@pytest.mark.parametrize('conv', [
    nn.Conv2d(20, 20, 5, padding=2, groups=20),
    nn.Conv2d(20, 20, 3, padding=2, dilation=2, groups=20),
    nn.Conv2d(20, 20, 3, padding=1, groups=20, padding_mode='circular'),
    nn.Conv2d(20, 20, 3, padding=1),
], ids=str)  # yapf: disable
def test_another_convolution_in_the_place_of_its_own_is_seen(conv, monkeypatch):
    monkeypatch.setattr(mlp, 'CHANNELS', 7)
    monkeypatch.setattr(mlp, 'VALUES', 1)
    layer = ConvMlp(6, 20, relu=True)
    layer.dwconv = conv
    layer.double()
    torch.testing.assert_close(layer(draw()), plain(layer, draw()))


@torch.no_grad()
def test_another_activation_in_the_place_of_its_own_is_seen(layer):
    x = draw()
    before = layer(x)
    for act in (nn.GELU('tanh'), nn.ReLU()):
        layer.act = act
        assert not torch.allclose(layer(x), before, rtol=1e-7, atol=1e-7)
