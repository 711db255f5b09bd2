"""Spatial-reduction attention: against the slow reference, at sizes that its windows do and do not divide."""
import pytest
import torch
from reference.spatial_reduction import spatial_reduction_attention as reference

from mmbackbones.layers import SpatialReductionAttention

# height, width, sr_ratio, pool_size
CASES = {
    'not reduced': (2, 3, 1, None),
    'whole windows': (4, 6, 2, None),
    'a remainder on both sides': (5, 8, 3, None),
    'smaller than a window': (2, 5, 4, None),
    'pooled': (6, 9, 1, 3),
    'pooled with overlap': (5, 4, 1, 3),
    'pooled to more than there is': (1, 2, 1, 3),
}


def make(sr_ratio, pool_size):
    torch.manual_seed(0)
    layer = SpatialReductionAttention(8, 2, sr_ratio, pool_size).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize('case', CASES)
def test_values_and_gradients_are_those_of_the_formula(case):
    height, width, sr_ratio, pool_size = CASES[case]
    layer = make(sr_ratio, pool_size)
    x = torch.randn(2, height, width, 8, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    results = []
    for y in (layer(x), reference(layer, x)):
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_what_no_whole_window_covers_changes_its_own_position_alone():
    layer = make(3, None)
    x = torch.randn(1, 5, 8, 8, dtype=torch.float64)
    changed = x.clone()
    changed[:, 3:], changed[:, :, 6:] = 7, -7
    before, after = layer(x), layer(changed)
    torch.testing.assert_close(after[:, :3, :6], before[:, :3, :6], rtol=0, atol=0)
    assert not torch.equal(after[:, 3:], before[:, 3:])


@pytest.mark.parametrize('arguments, message', [
    (dict(embed_dims=10, num_heads=4), 'num_heads=4 must divide embed_dims=10'),
    (dict(embed_dims=8, num_heads=2, sr_ratio=2, pool_size=7), 'sr_ratio=2 beside pool_size=7.*set sr_ratio=1'),
])
def test_arguments_that_cannot_be_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpatialReductionAttention(**arguments)
