"""Attention over a map: against the slow reference, at any size, without the scores of all pairs."""
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from cases import build
from reference.map_attention import map_attention, relative_map_attention

from mmbackbones.layers import MapAttention, RelativeMapAttention

LAYERS = {
    'absolute': (MapAttention, map_attention),
    'absolute, depth-wise': (partial(MapAttention, depthwise=True), map_attention),
    'relative': (RelativeMapAttention, relative_map_attention),
}


@pytest.mark.parametrize('kind', LAYERS)
def test_values_and_gradients_are_those_of_the_formula(kind):
    make, reference = LAYERS[kind]
    torch.manual_seed(0)
    layer = make(6, num_heads=2, size=(3, 4)).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    results = []
    for y in (layer(x), reference(layer.query(x), layer.key(x), layer.value(x), layer.rows, layer.columns, 2)):
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_depth_wise_keys_see_the_border_repeated():
    layer = MapAttention(4, num_heads=2, size=(3, 3), depthwise=True)
    x = torch.randn(1, 4, 5, 6)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), layer.key.weight, layer.key.bias, groups=4)
    torch.testing.assert_close(layer.key(x), expected)


def ramp(table):
    """The same shape, growing evenly from one end of the map to the other, whatever the number of positions."""
    count = table.shape[2] * table.shape[3]
    return ((torch.arange(count) + 0.5) / count - 0.5).view(1, 1, *table.shape[2:]).expand_as(table)


@pytest.mark.parametrize('kind', LAYERS)
def test_tables_of_another_size_are_stretched_to_the_map(kind):
    make, _ = LAYERS[kind]
    torch.manual_seed(0)
    small, large = make(8, num_heads=2, size=(3, 4)), make(8, num_heads=2, size=(7, 9))
    x = torch.randn(1, 8, 7, 9)
    with torch.no_grad():
        for (name, theirs), ours in zip(small.named_parameters(), large.parameters()):
            is_table = name in ('rows', 'columns')
            theirs.copy_(ramp(theirs) if is_table else theirs)
            ours.copy_(ramp(ours) if is_table else theirs)
        near = (small(x) - large(x)).abs().max()
        large.rows.neg_()
        far = (small(x) - large(x)).abs().max()
    assert near < far / 5


@pytest.mark.parametrize('kind', LAYERS)
def test_the_scores_of_all_pairs_are_never_held(kind):
    make, _ = LAYERS[kind]
    layer = make(16, num_heads=2, size=(4, 4))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        layer(torch.randn(1, 16, 32, 32))
    assert 0 < max(held) < 1024 * 1024 / 4  # positions squared, in each of two heads


@pytest.mark.slow
@pytest.mark.parametrize('kind', LAYERS)
def test_exports_and_compiles_without_a_graph_break(kind):
    make, _ = LAYERS[kind]
    torch._dynamo.reset()  # its limit of recompilations counts those of other tests
    layer = make(8, num_heads=2, size=(3, 4))
    x = torch.randn(1, 8, 5, 6)
    exported = torch.export.export(layer, (x, )).module()
    for other in (exported, torch.compile(layer, fullgraph=True, backend='aot_eager')):
        torch.testing.assert_close(other(x), layer(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['botnet50', 'dogenet26'])
def test_tables_trained_at_another_resolution_load(name, tmp_path):
    source, target = build(name), build(name)
    weights, expected = source.state_dict(), source.state_dict()
    for key, table in expected.items():
        if key.endswith(('rows', 'columns')):
            expected[key] = ramp(table)
            weights[key] = ramp(torch.cat((table, table), 2 if key.endswith('rows') else 3))
    torch.save(dict(state_dict=weights), tmp_path / 'larger.pth')
    target.load_pretrained(str(tmp_path / 'larger.pth'))
    for key, value in target.state_dict().items():
        atol = 0.01 if key.endswith(('rows', 'columns')) else 0
        torch.testing.assert_close(value, expected[key], rtol=0, atol=atol)


@pytest.mark.parametrize('name, arguments, message', [
    ('botnet50', dict(arch='101'), "BoTNet: no arch='101'; choose from '50', '50_l1', '50_l2'"),
    ('botnet50', dict(arch=dict(depths=(1, 1, 1, 1), attention_stages=(3, ), position='none')),
     "no position='none'; choose from 'relative', 'absolute'"),
    ('dogenet26', dict(arch='shiba'), "DogeNet: no arch='shiba'; choose from '26', .*'shiba50'"),
    ('dogenet26', dict(arch=dict(depths=(1, 1, 1, 1), attention='half', attention_stages=(3, ))),
     "no attention='half'; choose from 'full', 'reduced', 'separable_product', 'separable_sum'"),
])  # yapf: disable
def test_unknown_variants_are_answered_with_the_choices(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)
