"""Swin Transformer: the checkpoints of others, tables of other windows, arguments out of range."""
import pytest
import torch
import torch.nn.functional as F
from cases import build
from mmengine.registry import MODELS
from upstream import FAMILIES, golden, seeded_state_dict, seeded_tensor

from mmbackbones.weights import CheckpointError

SMALL = FAMILIES['swin']
SETTINGS = dict(SMALL['arch'], window_size=SMALL['window_size'])

# The networks of the installed projects. MMPretrain's, like the authors' classifier, does not shift the windows of a
# map that is one window; MMDetection's shifts them, so its maps are larger here.
OTHERS = {
    'mmdet': (dict(type='mmdet.SwinTransformer', **SETTINGS), (192, 288)),
    'mmpretrain': (dict(
        type='mmpretrain.SwinTransformer',
        arch=SMALL['arch'],
        window_size=SMALL['window_size'],
        img_size=96,
        out_indices=(0, 1, 2, 3)), (96, 96)),
}


def load(tmp_path, weights, **kwargs):
    torch.save(weights, tmp_path / 'theirs.pth')
    backbone = build(**{**SMALL, **kwargs}).double()
    backbone.load_pretrained(str(tmp_path / 'theirs.pth'))
    return backbone.eval()


@pytest.mark.parametrize('project', OTHERS)
def test_backbones_of_other_projects_load_strictly_and_give_their_maps(project, tmp_path):
    config, size = OTHERS[project]
    theirs = MODELS.build(config).double()
    theirs.eval()  # not chained: MMDetection's returns None
    weights = {
        name: seeded_tensor(name, value.shape) if value.is_floating_point() else value
        for name, value in theirs.state_dict().items()
    }
    theirs.load_state_dict(weights)
    ours = load(tmp_path, dict(state_dict={f'backbone.{name}': value for name, value in weights.items()}))
    x = seeded_tensor('input', (2, 3, *size))
    with torch.no_grad():
        for mine, their in zip(ours(x), theirs(x)):
            assert ((mine - their).abs().max() / their.abs().max()) < 1e-12


@pytest.mark.parametrize('layout', ['swin_classifier', 'swin_timm'])
def test_classifiers_load_strictly_and_give_their_last_map(layout, tmp_path):
    weights = dict(model=seeded_state_dict(layout))
    backbone = load(tmp_path, weights)
    x, expected = golden(layout)
    with torch.no_grad():
        out = backbone(x)[-1]
    found = torch.tensor([[out.mean(), out.std(), out.abs().max()]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)
    # they have no norms for the finer maps, which stay as they were
    assert all((getattr(backbone, f'norm{index}').weight == 1).all() for index in range(3))
    assert not hasattr(load(tmp_path, weights, out_indices=-1), 'norm0')


def test_bias_tables_of_another_window_are_interpolated(tmp_path):
    weights = seeded_state_dict('swin')
    backbone = load(tmp_path, weights, window_size=5)
    table = weights['layers.1.blocks.0.attn.relative_position_bias_table']  # (5 * 5, 2)
    expected = F.interpolate(table.T.reshape(1, 2, 5, 5), (9, 9), mode='bicubic').reshape(2, 81).T
    assert torch.equal(backbone.layer2[1].attn.relative_position_bias_table, expected)
    weights['layers.1.blocks.0.attn.relative_position_bias_table'] = table[:7]
    with pytest.raises(CheckpointError, match=r'relative_position_bias_table is \(7, 2\), expected \(81, 2\)'):
        load(tmp_path, weights, window_size=5)


@pytest.mark.parametrize('arguments, message', [
    (dict(arch='huge'), "SwinTransformer: no arch='huge'; choose from 'tiny', 'small', 'base', 'large'"),
    (dict(window_size=0), 'window_size=0, but a window has at least one row'),
    (dict(drop_path_rate=1.), 'drop_path_rate=1.0 must be at least 0 and below 1'),
    (dict(arch=dict(SMALL['arch'], num_heads=(1, 2, 3, 8))), 'num_heads=3 of stage 2 must divide its 64 channels'),
])
def test_arguments_out_of_range_are_answered_with_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**{**SMALL, **arguments})
