"""CoAtNet: tables of another training size, odd maps, errors."""
import pytest
import torch

from mmbackbones.models import CoAtNet
from mmbackbones.models.coatnet import Downsample

TINY = dict(stem_channels=16, embed_dims=(16, 16, 32, 64), depths=(1, 1, 2, 1))


def test_tables_of_another_training_size_load_and_act_as_when_interpolated():
    torch.manual_seed(0)
    small = CoAtNet(TINY, img_size=64).double().eval()
    large = CoAtNet(TINY, img_size=96).double().eval()
    large.load_state_dict(large.resize_tables(small.state_dict()))
    assert large.layer3[1].attn.relative_bias.shape == (1, 11, 11)
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    for a, b in zip(small(x), large(x)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_every_table_bends_the_maps():
    torch.manual_seed(0)
    backbone = CoAtNet(TINY, img_size=64).eval()
    x = torch.randn(1, 3, 64, 80)
    before = backbone(x)
    with torch.no_grad():
        backbone.layer3[0].attn.relative_bias.normal_()
    after = backbone(x)
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [True, True, False, False]


def test_an_odd_map_is_pooled_over_the_pixels_that_there_are():
    pooled = Downsample(4, 4)(torch.ones(1, 4, 5, 7))
    assert torch.equal(pooled, torch.ones(1, 4, 3, 4))


@pytest.mark.parametrize('arguments, message', [
    (dict(arch='5'), "CoAtNet: no arch='5'; choose from '0', '1', '2', '3', '4'"),
    (dict(img_size=100), 'img_size=100 is the training size and must be a multiple of 32'),
    (dict(arch={
        **TINY, 'embed_dims': (16, 16, 48, 64)
    }), 'must be multiples of 32, the channels of a head'),
    (dict(arch=dict(depths=(1, 1, 1, 1))), r"has the keys \['depths'\], expected"),
])
def test_unfit_variants_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoAtNet(**arguments)


def test_a_table_of_an_oblong_map_is_refused_by_name():
    key = 'stages.2.blocks.0.attn.rel_pos.relative_position_bias_table'
    with pytest.raises(ValueError, match=f'{key} has 15 offsets, which are not those of a square map'):
        CoAtNet.convert_state_dict({key: torch.zeros(15, 2)})
