"""The perceptrons of transformer blocks: in pieces as in one, and what is frozen or replaced in them."""
import pytest
import torch
from torch import nn

from mmbackbones.layers import ConvMlp, Mlp, conv_mlp, mlp

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
    return torch.randn(2, 5, 3, 6, dtype=torch.float64, requires_grad=True)


def plain(layer, x):
    x = layer.fc1(x)
    if isinstance(layer, ConvMlp):
        x = layer.dwconv(layer.relu(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return layer.fc2(nn.functional.gelu(x))


@pytest.mark.parametrize('size', [1, 7, 2**20])
def test_pieces_give_the_values_and_gradients_of_the_whole(layer, size, monkeypatch):
    monkeypatch.setattr(mlp, 'ROWS', size)
    monkeypatch.setattr(conv_mlp, 'VALUES', size)
    monkeypatch.setattr(conv_mlp, 'CHANNELS', size)
    x = draw()
    leaves = [x, *layer.parameters()]
    results = [(y, *torch.autograd.grad(y.square().sum(), leaves)) for y in (layer(x), plain(layer, x))]
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), results[1][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('frozen', ['x', 'fc1', 'fc2', 'bias', 'weight'])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(layer, frozen):
    x = draw()
    leaves = dict(x=x, **dict(layer.named_parameters()))
    expected = dict(zip(leaves, torch.autograd.grad(plain(layer, x).square().sum(), leaves.values())))
    for name, leaf in leaves.items():
        leaf.requires_grad_(frozen not in name)
    layer(x).square().sum().backward()
    for name, leaf in leaves.items():
        assert (leaf.grad is None) == (frozen in name)
        if leaf.grad is not None:
            torch.testing.assert_close(leaf.grad, expected[name], rtol=1e-12, atol=1e-12)


def test_adapters_and_hooks_on_its_layers_are_seen(layer):
    x, before = draw(), layer(draw())
    handle = layer.fc1.register_forward_hook(lambda module, inputs, output: output * 2)
    torch.testing.assert_close(layer(x), plain(layer, x))
    assert not torch.allclose(layer(x), before)
    handle.remove()

    class Adapter(nn.Linear):

        def forward(self, x):
            return super().forward(x) + 1

    layer.fc2.__class__ = Adapter
    torch.testing.assert_close(layer(x), before + 1)
