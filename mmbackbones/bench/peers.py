"""What a backbone is measured against: the same network by another library, or the static form of a dynamic one.

A peer computes maps of the same shapes from the same images. Libraries that are not installed are missed only when
their peer is built.
"""
import importlib
import runpy
from functools import partial
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..catalogue import Backbone
from ..errors import InputError
from ..layers import static_conv
from ..models.dynamic_mobilenetv2 import DynamicMobileNetV2
from ..models.pvt import PyramidVisionTransformer, PyramidVisionTransformerV2
from ..models.swin import SwinTransformer

__all__ = ['KINDS', 'NchwMaps', 'Peer', 'Stages', 'build_peer', 'find_peers']

KINDS = {
    'static': 'the same architecture with ordinary convolutions',
    'mmdet': "MMDetection's network",
    'timm': "timm's network",
    'torchvision': "torchvision's network",
    'plain': 'the same network without the options: float32, contiguous, not compiled, blocks not recomputed',
}


class Peer(NamedTuple):
    """Something to measure a backbone against.

    Attributes:
        title: what it is, for tables.
        build: makes it from the shape of the images ``(N, 3, H, W)`` and whether blocks are recomputed.
        library: what must be installed for it.
        recomputes: whether it can recompute its blocks.
    """
    title: str
    build: Callable[[Sequence[int], bool], nn.Module]
    library: str = 'torch'
    recomputes: bool = False


class Stages(nn.Module):
    """Stages that run one after the other; the output of each is a map. Gives a tuple of ``(N, C_i, H_i, W_i)``.

    Args:
        stages: modules.
        channels_last: they hand each other ``(N, H, W, C)``.
    """

    def __init__(self, stages: Sequence[nn.Module], channels_last: bool = False):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2) if self.channels_last else x)
        return tuple(maps)


def _torchvision_resnet(depth: int, shape, with_cp) -> nn.Module:
    from torchvision.models import get_model
    net = get_model(f'resnet{depth}', weights=None)
    stem = (net.conv1, net.bn1, net.relu, net.maxpool)
    return Stages([nn.Sequential(*stem, net.layer1), net.layer2, net.layer3, net.layer4])


def _torchvision_swin(name: str, shape, with_cp) -> nn.Module:
    from torchvision.models import get_model
    parts = get_model(name, weights=None).features  # patches, stage, merging, stage, ...
    return Stages([parts[index:index + 2] for index in range(0, len(parts), 2)], channels_last=True)


class NchwMaps(nn.Module):
    """A network whose maps are ``(N, H, W, C)``, as a view of ``(N, C, H, W)``."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        return tuple(each.permute(0, 3, 1, 2) for each in self.net(x))


def _timm(name: str, shape, with_cp, **kwargs) -> nn.Module:
    import timm
    if name.startswith('swin'):  # for this size alone, so that its masks are made once
        return NchwMaps(timm.create_model(name, features_only=True, img_size=tuple(shape[2:]), **kwargs))
    return timm.create_model(name, features_only=True, **kwargs)


def _mmdet(config: dict, shape, with_cp) -> nn.Module:
    return MODELS.build({**config, 'with_cp': True} if with_cp else dict(config))


def _from_mmdet(name: str, recomputes: bool = True, **kwargs) -> Peer:
    return Peer(f"mmdet's {name}", partial(_mmdet, {'type': f'mmdet.{name}', **kwargs}), 'mmdet', recomputes)


def _resnet(config: dict) -> Dict[str, Peer]:
    depth = config['depth']
    return dict(
        static=Peer(f"torchvision's resnet{depth}", partial(_torchvision_resnet, depth), 'torchvision'),
        mmdet=_from_mmdet('ResNet', depth=depth, norm_eval=False),
        timm=Peer(f"timm's resnet{depth}", partial(_timm, f'resnet{depth}', out_indices=(1, 2, 3, 4)), 'timm'))


def _static_mobilenet(width: float, shape, with_cp) -> nn.Module:
    return DynamicMobileNetV2(width, static_conv, with_cp=with_cp)


def _mobilenet(config: dict) -> Dict[str, Peer]:
    width = config['widen_factor']
    return dict(
        static=Peer(
            f'our MobileNetV2 {width} with static convolutions', partial(_static_mobilenet, width), recomputes=True),
        mmdet=_from_mmdet('MobileNetV2', widen_factor=width, out_indices=(1, 2, 4, 7)))


def _swin(config: dict) -> Dict[str, Peer]:
    name, window = config['arch'], config.get('window_size', 7)
    timm_name = f'swin_{name}_patch4_window{window}_{224 if window == 7 else 384}'
    peers = dict(
        mmdet=_from_mmdet('SwinTransformer', window_size=window, **SwinTransformer.arch_settings[name]),
        timm=Peer(f"timm's {timm_name}", partial(_timm, timm_name), 'timm'))
    if name != 'large' and window == 7:
        peers['torchvision'] = Peer(f"torchvision's swin_{name[0]}", partial(_torchvision_swin, f'swin_{name[0]}'),
                                    'torchvision')
    return peers


def _mmdet_pvt(name: str, arch: dict) -> Peer:
    return _from_mmdet(
        name,
        recomputes=False,
        embed_dims=arch['embed_dims'][0],
        num_layers=arch['depths'],
        **{key: arch[key]
           for key in ('num_heads', 'mlp_ratios', 'sr_ratios')})


def _pvt(config: dict) -> Dict[str, Peer]:
    arch = PyramidVisionTransformer.arch_settings[config['arch']]
    return dict(mmdet=_mmdet_pvt('PyramidVisionTransformer', arch))


def _pvtv2(config: dict) -> Dict[str, Peer]:
    arch, timm_name = PyramidVisionTransformerV2.arch_settings[config['arch']], f'pvt_v2_{config["arch"]}'
    peers = dict(timm=Peer(f"timm's {timm_name}", partial(_timm, timm_name), 'timm'))
    if arch['pool_size'] is None:  # MMDetection has no linear attention
        peers['mmdet'] = _mmdet_pvt('PyramidVisionTransformerV2', arch)
    return peers


def _dsnet(config: dict) -> Dict[str, Peer]:
    if config['arch'] == 'base':
        return {}
    # of the same channels and of nearly as many MACs: 1.9G and 1.8G (tiny), 3.8G and 3.5G (small)
    peer = _mmdet_pvt('PyramidVisionTransformer', PyramidVisionTransformer.arch_settings[config['arch']])
    return dict(mmdet=peer._replace(title=f"mmdet's PVT-{config['arch'].title()}, of nearly the same size"))


# class of the backbone -> its peers, from the config of its row
PEERS: Dict[str, Callable[[dict], Dict[str, Peer]]] = {
    **{
        f'mmbackbones.{name}ResNet': _resnet
        for name in ('ODConv', 'DyConv', 'CondConv')
    },
    **{
        f'mmbackbones.{name}MobileNetV2': _mobilenet
        for name in ('ODConv', 'DyConv', 'CondConv')
    },
    'mmbackbones.SwinTransformer': _swin,
    'mmbackbones.PyramidVisionTransformer': _pvt,
    'mmbackbones.PyramidVisionTransformerV2': _pvtv2,
    'mmbackbones.DSNet': _dsnet,
}


def _plain(config: dict, shape, with_cp) -> nn.Module:
    return MODELS.build(dict(config))


def find_peers(row: Backbone) -> Dict[str, Peer]:
    """The peers of a row of the catalogue by their kind, in the order of :data:`KINDS`. Each has ``plain``."""
    peers = PEERS.get(row.config['type'], lambda config: {})(row.config)
    peers['plain'] = Peer(f'{row.name} without options', partial(_plain, row.config), recomputes=True)
    return {kind: peers[kind] for kind in KINDS if kind in peers}


def _peer_of_file(path: str, config: dict) -> Peer:
    """A peer that a file of the user makes.

    Raises:
        InputError: there is no such file, or it defines no function ``build``.
    """
    if not Path(path).is_file():
        raise InputError(f'--against {path}: no such file')
    content = runpy.run_path(path)
    if not callable(content.get('build')):
        raise InputError(f'--against {path}: expected a function build(config, with_cp) in it, which gives a network '
                         "from the config of the backbone's row")
    return Peer(
        content['build'].__doc__ or Path(path).stem,
        lambda shape, with_cp: content['build'](dict(config), with_cp),
        recomputes=True)


def find_peer(row: Backbone, kind: str) -> Peer:
    """What to measure a backbone against.

    Args:
        row: of the backbone.
        kind: one of :data:`KINDS`, or a file that ends in ``.py`` and defines ``build(config, with_cp)``, a function
            from the config of the row to a network.

    Raises:
        InputError: there is no such peer; it lists those that there are.
    """
    if kind.endswith('.py'):
        return _peer_of_file(kind, row.config)
    peers = find_peers(row)
    if kind not in peers:
        raise InputError(f'{row.name} has no peer {kind!r}: nothing that there is computes the same maps; '
                         f'choose from {", ".join(peers)}, or name a file of your own (FILE.py)')
    return peers[kind]


def build_peer(row: Backbone, kind: str, shape: Sequence[int], with_cp: bool = False) -> nn.Module:
    """The network to measure a backbone against.

    Args:
        row: of the backbone.
        kind: as :func:`find_peer` takes it.
        shape: of the images, ``(N, 3, H, W)``.
        with_cp: recompute its blocks in the backward pass. ``plain`` never does.

    Raises:
        InputError: there is no such peer, or it cannot recompute blocks; it lists those that there are.
        ImportError: the library that it comes from is not installed.
    """
    peer = find_peer(row, kind)
    if with_cp and not peer.recomputes:
        able = [name for name, each in find_peers(row).items() if each.recomputes]
        raise InputError(f'{peer.title} cannot recompute its blocks; peers of {row.name} for --with-cp: '
                         f'{", ".join(able)}')
    try:
        importlib.import_module(peer.library)
    except ImportError:
        others = [name for name, each in find_peers(row).items() if each.library != peer.library]
        raise ImportError(f'{peer.library} is not installed, and {peer.title} is part of it; other peers of '
                          f'{row.name}: {", ".join(others)}') from None
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return peer.build(shape, with_cp)
