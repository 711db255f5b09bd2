"""ViT: layouts of checkpoints, tables and kernels of another size, padding, depths."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from upstream import seeded_state_dict

from mmbackbones.models import VisionTransformer
from mmbackbones.weights import CheckpointError, load_strictly

TINY = dict(embed_dims=64, depth=4, num_heads=4)


def make(**kwargs):
    torch.manual_seed(0)
    return VisionTransformer(**{**dict(arch=TINY, img_size=64), **kwargs}).double().eval()


def load(backbone, weights):
    weights = backbone.resize_tables(backbone.convert_state_dict(weights))
    return load_strictly(backbone, weights, 'test', backbone.omitted_prefixes, backbone.optional_prefixes)


def trunk():
    """A published classifier's weights: no pyramid."""
    return {key: value for key, value in seeded_state_dict('vit').items() if not key.startswith('pyramid.')}


def test_a_classifiers_trunk_loads_and_the_pyramid_stays_as_it_was():
    backbone = make()
    before = backbone.pyramid['0'][0].weight.clone()
    assert load(backbone, trunk()) == ['pyramid.0.', 'pyramid.1.']
    assert torch.equal(backbone.pyramid['0'][0].weight, before)
    assert load(make(out_indices=(2, 3)), seeded_state_dict('vit')) == []


def test_mae_and_mmpretrain_layouts_are_the_same_trunk():
    official = make()
    load(official, trunk())
    mae = {key: value for key, value in trunk().items() if not key.startswith(('head.', 'norm.'))}
    mae.update({name: torch.ones(3) for name in ('mask_token', 'decoder_embed.weight', 'fc_norm.weight')})
    names = {'norm1.': 'ln1.', 'norm2.': 'ln2.', 'blocks.': 'layers.', 'mlp.fc1.': 'ffn.layers.0.0.'}
    names.update({'mlp.fc2.': 'ffn.layers.1.', 'patch_embed.proj.': 'patch_embed.projection.'})
    mmpretrain = {}
    for key, value in trunk().items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        mmpretrain[key.replace('norm.', 'ln1.') if key.startswith('norm.') else key] = value
    for weights, fresh in ((mae, ['norm.', 'pyramid.0.', 'pyramid.1.']), (mmpretrain, ['pyramid.0.', 'pyramid.1.'])):
        backbone = make()
        assert load(backbone, weights) == fresh
        for key, value in backbone.state_dict().items():
            if not key.startswith(tuple(fresh)):
                assert torch.equal(value, official.state_dict()[key]), key


def test_smaller_patches_and_other_tables_are_resized_and_keep_their_answers():
    weights = trunk()
    weights['patch_embed.proj.weight'] = F.interpolate(weights['patch_embed.proj.weight'], (14, 14), mode='area')
    weights['pos_embed'] = weights['pos_embed'][:, :1].expand(1, 37, 64)  # one position everywhere, 6 x 6 and a token
    backbone = make()
    load(backbone, weights)
    # a picture of one colour, as large in patches
    theirs = F.conv2d(torch.ones(1, 3, 14, 14, dtype=torch.float64), weights['patch_embed.proj.weight'])
    ours = F.conv2d(torch.ones(1, 3, 16, 16, dtype=torch.float64), backbone.patch_embed.proj.weight)
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
    torch.testing.assert_close(backbone.patch_embed.pos_embed[0, :, 2, 1], weights['pos_embed'][0, 0])


def test_patches_of_another_size_have_the_same_strides_and_refuse_each_others_kernels():
    for patch_size, channels in ((8, (32, 64, 64, 64)), (32, (8, 16, 32, 64))):
        backbone = make(patch_size=patch_size)
        assert (backbone.out_channels, backbone.out_strides) == (channels, (4, 8, 16, 32))
        assert [tuple(out.shape[1:]) for out in backbone(torch.randn(1, 3, 33, 47, dtype=torch.float64))
                ] == [(count, -(-33 // stride), -(-47 // stride)) for count, stride in zip(channels, (4, 8, 16, 32))]
        with pytest.raises(CheckpointError, match='1 of another shape: patch_embed.proj.weight is'):
            load(backbone, trunk())


def test_the_finest_map_of_large_patches_is_three_transposed_convolutions():
    backbone = make(patch_size=32)
    first, norm, gelu, second, norm2, _, third = backbone.pyramid['0']
    x = torch.randn(1, 64, 2, 3, dtype=torch.float64)
    steps = gelu(norm(first(x)))
    assert steps.shape == (1, 32, 4, 6) and norm2(second(steps)).shape == (1, 16, 8, 12)
    torch.testing.assert_close(backbone.pyramid['0'](x), third(gelu(norm2(second(steps)))))
    assert isinstance(backbone.pyramid['3'], nn.Identity) and len(backbone.pyramid['2']) == 1


def test_an_image_over_the_edge_of_its_patches_is_one_with_zeros_behind_it():
    backbone = make()
    x = torch.randn(2, 3, 33, 47, dtype=torch.float64)
    whole = backbone(F.pad(x, (0, 1, 0, 15)))
    for out, map_ in zip(backbone(x), whole):
        torch.testing.assert_close(out, map_[..., :out.shape[2], :out.shape[3]])


def test_the_trunk_is_whole_whatever_levels_are_chosen_and_its_stages_freeze():
    backbone = make(out_indices=0, frozen_stages=4).train()
    assert [len(getattr(backbone, name)) for name in backbone.stage_names] == [1, 1, 1, 1]
    assert (backbone.out_channels, backbone.out_strides) == ((16, ), (4, ))
    learning = {key.split('.')[0] for key, value in backbone.named_parameters() if value.requires_grad}
    assert learning == {'norm', 'pyramid'}


def test_depths_for_layer_decay_run_from_patches_to_pyramid():
    backbone = make()
    keys = ('patch_embed.pos_embed', 'layer1.0.norm1.weight', 'layer4.0.mlp.fc1.bias', 'norm.bias',
            'pyramid.0.0.weight')
    assert [backbone.get_layer_depth(key) for key in keys] == [(0, 6), (1, 6), (4, 6), (5, 6), (5, 6)]


@pytest.mark.parametrize('arguments, message', [
    (dict(arch='giant'), "VisionTransformer: no arch='giant'; choose from 'small', 'base', 'large', 'huge'"),
    (dict(img_size=100), 'img_size=100 is the training size and must be a multiple of 16'),
    (dict(patch_size=14), 'patch_size=14 must be a stride that a detector can use: 4, 8, 16, 32'),
    (dict(arch={
        **TINY, 'depth': 6
    }), 'depth=6 of 4, the number of stages'),
    (dict(arch={
        **TINY, 'num_heads': 5
    }), 'and of num_heads=5'),
])
def test_unfit_variants_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
