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
    return torch.randn(2, 5, 3, 6, dtype=torch.float64)


def plain(layer, x):
    x = layer.fc1(x)
    if isinstance(layer, ConvMlp):
        x = layer.dwconv(layer.relu(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return layer.fc2(nn.functional.gelu(x))


@pytest.mark.parametrize('size', [1, 7, 2**20])
def test_pieces_give_the_values_of_the_whole(layer, size, monkeypatch):
    monkeypatch.setattr(mlp, 'ROWS', size)
    monkeypatch.setattr(conv_mlp, 'VALUES', size)
    monkeypatch.setattr(conv_mlp, 'CHANNELS', size)
    x = draw()
    expected = plain(layer, x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)  # with gradients: the whole
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_adapters_and_hooks_on_its_layers_are_seen(layer):
    x = draw()
    before = layer(x)
    handle = layer.fc1.register_forward_hook(lambda module, inputs, output: output * 2)
    torch.testing.assert_close(layer(x), plain(layer, x))
    assert not torch.allclose(layer(x), before)
    handle.remove()

    class Adapter(nn.Linear):

        def forward(self, x):
            return super().forward(x) + 1

    layer.fc2.__class__ = Adapter
    torch.testing.assert_close(layer(x), before + 1)
