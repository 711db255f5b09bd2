"""Pyramid Vision Transformers: checkpoints of other libraries and image sizes, what stands in for missing pixels."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmbackbones.models import PyramidVisionTransformer, PyramidVisionTransformerV2
from mmbackbones.weights import load_strictly

SMALL = dict(embed_dims=(16, 32, 80, 128), depths=(1, 2, 1, 1), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4))
ARCHS = {
    PyramidVisionTransformer: dict(**SMALL, sr_ratios=(8, 4, 2, 1)),
    PyramidVisionTransformerV2: dict(**SMALL, sr_ratios=(8, 4, 2, 1), pool_size=None),
}
LINEAR = dict(**SMALL, sr_ratios=(1, 1, 1, 1), pool_size=7)


def with_one_eps(model):
    """In float64 and evaluation; MMDetection has 1e-6 in every norm, the authors in some."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    return model.double().eval()


def assert_same_maps(ours, theirs, size):
    torch.manual_seed(0)
    for parameter in theirs.parameters():  # away from the zeros and ones that would hide a mistake
        nn.init.normal_(parameter, std=0.2)
    ours, theirs = with_one_eps(ours), with_one_eps(theirs)
    load_strictly(ours, ours.convert_state_dict(theirs.state_dict()), 'theirs')
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x)[1] if hasattr(theirs, 'forward_intermediates') else theirs(x)
        for found, wanted in zip(ours(x), expected):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('cls', ARCHS)
def test_mmdetections_weights_give_mmdetections_maps(cls):
    from mmdet.models import backbones
    theirs = getattr(backbones, cls.__name__)(embed_dims=16, num_layers=[1, 2, 1, 1], mlp_ratios=[8, 8, 4, 4])
    assert_same_maps(cls(ARCHS[cls]), theirs, (64, 96))


@pytest.mark.parametrize('linear', [False, True])
def test_timms_weights_give_timms_maps(linear):
    pvt_v2 = pytest.importorskip('timm.models.pvt_v2')
    theirs = pvt_v2.PyramidVisionTransformerV2(**SMALL, linear=linear)
    ours = PyramidVisionTransformerV2(LINEAR if linear else ARCHS[PyramidVisionTransformerV2])
    assert_same_maps(ours, theirs, (75, 96))


def test_tables_of_another_training_size_are_interpolated_when_loaded_and_when_run(tmp_path):
    arch = ARCHS[PyramidVisionTransformer]
    trained = PyramidVisionTransformer(arch, img_size=128).double().eval()
    torch.save(trained.state_dict(), tmp_path / 'at_128.pth')
    loaded = PyramidVisionTransformer(arch, img_size=256).double().eval()
    loaded.load_pretrained(str(tmp_path / 'at_128.pth'))
    shapes = [tuple(value.shape[-2:]) for key, value in loaded.named_parameters() if key.endswith('positions')]
    assert shapes == [(64, 64), (32, 32), (16, 16), (8, 8)]
    x = torch.randn(1, 3, 256, 256, dtype=torch.float64)
    with torch.no_grad():  # both bring a table of 128 to 256, one of them once and for all
        for a, b in zip(trained(x), loaded(x)):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_table_that_fits_no_square_is_refused_by_name(tmp_path):
    model = PyramidVisionTransformer(ARCHS[PyramidVisionTransformer])
    weights = {**model.state_dict(), 'pos_embed2': torch.zeros(1, 30, 32)}
    del weights['layer2.0.positions']
    torch.save(weights, tmp_path / 'broken.pth')
    with pytest.raises(ValueError, match=r'layer2.0.positions is \(1, 30, 32\), expected \(1, 32, 28, 28\)'):
        model.load_pretrained(str(tmp_path / 'broken.pth'))


@pytest.mark.parametrize('cls', ARCHS)
def test_missing_pixels_are_zeros_and_touch_the_last_patches_alone(cls):
    embed = cls(ARCHS[cls], out_indices=0).double().eval().forward_stem
    x = torch.randn(1, 3, 41, 50, dtype=torch.float64)
    with torch.no_grad():
        maps, zeros, sevens = embed(x), embed(F.pad(x, (0, 2, 0, 3))), embed(F.pad(x, (0, 2, 0, 3), value=7))
    assert maps.shape[1:3] == (11, 13)
    torch.testing.assert_close(maps, zeros)
    torch.testing.assert_close(maps[:, :10, :12], sevens[:, :10, :12])
    assert not torch.allclose(maps, sevens)


@pytest.mark.parametrize('cls', ARCHS)
def test_weights_are_drawn_as_the_authors_draw_them(cls):
    torch.manual_seed(0)
    model = cls(ARCHS[cls])
    block = model.layer3[1]
    # by the outputs of one group in the second version, torch's own in the first
    fan_out_std, own_std = (2 / (2 * 2 * 80))**0.5, (3 * 2 * 2 * 80)**-0.5
    spread = {block.attn.q: 0.02, block.mlp.fc2: 0.02, block.attn.sr: own_std}
    if cls is PyramidVisionTransformerV2:
        spread.update({block.attn.sr: fan_out_std, block.mlp.dwconv: (2 / 9)**0.5})
    for layer, std in spread.items():
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
    tables = [value for key, value in model.named_parameters() if key.endswith('positions')]
    assert all(table.std().item() == pytest.approx(0.02, rel=0.05) for table in tables)
