"""Networks of timm behind our contract: timm's own maps, for any image, with strict weights."""
import builtins
import copy
import math
import pickle
import sys

import pytest
import torch
from cases import ROWS
from torch import nn

from mmbackbones.cli.info import published_weights
from mmbackbones.models.wrappers.keep_sizes import keep_sizes
from mmbackbones.weights import CheckpointError, load_strictly

timm = pytest.importorskip('timm')
from mmbackbones.models.wrappers import timm_backbone  # noqa: E402
from mmbackbones.models.wrappers.timm_backbone import TimmBackbone, expected_pixels, pretrained_tags  # noqa: E402

# the smallest network of each family of the catalogue that timm gives maps of
FAMILIES = [
    'vgg11', 'inception_v3', 'inception_v4', 'resnet18', 'resnext50_32x4d', 'resnest50d', 'res2net50_48w_2s',
    'res2next50', 'densenet121', 'wide_resnet50_2', 'dpn68', 'nasnetalarge', 'legacy_seresnet50', 'seresnet18',
    'skresnext50_32x4d', 'efficientnet_b0', 'tf_efficientnetv2_b0', 'darknet53', 'mobilenetv1_100', 'legacy_xception',
    'mobilenetv2_050', 'mnasnet_small', 'mobilenetv3_small_075', 'fbnetc_100', 'fbnetv3_b', 'ghostnet_050',
    'swin_tiny_patch4_window7_224', 'halonet_h1', 'convnext_tiny', 'convnextv2_atto', 'regnetx_002', 'regnety_002',
    'dm_nfnet_f0'
]
SMALL = ['mobilenetv3_small_075', 'vgg11', 'dpn68', 'legacy_xception', 'swin_tiny_patch4_window7_224']
PADDED_WITHIN = {'inception_v3', 'inception_v4', 'legacy_xception'}


def scalar(maps):
    return sum(out.square().mean() for out in maps)


def size_args(name):
    return dict(strict_img_size=False) if name.startswith('swin') else {}


def whole_weights(name):
    """Weights of timm's whole classifier, drawn anew: no scale is 0 or 1, and no mean 0."""
    with torch.device('meta'):
        shapes = {key: value for key, value in timm.create_model(name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, value in shapes.items():
        if not value.is_floating_point():
            weights[key] = torch.zeros(value.shape, dtype=value.dtype)
        elif value.ndim > 1:
            weights[key] = torch.randn(value.shape, generator=generator) / value[0].numel()**0.5
        elif key.endswith(('bias', 'running_mean')):
            weights[key] = torch.randn(value.shape, generator=generator) * 0.1
        else:
            weights[key] = torch.rand(value.shape, generator=generator) + 0.5
    return weights


@pytest.fixture
def no_init(monkeypatch):
    """Weights that are replaced at once need no initial values, which take most of the time."""
    for name in ('kaiming_normal_', 'kaiming_uniform_', 'normal_', 'uniform_', 'trunc_normal_', 'xavier_uniform_'):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize('name', FAMILIES)
def test_same_weights_give_timms_own_maps_exactly(name, no_init):
    weights = whole_weights(name)
    theirs = timm.create_model(
        name,
        features_only=True,
        pretrained=True,
        pretrained_cfg_overlay=dict(state_dict=copy.copy(weights), custom_load=False),
        **size_args(name)).eval()
    ours = TimmBackbone(name).eval()
    load_strictly(ours, ours.convert_timm(weights), name)
    assert ours.plan.adds_padding == (name in PADDED_WITHIN)
    if ours.plan.adds_padding:
        keep_sizes(theirs)
    size = max(64, ours.plan.multiple)
    x = torch.randn(1, 3, size, size)
    facts = theirs.feature_info
    strides = facts.reduction()
    assert dict(zip(ours.out_strides, ours.out_channels)) == {
        stride: channels
        for stride, channels in zip(strides, facts.channels()) if stride >= 4
    }
    with torch.no_grad():
        maps, expected = ours(x), theirs(x)
    if ours.plan.channels_last:
        expected = [each.permute(0, 3, 1, 2) for each in expected]
    expected = [each for each, stride in zip(expected, strides) if stride >= 4]
    assert len(maps) == len(expected) == 4
    assert all(0 < each.abs().max() < math.inf for each in maps)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected))


@pytest.mark.parametrize('name', FAMILIES)
def test_every_size_has_maps_and_no_parameter_is_dead(name):
    with torch.device('meta'):
        backbone = TimmBackbone(name)
        assert [tuple(out.shape) for out in backbone.eval()(torch.empty(1, 3, 111, 77))
                ] == [(1, channels, math.ceil(111 / stride), math.ceil(77 / stride))
                      for channels, stride in zip(backbone.out_channels, backbone.out_strides)]
        scalar(backbone.train()(torch.randn(2, 3, 64, 64))).backward()
    assert not [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    for block in (block for stage in backbone.stage_names for block in getattr(backbone, stage)):
        # recomputing a block from an input that the block itself has changed would be wrong
        first = next(module for module in block.modules() if not isinstance(module, nn.Sequential))
        assert getattr(first, 'inplace', False) is not True


@pytest.mark.parametrize('name', SMALL)
def test_stages_beyond_the_last_output_are_not_built(name):
    with torch.device('meta'):
        backbone = TimmBackbone(name, out_indices=(0, -3))
        assert backbone.out_strides == (4, 8) and backbone.stage_names == ('layer1', 'layer2')
        scalar(backbone(torch.randn(2, 3, 64, 64))).backward()
    assert not [key for key, parameter in backbone.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize('name', SMALL)
def test_freezing_copying_and_checkpointing_change_what_they_say(name):
    torch.manual_seed(0)
    plain = TimmBackbone(name, frozen_stages=1)
    saving = TimmBackbone(name, frozen_stages=1, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for other in (copy.deepcopy(plain).eval(), pickle.loads(pickle.dumps(plain)).eval()):
        assert all(torch.equal(a, b) for a, b in zip(plain.eval()(x), other(x)))
    before = copy.deepcopy(plain.state_dict())
    for backbone in (plain, saving):
        assert backbone.train() is backbone
        torch.manual_seed(0)
        scalar(backbone(x)).backward()
    frozen = ('stem.', 'layer1.')
    for (key, ours), theirs in zip(plain.named_parameters(), saving.parameters()):
        assert (ours.grad is None) == key.startswith(frozen), key
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    for (key, ours), theirs in zip(plain.named_buffers(), saving.buffers()):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        if key.endswith('running_mean'):
            assert torch.equal(ours, before[key]) == key.startswith(frozen), key


def test_the_stem_ends_where_the_blocks_of_stride_four_begin():
    for name, stem, first in (('resnet18', 'conv1', 'layer1.0'), ('efficientnet_b0', 'blocks.0.0', 'blocks.1.0'),
                              ('convnext_tiny', 'stem.0', 'stages.0.blocks.0'), ('vgg11', 'features.3', 'features.6'),
                              ('swin_tiny_patch4_window7_224', 'patch_embed.proj', 'layers.0.blocks.0')):
        with torch.device('meta'):
            keys = TimmBackbone(name).timm_keys
        homes = {key.rpartition('.')[0]: ours and ours.split('.')[0] for key, ours in keys.items()}
        assert [home for key, home in homes.items() if key.startswith(stem)][0] == 'stem'
        assert {home for key, home in homes.items() if key.startswith(first)} == {'layer1'}


def test_rows_expect_the_pixels_of_timms_default_weights():
    wrong = {}
    for name, row in ROWS.items():
        # weights of a network with other arguments are not timm's, and some networks have none at all
        if row.implementation != 'timm' or 'model_args' in row.config or not published_weights(row):
            continue
        mean, std = expected_pixels(row.config['model_name'])
        if [*row.mean, *row.std] != pytest.approx([*mean, *std], abs=0.01):
            wrong[name] = mean, std
    assert not wrong


@pytest.fixture
def classifier(tmp_path):
    path = tmp_path / 'model.pth'
    weights = whole_weights('mobilenetv3_small_075')
    torch.save(dict(state_dict=weights), path)
    return path, weights


def test_checkpoints_of_timm_and_of_ours_load_from_files(classifier, tmp_path):
    from safetensors.torch import save_file
    path, weights = classifier
    backbone = TimmBackbone('mobilenetv3_small_075', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    backbone.init_weights()
    for key, ours in backbone.timm_keys.items():
        assert ours is None or torch.equal(backbone.state_dict()[ours], weights[key])
    safe, detector = tmp_path / 'model.safetensors', tmp_path / 'detector.pth'
    save_file(weights, safe)
    saved = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict={**saved, 'neck.weight': torch.zeros(1)}), detector)
    for source in (safe, detector):
        other = TimmBackbone('mobilenetv3_small_075', out_indices=(0, 1))
        other.load_pretrained(source)
        assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize('pretrained, checkpoint', [
    ('lamb_in1k', 'timm://mobilenetv3_small_075.lamb_in1k'),
    ('mobilenetv3_small_075.lamb_in1k', 'timm://mobilenetv3_small_075.lamb_in1k'),
    ('timm://mobilenetv3_small_075.lamb_in1k', 'timm://mobilenetv3_small_075.lamb_in1k'),
    ('weights.pth', 'weights.pth'),
    ('folder/lamb_in1k', 'folder/lamb_in1k'),
    ('https://example.org/weights.pth', 'https://example.org/weights.pth'),
])
def test_pretrained_is_short_for_an_init_cfg(pretrained, checkpoint):
    with torch.device('meta'):
        backbone = TimmBackbone('mobilenetv3_small_075', pretrained=pretrained)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=checkpoint)


def test_a_file_without_an_ending_is_found_and_loaded(classifier, monkeypatch):
    path, weights = classifier
    monkeypatch.chdir(path.rename(path.with_suffix('')).parent)
    backbone = TimmBackbone('mobilenetv3_small_075', pretrained='model')
    backbone.init_weights()
    assert torch.equal(backbone.stem[0][0].weight, weights['conv_stem.weight'])


def test_a_broken_safetensors_file_is_named(tmp_path):
    (tmp_path / 'model.safetensors').write_bytes(b'no weights')
    with pytest.raises(CheckpointError, match='model.safetensors is broken or not in the format'):
        TimmBackbone('mobilenetv3_small_075').load_pretrained(tmp_path / 'model.safetensors')


@pytest.mark.parametrize('change, message', [
    (lambda weights: weights.pop('conv_stem.weight'), r'1 missing: stem\.0\.0\.weight'),
    (lambda weights: weights.update({'classifier.scale': torch.ones(1)}), r'1 not expected: classifier\.scale'),
    (lambda weights: weights.update({'conv_stem.weight': torch.ones(1)}), r'1 of another shape: stem\.0\.0\.weight is'),
])
def test_weights_that_do_not_fit_are_refused_by_name(classifier, change, message):
    path, weights = classifier
    change(weights)
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=message):
        TimmBackbone('mobilenetv3_small_075').load_pretrained(path)


def test_the_authors_names_load_where_timm_knows_them(tmp_path):
    """Swin's own network merges patches at the end of a stage, and calls its classifier otherwise."""
    name = 'swin_tiny_patch4_window7_224'
    weights = whole_weights(name)
    authors = {}
    for key, value in weights.items():
        for stage in (1, 2, 3):
            key = key.replace(f'layers.{stage}.downsample', f'layers.{stage - 1}.down-sample')
        authors[key.replace('down-sample', 'downsample').replace('head.fc', 'head')] = value
    torch.save(dict(model=authors), tmp_path / 'authors.pth')
    backbone = TimmBackbone(name)
    backbone.load_pretrained(tmp_path / 'authors.pth')
    assert all(
        ours is None or torch.equal(backbone.state_dict()[ours], weights[key])
        for key, ours in backbone.timm_keys.items())


def testpublished_weights_come_from_the_caches_or_the_error_says_what_to_do(classifier, tmp_path, monkeypatch):
    path, weights = classifier
    tags = pretrained_tags('mobilenetv3_small_075')
    assert tags == ['mobilenetv3_small_075.lamb_in1k']
    backbone = TimmBackbone('mobilenetv3_small_075')
    config = timm.get_pretrained_cfg(tags[0])
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *args: None)
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))

    def no_network(*args, **kwargs):
        raise ConnectionError('no network')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', no_network)
    with pytest.raises(CheckpointError, match='neither in the cache .* nor to be had .* Download the file'):
        backbone.load_pretrained(f'timm://{tags[0]}')
    with pytest.raises(CheckpointError, match=f"no weights 'resnet18.a1_in1k' of mobilenetv3.* it has {tags[0]}"):
        backbone.load_pretrained('timm://resnet18.a1_in1k')
    asked = []
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *args: asked.append(args) or str(path))
    backbone.load_pretrained(f'timm://{tags[0]}')
    assert asked == [(config.hf_hub_id, 'model.safetensors')] and config.hf_hub_id == f'timm/{tags[0]}'
    assert torch.equal(backbone.stem[0][0].weight, weights['conv_stem.weight'])


@pytest.mark.parametrize('arguments, error, message', [
    (dict(model_name='resnet19'), ValueError, "timm .* has no network 'resnet19'"),
    (dict(model_name='vit_tiny_patch16_224'), ValueError, 'stride 16 alone.*`mmbackbones list --family vit`'),
    (dict(model_name='hrnet_w18_small'), ValueError, 'TimmBackbone: hrnet_w18_small .* there is nothing to'),
    (dict(model_name='levit_128s'), ValueError, 'TimmBackbone: levit_128s'),
    (dict(model_name='coatnet_0_224'), ValueError, 'coatnet_0_224 works at one image size only'),
    (dict(model_name='resnet18', model_args=dict(num_classes=3)), ValueError, 'model_args has num_classes; the backbo'),
    (dict(model_name='resnet18', model_args=dict(output_stride=8)), ValueError, 'has maps at strides 2, 4, 8; a dete'),
    (dict(model_name='mobilenetv3_small_075', pretrained='a1_in1k'), ValueError,
     "no file 'a1_in1k' is here, and timm has no such weights of mobilenetv3_small_075; it has lamb_in1k"),
    (dict(model_name='mobilenetv3_small_075', pretrained='resnet18.a1_in1k'), ValueError, 'it has lamb_in1k'),
    (dict(model_name='mobilenetv3_large_075', pretrained='timm://a1_in1k'), ValueError, 'it has none'),
    (dict(model_name='resnet18', pretrained='a1_in1k', init_cfg=dict(type='Kaiming')), ValueError, 'give one'),
    (dict(model_name='resnet18', out_indices=4), ValueError, 'out_indices=4 is out of range'),
    (dict(model_name='resnet18', model_args=dict(eyes=3)), TypeError, 'eyes'),
])
def test_what_cannot_be_is_refused_with_a_reason(arguments, error, message):
    with pytest.raises(error, match=message), torch.device('meta'):
        TimmBackbone(**arguments)


def test_without_timm_the_module_imports_and_the_error_names_the_command(monkeypatch):
    original = builtins.__import__

    def without_timm(name, *args, **kwargs):
        if name.split('.')[0] == 'timm':
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_timm)
    monkeypatch.delitem(sys.modules, 'mmbackbones.models.wrappers.timm_backbone')
    monkeypatch.setattr(timm_backbone, '_PLANS', {})
    with pytest.raises(ImportError, match=r"pip install 'mmbackbones\[timm\]'"):
        TimmBackbone('resnet18')
