"""One graph serves images of every size: exported, translated to ONNX and compiled, of small forms of the networks."""
import pytest
import torch
from cases import ONE_GRAPH, ROWS, build
from torch import nn

from mmbackbones.bench.one_graph import DYNAMIC, try_one_graph
from mmbackbones.layers import (CeilMaxPool2d, HalvingMean, MapAttention, RelativeMapAttention,
                                SpatialReductionAttention, WindowAttention, pad_to_multiples, relative_position_bias,
                                resize_positions)

# (N, H, W). Torch makes a graph of its own for a dimension of one, such as DSNet's coarsest grid below 97 pixels.
EXPORTED = 2, 128, 224
RUN = (1, 113, 97), (2, 256, 192), (3, 225, 199)
COMPILED = [(2, height, width)
            for height, width in ((128, 160), (97, 113), (111, 200), (128, 128), (130, 150), (101, 97), (160, 225),
                                  (224, 224), (160, 112), (199, 101), (256, 128), (225, 257), (168, 240))]


@pytest.mark.slow
@pytest.mark.parametrize('name', ONE_GRAPH)
def test_one_graph_serves_every_size(name):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    pytest.importorskip('onnxscript', reason='onnxscript, which translates to ONNX, is not installed')
    torch.manual_seed(0)
    found = try_one_graph(
        build(name, **ONE_GRAPH[name]).eval(),
        EXPORTED,
        RUN,
        COMPILED,
        # the kernels of a batch are the groups of one convolution, and ONNX has these as a constant
        onnx_batch=ROWS[name].family != 'ODConv',
        simplify=False)
    assert max(found.exported, found.onnx, found.compiled) < 1e-4
    assert found.graphs <= 2


class Call(nn.Module):

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# what once made a graph for one size, or a wrong one; the map is (N, 8, H, W), or (N, H, W, 8)
PARTS = {
    'padding rounds up':
    Call(lambda x: pad_to_multiples(x, (4, 4))),
    'a table is interpolated':
    Call(lambda x: x + resize_positions(torch.ones(1, 8, 7, 7), x.shape[2:])),
    'a bias of offsets':
    Call(lambda x: relative_position_bias(x.new_ones(1, 2 * x.shape[2] - 1, 2 * x.shape[3] - 1), *x.shape[2:])),
    'a max pooling':
    CeilMaxPool2d(3, 2),
    'a mean of what there is':
    HalvingMean(),
    'keys of a reduced map': (SpatialReductionAttention(8, 1, 4), ),
    'shifted windows': (WindowAttention(8, 1, 10, shift=True), ),
    'positions of rows and columns':
    MapAttention(8, 2, (7, 7)),
    'offsets of rows and columns':
    RelativeMapAttention(8, 2, (7, 7)),
}


@pytest.mark.parametrize('part', PARTS)
def test_a_part_is_exported_for_every_size(part):
    """Exported where everything fits, and run where nothing does, or the other way round."""
    module = PARTS[part]
    last, module = (True, module[0]) if isinstance(module, tuple) else (False, module)
    axes = (1, 2) if last else (2, 3)

    def draw(*size):
        return torch.randn(2, *size, 8) if last else torch.randn(2, 8, *size)

    sizes = (16, 12), (13, 11), (11, 9), (9, 14)
    with torch.no_grad():
        for example in sizes[::2]:
            shapes = {0: DYNAMIC, **dict.fromkeys(axes, DYNAMIC)},
            exported = torch.export.export(module.eval(), (draw(*example), ), dynamic_shapes=shapes).module()
            for size in sizes:
                x = draw(*size)
                torch.testing.assert_close(exported(x), module(x), rtol=1e-4, atol=1e-5)
