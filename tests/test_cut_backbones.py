"""Networks of torchvision and MMPretrain: their weights in, their maps out."""
import pytest
import torch
from cases import build
from mmengine.registry import MODELS

from mmbackbones.weights import CheckpointError

BACKBONES = {
    'shufflenet_v2_x0_5': ('stage2', 'stage3', 'conv5'),
    'shufflenet_v1_x0_5_g3': ('layers.0', 'layers.1', 'layers.2'),
}


def library_network(name):
    if name.startswith('shufflenet_v2'):
        from torchvision.models import get_model
        return get_model(name, weights=None)
    return MODELS.build(dict(type='mmpretrain.ShuffleNetV1', groups=3, widen_factor=0.5))


@pytest.mark.parametrize('name', BACKBONES)
def test_weights_of_the_library_give_the_maps_of_the_library(name, tmp_path):
    torch.manual_seed(0)
    theirs = library_network(name)
    theirs.eval()  # MMPretrain's returns None
    path = tmp_path / 'theirs.pth'
    torch.save(theirs.state_dict(), path)
    ours = build(name, init_cfg=dict(type='Pretrained', checkpoint=str(path))).eval()
    ours.init_weights()
    maps = {}
    for part in BACKBONES[name]:
        theirs.get_submodule(part).register_forward_hook(lambda module, x, out, part=part: maps.update({part: out}))
    x = torch.randn(1, 3, 70, 96)
    with torch.no_grad():
        theirs(x)
        outs = ours(x)
    assert all(torch.equal(out, maps[part]) for out, part in zip(outs[1:], BACKBONES[name]))
    weights = theirs.state_dict()
    weights.pop(next(key for key in weights if key.endswith('running_mean')))
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match='1 missing: stem'):
        build(name).load_pretrained(str(path))


@pytest.mark.parametrize('config, message', [
    (dict(type='mmbackbones.TorchvisionBackbone', model_name='resnet50'), "no 'resnet50'; choose from shufflenet"),
    (dict(type='mmbackbones.OpenMMLabBackbone', backbone=dict(type='mmdet.ResNet', depth=50)), "no 'mmdet.ResNet'"),
])  # yapf: disable
def test_networks_that_are_not_cut_are_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)
