"""Networks of torchvision and MMPretrain: their weights in, their maps out."""
from typing import NamedTuple
from urllib.error import URLError

import pytest
import torch
from cases import build
from mmengine.registry import MODELS
from torch import nn

from mmbackbones.cli import main
from mmbackbones.models import torchvision_tags
from mmbackbones.models.wrappers.keep_sizes import keep_sizes
from mmbackbones.weights import CheckpointError


class Theirs(NamedTuple):
    """A library's network: the modules that give the maps of the first stages, and the padding that it needs."""
    maps: tuple
    padding: dict = {}


BACKBONES = {
    'shufflenet_v2_x0_5': Theirs(('maxpool', 'stage2', 'stage3', 'conv5')),
    'shufflenet_v1_x0_5_g3': Theirs(('maxpool', 'layers.0', 'layers.1', 'layers.2')),
    'alexnet': Theirs(('features.1', 'features.4', 'features.11', 'features.12'), {
        'features.0': 5, 'features.2': 1, 'features.5': 1, 'features.12': 1}),
    'squeezenet1_0': Theirs(('features.5', 'features.10', 'features.12'), {'features.0': 3}),
    'squeezenet1_1': Theirs(('features.4', 'features.7', 'features.12'), {'features.0': 1}),
    'googlenet': Theirs(('conv3', 'inception3b', 'inception4e', 'inception5b')),
    'torchvision resnet18': Theirs(('layer1', 'layer2', 'layer3', 'layer4')),
    'mmdet RegNet': Theirs(('layer1', 'layer2', 'layer3', 'layer4')),
    'lenet5': Theirs(('features.7', ), {'features.0': 2, 'features.3': 2, 'features.6': 2}),
}  # yapf: disable
ADDED = {'squeezenet1_0': 'layer4.', 'squeezenet1_1': 'layer4.', 'lenet5': 'layer2., layer3., layer4.'}

# not in the catalogue: any network can be cut whose modules run one after the other
OTHERS = {
    'torchvision resnet18': dict(type='mmbackbones.TorchvisionBackbone', model_name='resnet18'),
    'mmdet RegNet':
    dict(type='mmbackbones.OpenMMLabBackbone', backbone=dict(type='mmdet.RegNet', arch='regnetx_400mf')),
}


def ours_of(name, **kwargs):
    return MODELS.build({**OTHERS[name], **kwargs}) if name in OTHERS else build(name, **kwargs)


def library_network(name):
    if name == 'mmdet RegNet':
        return MODELS.build(OTHERS[name]['backbone'])
    if name == 'lenet5':
        net = MODELS.build(dict(type='mmpretrain.LeNet5'))
        net.features[0] = nn.Conv2d(3, 6, kernel_size=5)
        return net
    if name.startswith('shufflenet_v1'):
        return MODELS.build(dict(type='mmpretrain.ShuffleNetV1', groups=3, widen_factor=0.5))
    from torchvision.models import get_model
    return get_model(name.split()[-1], weights=None, **(dict(init_weights=True) if name == 'googlenet' else {}))


@pytest.fixture
def log(monkeypatch):
    """What a backbone says on loading."""
    lines = []
    monkeypatch.setattr('mmbackbones.models._base.print_log', lambda line, **_: lines.append(line))
    return lines


@pytest.mark.parametrize('name', BACKBONES)
def test_weights_of_the_library_give_the_maps_of_the_library(name, tmp_path, log):
    torch.manual_seed(0)
    theirs = library_network(name)
    theirs.eval()  # MMPretrain's returns None
    for part, padding in BACKBONES[name].padding.items():
        theirs.get_submodule(part).padding = (padding, padding)
    path = tmp_path / 'theirs.pth'
    torch.save(theirs.state_dict(), path)
    ours = ours_of(name, pretrained=str(path)).eval()
    ours.init_weights()
    said = f'; not in it, so as initialised: {ADDED[name]}' if name in ADDED else ''
    total = len([key for key in ours.state_dict() if not key.endswith('num_batches_tracked')])
    added = len([key for key in ours.state_dict() if key.startswith(tuple(ADDED.get(name, '-').split(', ')))])
    assert log == [f'{type(ours).__name__}: loaded {path}: {total - added} of {total}{said}']
    maps = []
    for part in BACKBONES[name].maps:  # cloned: what follows may be in place
        theirs.get_submodule(part).register_forward_hook(lambda module, x, out: maps.append(out.clone()))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        theirs(x)
        outs = ours(x)
    assert all(torch.equal(out, map) for out, map in zip(outs, maps, strict=name not in ADDED))
    weights = theirs.state_dict()
    weights.pop(next(iter(weights)))
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match='1 missing: (stem|layer1)'):
        ours_of(name).load_pretrained(str(path))


@pytest.mark.parametrize('layer', [
    nn.Conv2d(1, 1, 7, stride=2),
    nn.Conv2d(1, 1, 11, stride=4, padding=2),
    nn.Conv2d(1, 1, (1, 7), padding=(0, 3)),
    nn.MaxPool2d(3, stride=2),
    nn.MaxPool2d(3, stride=2, ceil_mode=True),
    nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(2),
], ids=str)  # yapf: disable
def test_padding_makes_maps_of_size_over_stride_and_adds_no_maximum(layer):
    keep_sizes(layer)
    stride = layer.stride[0] if isinstance(layer.stride, tuple) else layer.stride
    for height, width in ((11, 12), (12, 13), (15, 21)):
        out = layer(torch.full((1, 1, height, width), -1.))
        assert out.shape == (1, 1, -(-height // stride), -(-width // stride))
        assert isinstance(layer, nn.Conv2d) or (out == -1).all()


@pytest.mark.parametrize('config, message', [
    (dict(type='mmbackbones.TorchvisionBackbone', model_name='resnet5'), "no network 'resnet5'; did you mean resnet"),
    (dict(type='mmbackbones.TorchvisionBackbone', model_name='vit_b_16'), 'VisionTransformer cannot be cut'),
    (dict(type='mmbackbones.OpenMMLabBackbone', backbone=dict(type='mmpretrain.VAN', arch='tiny')),
     'VAN cannot be cut into stages: its maps are not what the modules give'),
    (dict(type='mmbackbones.OpenMMLabBackbone', backbone=dict(type='mmdet.ResNet', depth=18, out_indices=(3, ))),
     'backbone has out_indices; give that to OpenMMLabBackbone itself'),
    (dict(type='mmbackbones.TorchvisionBackbone', model_name='squeezenet1_1', pretrained='a.pth',
          init_cfg=dict(type='Pretrained', checkpoint='b.pth')), "pretrained='a.pth' and init_cfg=.* give one"),
])  # yapf: disable
def test_what_cannot_be_built_is_refused_with_the_choices(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_published_weights_are_taken_by_name_from_the_cache(tmp_path, monkeypatch):

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr('urllib.request.urlopen', no_network)
    assert torchvision_tags('squeezenet1_1') == ['IMAGENET1K_V1']
    backbone = build('squeezenet1_1', pretrained='IMAGENET1K_V1')
    with pytest.raises(CheckpointError, match='not in the cache .* put it at .*/squeezenet1_1-b8a52dc0.pth, or give'):
        backbone.init_weights()
    with pytest.raises(CheckpointError, match='no such file .* it has IMAGENET1K_V1'):
        backbone.load_pretrained('IMAGENET1K_V9')
    weights = library_network('squeezenet1_1').state_dict()
    (tmp_path / 'checkpoints').mkdir()
    torch.save(weights, tmp_path / 'checkpoints' / 'squeezenet1_1-b8a52dc0.pth')
    backbone.init_weights()
    assert torch.equal(next(backbone.stem.parameters()), weights['features.0.weight'])


def test_info_names_the_weights_that_torchvision_publishes(capsys):
    assert main(['info', 'squeezenet1_1']) == 0
    assert capsys.readouterr().out.endswith("one of these in the backbone:\n\npretrained='IMAGENET1K_V1'\n")
