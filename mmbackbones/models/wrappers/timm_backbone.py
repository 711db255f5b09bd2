"""Any network of timm that gives maps at strides 4, 8, 16 (and 32), behind the contract of our backbones.

Origin of the networks: huggingface/pytorch-image-models (``pip install timm``, Apache-2.0), each with its own paper.
Different from ``timm.create_model(..., features_only=True)``, which gives the same maps:

- Stages are counted from stride 4. All up to the stride-2 map is the stem; where a network has no such map the stem is
  what comes before the blocks of the first stage. What lies between two maps belongs to the later stage.
- Any image size. Most networks give ``ceil(size / stride)`` by themselves. Others (floor pooling, attention in fixed
  blocks) get the image padded at the right and bottom with zeros, and the maps are cropped.
- Networks whose first convolutions have no padding (Inception, Xception) have maps that are smaller than the image over
  the stride, by more at each layer. Here every such convolution and pooling gets the padding that keeps the size. The
  weights are timm's, the maps are not: they differ near the border.
- Nothing behind the last output is kept, whatever the class of timm's extractor.
- Maps are always (N, C, H, W), and loading is strict.

timm is an extra: this module can be imported without it, and says how to get it when a backbone is built.
"""
import difflib
import os
import sys
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ...weights import CheckpointError, read_checkpoint
from ...weights.addresses import cache_file, fetch
from .._base import BaseBackbone, choose_weights
from .chain import STRIDES, group_layers
from .keep_sizes import keep_sizes

__all__ = ['TimmBackbone', 'expected_pixels', 'pretrained_tags']

SCHEME = 'timm://'
# timm's extractors that run a network's children one after the other, as this module does
CHAIN_EXTRACTORS = ('FeatureListNet', 'EfficientNetFeatures', 'MobileNetV3Features')
# networks that timm taps with hooks, but which are chains too, NASNet one of pairs of maps
OTHER_CHAINS = ('Xception', 'NASNetALarge')
# stages that do no more than run their children in order: their blocks are checkpointed and counted one by one
CHAIN_STAGES = ('ConvNeXtStage', 'SwinTransformerStage', 'DarkStage', 'RegStage')
# what timm leaves to the caller, by the start of the name: Swin takes images of one size without it, and timm sets the
# epsilon that FBNet-C was trained with only where it loads the weights itself
NEEDED_ARGS = {
    'swin_': dict(strict_img_size=False),
    'swinv2_': dict(strict_img_size=False),
    'fbnetc_': dict(bn_eps=1e-3)
}
OWN_ARGS = ('features_only', 'out_indices', 'feature_cls', 'pretrained', 'checkpoint_path', 'num_classes')
# functions of timm's model files that turn the authors' names into timm's
FILTERS = ('checkpoint_filter_fn', '_filter_fn', '_filter_torchvision_pretrained')


def _import_timm():
    try:
        import timm
    except ImportError:
        raise ImportError("timm is not installed, and this backbone is one of timm's: pip install 'mmbackbones[timm]' "
                          "(or pip install 'timm>=1.0.31,<1.1')") from None
    return timm


def pretrained_tags(model_name: str) -> List[str]:
    """Names of the pretrained weights that timm publishes for a network.

    Args:
        model_name: such as ``'resnet50'``; a tag behind a point is ignored.

    Returns:
        list[str]: such as ``'resnet50.a1_in1k'``, what ``pretrained`` of the backbone may be; with ``timm://`` before
        it, a ``checkpoint`` of ``init_cfg``.
    """
    timm = _import_timm()
    return timm.list_pretrained(f'{model_name.split(".")[0]}.*')


def expected_pixels(name: str) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Mean and deviation of the pixels that weights of timm expect: red, green, blue, from 0 to 255.

    Args:
        name: such as ``'resnet50.a1_in1k'``; without a tag, timm's default one.
    """
    config = _import_timm().get_pretrained_cfg(name)
    return tuple(255 * value for value in config.mean), tuple(255 * value for value in config.std)


def _locate(pretrained: str, model_name: str) -> str:
    """What ``pretrained`` names, as a ``checkpoint`` of ``init_cfg``; nothing is downloaded or opened here.

    Args:
        pretrained: a tag, with or without the network's name before it, or else a file or an address. What could be a
            tag must be a file that is there.
        model_name: the network.

    Raises:
        ValueError: a tag that timm does not have.
    """
    network = model_name.split('.')[0]
    name = pretrained.removeprefix(SCHEME)
    names = pretrained_tags(model_name)
    for known in (name, f'{network}.{name}'):
        if known in names:
            return f'{SCHEME}{known}'
    head, point, _ = name.partition('.')
    is_tag = not point or _import_timm().is_model(head)
    if '/' in name or os.path.isfile(name) or not is_tag:
        return pretrained
    tags = ', '.join(known.partition('.')[2] for known in names)
    raise ValueError(f'TimmBackbone: no file {pretrained!r} is here, and timm has no such weights of {network}; it has '
                     f'{tags or "none"}')


def _create(model_name: str, model_args: dict, **kwargs) -> nn.Module:
    timm = _import_timm()
    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name.lower(), timm.list_models(), n=4, cutoff=0.5)
        hint = f'; did you mean {", ".join(near)}?' if near else '; timm.list_models() lists them'
        raise ValueError(f'TimmBackbone: timm {timm.__version__} has no network {model_name!r}{hint}')
    needed = next((args for start, args in NEEDED_ARGS.items() if model_name.startswith(start)), {})
    return timm.create_model(model_name, **{**needed, **model_args}, **kwargs)


class _Cell(nn.Module):
    """A layer of NASNet, which sees the outputs of the two before it: ``(x, previous) -> (x, previous)``.

    Args:
        cell: timm's layer.
        takes: which of the pair it takes, in its own order.
        reduces: a reduction cell: the next cell sees the same previous map again.
    """

    def __init__(self, cell: nn.Module, takes: Tuple[int, ...], reduces: bool):
        super().__init__()
        self.cell, self.takes, self.reduces = cell, takes, reduces

    def forward(self, pair):
        pair = pair if isinstance(pair, tuple) else (pair, pair)
        x = self.cell(*(pair[index] for index in self.takes))
        return x, pair[self.reduces]


def _chain(net: nn.Module) -> List[Tuple[str, nn.Module]]:
    """The modules that a network runs one after the other, with their names; what is behind the features included."""
    chain = []
    nasnet = type(net).__name__ == 'NASNetALarge'

    def unfold(name: str, module: nn.Module) -> None:
        if type(module).forward is nn.Sequential.forward or type(module).__name__ in CHAIN_STAGES:
            for child_name, child in module.named_children():
                unfold(f'{name}.{child_name}', child)
        elif nasnet:
            takes = (1, 0) if name == 'cell_stem_1' else (0, 1) if 'cell_' in name and name != 'cell_stem_0' else (0, )
            chain.append((name, _Cell(module, takes, name.startswith('reduction'))))
        else:
            chain.append((name, module))

    for name, module in net.named_children():
        unfold(name, module)
    return chain


class _Map(NamedTuple):
    """Where a map is taken: behind the last module whose name is ``module`` or begins with it."""
    module: str
    channels: int
    stride: int


def _cut(net: nn.Module, taps: Sequence[_Map], stem_tap: Optional[str]) -> Tuple[List[List[nn.Module]], List[bool]]:
    """Cut the chain of a network at its maps.

    Returns:
        tuple: the modules of the stem and of each stage, and for each stage whether its map is the rectified output.
    """
    chain = _chain(net)
    names = [name for name, _ in chain]

    def end(tap: str) -> Tuple[int, bool]:
        inside = [index for index, name in enumerate(names) if name == tap or name.startswith(f'{tap}.')]
        if inside:
            return inside[-1] + 1, False
        # the first layer of a block, a ReLU, makes the map from the output of the block before it
        return next(index for index, name in enumerate(names) if tap.startswith(f'{name}.')), True

    ends = [end(tap.module) for tap in taps]
    if stem_tap:
        first = end(stem_tap)[0]
    else:  # before the first of the modules whose output is the first map
        first = next(index for index, name in enumerate(names) if name.startswith(taps[0].module))
    bounds = [0, first, *(position for position, _ in ends)]
    return ([[module for _, module in chain[start:stop]]
             for start, stop in zip(bounds, bounds[1:])], [rectified for _, rectified in ends])


class _Plan(NamedTuple):
    """How a network of timm becomes a backbone; found once for each network, on the meta device.

    Attributes:
        maps: the maps at strides 4, 8, ..., of timm's own figures.
        stem_tap: module that gives the stride-2 map, the end of the stem.
        concat: a map of several parts is their concatenation instead of the first.
        channels_last: maps are (N, H, W, C).
        adds_padding: convolutions get padding.
        multiple: the image is padded to multiples of this many pixels; 1 where that is not needed.
    """
    maps: Tuple[_Map, ...]
    stem_tap: Optional[str]
    concat: bool
    channels_last: bool
    adds_padding: bool = False
    multiple: int = 1


_PLANS: Dict[str, _Plan] = {}


def _read_features(model_name: str, model_args: dict) -> _Plan:
    """What timm says of a network's maps."""
    try:
        features = _create(model_name, model_args, features_only=True)
    except (RuntimeError, AttributeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f'TimmBackbone: timm cannot give the maps of {model_name}: {error}') from error
    extractor, info = type(features).__name__, features.feature_info.get_dicts()
    strides = sorted({entry['reduction'] for entry in info})
    if len(strides) == 1:
        raise ValueError(
            f'TimmBackbone: {model_name} has maps at stride {strides[0]} alone. The vision transformers of '
            'the catalogue have a feature pyramid: `mmbackbones list --family vit`')
    if extractor not in CHAIN_EXTRACTORS:
        body = type(getattr(features, 'body', features)).__name__
        if body not in OTHER_CHAINS:
            raise ValueError(f'TimmBackbone: {model_name} ({body}) does not run its parts one after the other, so '
                             'there is nothing to cut into stages; `mmbackbones list` shows what works')
    by_stride = {entry['reduction']: _Map(entry['module'], entry['num_chs'], entry['reduction']) for entry in info}
    maps = tuple(by_stride[stride] for stride in STRIDES if stride in by_stride)
    if [each.stride for each in maps] not in ([4, 8, 16], [4, 8, 16, 32]):
        raise ValueError(f'TimmBackbone: {model_name} has maps at strides {", ".join(map(str, by_stride))}; a detector '
                         'needs 4, 8, 16 and, where there is one, 32. `mmbackbones list` shows what works')
    return _Plan(
        maps,
        stem_tap=by_stride[2].module if 2 in by_stride else None,
        concat=getattr(features, 'concat', False),
        channels_last=getattr(features, 'output_fmt', 'NCHW') == 'NHWC')


@MODELS.register_module()
class TimmBackbone(BaseBackbone):
    """A network of timm.

    Args:
        model_name: as ``timm.create_model`` takes it.
        model_args: further arguments of ``timm.create_model``, such as ``dict(drop_path_rate=0.1)``. Defaults to None.
        out_indices, frozen_stages, norm_eval, with_cp: see :class:`BaseBackbone`; stage 0 is the one at stride 4.
        pretrained: a tag of timm's (``'a1_in1k'`` or ``'resnet50.a1_in1k'``), looked for in the caches of Hugging Face
            and torch hub and then downloaded, or a file. Short for ``init_cfg``. Defaults to None: initialised as timm
            does.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes, besides what other backbones take, checkpoints of
            timm's whole classifier (``.pth``, ``.safetensors``) and ``timm://resnet50.a1_in1k``.

    Raises:
        ImportError: timm is not there.
        ValueError: timm has no such network or no such weights, it has no maps at strides 4, 8 and 16, or both
            ``pretrained`` and ``init_cfg`` are given.
    """
    stem_names = ('stem', )
    convert_state_dict = staticmethod(dict)

    def __init__(self,
                 model_name: str,
                 model_args: Optional[dict] = None,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 pretrained: Optional[str] = None,
                 init_cfg: Optional[dict] = None):
        model_args = dict(model_args or {})
        refused = sorted(set(OWN_ARGS) & set(model_args))
        if refused:
            raise ValueError(f'TimmBackbone: model_args has {", ".join(refused)}; the backbone decides that '
                             'itself. For outputs there is out_indices, for weights pretrained')
        init_cfg = choose_weights(type(self).__name__, pretrained, init_cfg)
        plan = self._make_plan(model_name, model_args)
        if pretrained is not None:
            init_cfg['checkpoint'] = _locate(pretrained, model_name)
        super().__init__(len(plan.maps), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.model_name, self.model_args = model_name, model_args
        self._build(_create(model_name, model_args), plan)
        self.train()

    def _build(self, net: nn.Module, plan: _Plan) -> None:
        self.plan = plan
        timm_names = {module: name for name, module in net.named_modules()}
        (stem, *stages), self.rectified = _cut(net, plan.maps, plan.stem_tap)
        self.stem = group_layers(stem)
        for modules, each in zip(stages[:self.num_built_stages], plan.maps):
            self.add_stage(group_layers(modules), each.channels, each.stride)
        if plan.adds_padding:
            keep_sizes(self)
        ours = {timm_names[module]: name for name, module in self.named_modules() if module in timm_names}
        # timm's name of every weight of the network -> ours, or None for what is left out
        self.timm_keys: Dict[str, Optional[str]] = {}
        for key in net.state_dict():
            owner, _, leaf = key.rpartition('.')
            self.timm_keys[key] = f'{ours[owner]}.{leaf}' if owner in ours else None

    @classmethod
    def _make_plan(cls, model_name: str, model_args: dict) -> _Plan:
        """Look up or find out what a network needs for maps of exactly ceil(size / stride)."""
        key = repr((model_name, sorted(model_args.items())))
        if key in _PLANS:
            return _PLANS[key]
        with torch.device('meta'):
            plan = _read_features(model_name, model_args)
            probe = cls.__new__(cls)
            BaseBackbone.__init__(probe, len(plan.maps), range(len(plan.maps)))
            probe._build(_create(model_name, model_args), plan)
        probe.eval()
        for adds_padding in (False, True):
            if adds_padding:
                keep_sizes(probe)
            for multiple in (1, 32, 64, 128, 256):
                probe.plan = plan._replace(adds_padding=adds_padding, multiple=multiple)
                if probe._has_exact_sizes():
                    _PLANS[key] = probe.plan
                    return probe.plan
        raise ValueError(f'TimmBackbone: {model_name} works at one image size only (its tables are fixed when it is '
                         'built), and a detector has images of many; `mmbackbones list` shows what works')

    @torch.no_grad()
    def _has_exact_sizes(self) -> bool:
        """Whether the maps are as large as they must be, where every layer halves even numbers, and odd ones."""
        multiple = self.plan.multiple
        for height, width in ((32, 64), (33, 47)) if multiple == 1 else ((multiple, 2 * multiple), ):
            try:
                maps = self(torch.empty(1, 3, height, width, device='meta'))
            except (RuntimeError, AssertionError, ValueError):  # it takes no such size
                return False
            expected = [(1, each.channels, (height + each.stride - 1) // each.stride,
                         (width + each.stride - 1) // each.stride) for each in self.plan.maps]
            if [tuple(each.shape) for each in maps] != expected:
                return False
        return True

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> ``(N, C, ceil(H / 2), ceil(W / 2))``, or whatever the first stage takes."""
        return self.stem(x)

    def forward_output(self, index: int, x: Union[Tensor, Tuple[Tensor, ...]]) -> Tensor:
        if isinstance(x, tuple):
            x = torch.cat(x, 1) if self.plan.concat else x[0]
        if self.rectified[index]:
            x = F.relu(x)
        return x.permute(0, 3, 1, 2).contiguous() if self.plan.channels_last else x

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        height, width = x.shape[2:]
        pad = [0, -width % self.plan.multiple, 0, -height % self.plan.multiple]
        if not any(pad):
            return super().forward(x)
        maps = super().forward(F.pad(x, pad))
        return tuple(each[:, :, :(height + stride - 1) // stride, :(width + stride - 1) // stride]
                     for each, stride in zip(maps, self.out_strides))

    def read_weights(self, source: str) -> dict:
        """A file, an address, or ``timm://`` and the name of weights that timm publishes.

        Raises:
            CheckpointError: it cannot be found or read.
        """
        source = os.fspath(source)
        return _read_timm(source[len(SCHEME):], self.model_name) if source.startswith(SCHEME) else \
            read_checkpoint(source)

    def to_own_names(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """From timm's names, or its authors', where those are more than ours, to ours."""
        own = self.state_dict().keys() & state_dict.keys()
        return state_dict if len(own) > len(self.timm_keys.keys()
                                            & state_dict.keys()) else self.convert_timm(state_dict)

    def convert_timm(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """From the names of timm's whole network, or of its authors where timm can read them, to ours.

        Left out are the weights that timm's network has and this backbone has not: the classifier and what else is
        behind the last output. Names that timm's network does not have stay, and loading refuses them.
        """
        with torch.device('meta'):
            net = _create(self.model_name, self.model_args)
        home = sys.modules[type(net).__module__]
        convert = next((getattr(home, name) for name in FILTERS if hasattr(home, name)), None)
        if convert is not None:
            arguments = (dict(state_dict), net)[:convert.__code__.co_argcount]
            try:
                state_dict = convert(*arguments)
            except (AttributeError, KeyError, RuntimeError, ValueError) as error:
                raise CheckpointError(f'these are not weights of {self.model_name}: timm meets '
                                      f'{type(error).__name__}: {error}') from error
        return {
            self.timm_keys.get(key, key): value
            for key, value in state_dict.items() if self.timm_keys.get(key, key) is not None
        }


def _read_timm(name: str, model_name: str) -> dict:
    """Find weights that timm publishes: in Hugging Face's cache, in torch hub's, and then on the network.

    Args:
        name: such as ``'resnet50.a1_in1k'``.
        model_name: the network that they are for.

    Raises:
        CheckpointError: no such weights, weights of another network, or neither here nor to be had.
    """
    from huggingface_hub import try_to_load_from_cache
    timm = _import_timm()
    names = pretrained_tags(model_name)
    if name not in names:
        raise CheckpointError(f'timm has no weights {name!r} of {model_name}; it has {", ".join(names) or "none"}')
    config = timm.get_pretrained_cfg(name)
    places = []
    if config.hf_hub_id:
        for file in ('model.safetensors', 'pytorch_model.bin'):
            found = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(found, str):
                return read_checkpoint(found)
        places.append(f'Hugging Face ({config.hf_hub_id})')
    if config.url:
        if os.path.isfile(cache_file(config.url)):
            return read_checkpoint(cache_file(config.url))
        places.append(config.url)
    try:
        if config.hf_hub_id:
            from huggingface_hub import hf_hub_download
            file = hf_hub_download(config.hf_hub_id, 'model.safetensors')
        else:
            file = fetch(config.url)
    except OSError as error:  # what both raise where there is no network
        raise CheckpointError(
            f'the weights {SCHEME}{name} are neither in the cache of this machine nor to be had from '
            f'{" or ".join(places)} ({type(error).__name__}). Download the file where there is a network, and give its '
            "path: pretrained='model.safetensors'") from error
    return read_checkpoint(file)
