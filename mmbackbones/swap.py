"""A catalogue backbone in the config of a detector or classifier, and everything else that must change with it.

Parts are known by their roles, not by a list of names: the config's own model is followed on the meta device, which
tells the channels and strides of its maps; what is configured for these channels takes the new ones. The result is
followed in the same way before it is handed out.
"""
import copy
import difflib
import inspect
import math
import os
import re
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from .catalogue import Backbone, find_backbone, load_catalogue
from .check import Fit, check_fit, first_neck
from .follow import build

__all__ = ['Change', 'SwapError', 'default_output', 'load_config', 'swap_backbone', 'swap_file']

# what the weights of nearly all backbones expect, RGB
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

# families that train with AdamW; convolutional networks keep the optimizer of the config
ADAMW_FAMILIES = ('Swin Transformer', 'PVT', 'PVTv2', 'DSNet', 'Conv2Former', 'CoAtNet', 'ViT', 'DeiT', 'T2T-ViT',
                  'VOLO', 'CvT', 'CeiT', 'CrossViT', 'LeViT', 'Container', 'ConvNeXt', 'ConvNeXtV2')
TABLES = ('relative_position_bias_table', 'relative_bias', 'pos_embed', 'positions')

# stride-2 convolutions behind the last map, for parts that make no coarser maps themselves
ADAPTER = dict(type='ChannelMapper', kernel_size=1, act_cfg=None, norm_cfg=dict(type='GN', num_groups=32))
ADAPTER_CHANNELS = 256

YAPF_STYLE = dict(
    based_on_style='pep8',
    column_limit=120,
    blank_line_before_nested_class_or_def=True,
    split_before_expression_after_opening_paren=True)


class SwapError(ValueError):
    """The backbone cannot take this place; the message says why, and what would fit."""


class Change(NamedTuple):
    """One changed value.

    Attributes:
        what: ``key=value``.
        why: the reason, a phrase.
    """
    what: str
    why: str


class _Plan:
    """A copy of a config, the paths of what was changed in it, and why.

    Args:
        cfg: not changed.
    """

    def __init__(self, cfg: Config) -> None:
        self.base = cfg._cfg_dict
        self.cfg = copy.deepcopy(cfg)
        self.replaced: Dict[Tuple, bool] = {}
        self.changes: List[Change] = []

    def set(self, path: Tuple, value: Any, why: str, replace: bool = False) -> None:
        """Set one value; a dict is merged into what is there, or takes its place."""
        owner = self.cfg._cfg_dict
        for key in path[:-1]:
            if isinstance(key, str) and key not in owner:
                owner[key] = ConfigDict()
            owner = owner[key]
        old = owner.get(path[-1]) if isinstance(owner, dict) else owner[path[-1]]
        if isinstance(value, dict) and isinstance(old, dict) and not replace:
            value = Config._merge_a_into_b(ConfigDict(value), old)
        owner[path[-1]] = copy.deepcopy(value)
        self.replaced[path] = replace and isinstance(old, dict)
        self.changes.append(Change(f'{_dotted(path)}={_code(value)}', why))


def _dotted(path: Sequence) -> str:
    return ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in path).lstrip('.')


def _code(value: Any) -> str:
    """A value as it is written in configs."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return 'dict(' + ', '.join(f'{key}={_code(item)}' for key, item in value.items()) + ')'
        return '{' + ', '.join(f'{key!r}: {_code(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(_code, value)) + ']'
    if isinstance(value, tuple):
        return '(' + ', '.join(map(_code, value)) + (',)' if len(value) == 1 else ')')
    return repr(value)


def _nodes(node: Any, path: Tuple = ()) -> Iterator[Tuple[Tuple, Any]]:
    """Every value below a config with the keys that lead to it."""
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, child in list(items):
        yield from _nodes(child, (*path, key))


def _joined(values: Sequence) -> str:
    return ', '.join(map(str, values))


def _names_with(strides: Sequence[int]) -> str:
    names = [row.name for row in load_catalogue() if set(strides) <= set(row.strides or ())]
    return f'{_joined(names[:3])} and {len(names) - 3} more' if len(names) > 3 else _joined(names) or 'none yet'


class _Network(NamedTuple):
    """What a catalogue row gives: of each stride the stage and its channels."""
    row: Backbone
    default: Tuple[int, ...]
    stage_of: Dict[int, int]
    channels_of: Dict[int, int]
    has_batch_norm: bool

    def config(self, strides: Sequence[int]) -> dict:
        """Its config with the stages of these strides as outputs."""
        stages = tuple(self.stage_of[stride] for stride in strides)
        config = {key: value for key, value in self.row.config.items() if key != 'out_indices'}
        return config if stages == self.default else dict(config, out_indices=stages)


def _measure_row(cfg: Config, row: Backbone) -> _Network:
    if row.config is None:
        raise SwapError(f'{row.name} is in the catalogue, but not built yet; `mmbackbones list` marks such rows')
    backbone = build(cfg, {key: value for key, value in row.config.items() if key != 'out_indices'})
    stages = {}
    for stage, stride, channels in zip(backbone.out_indices, backbone.out_strides, backbone.out_channels):
        stages[stride] = stage, channels  # of several stages with one stride the last is the richest
    return _Network(row, tuple(backbone.out_indices), {
        stride: stage
        for stride, (stage, _) in stages.items()
    }, {
        stride: channels
        for stride, (_, channels) in stages.items()
    }, any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()))


def _parameters_of(cfg: Config, part: dict) -> set:
    """Names of the arguments of a part's class."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), \
            MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
        cls = registry.get(part['type']) if isinstance(part['type'], str) else part['type']
    return set(inspect.signature(cls.__init__).parameters)


def _replace_lists(plan: _Plan, old: Sequence[int], new: Sequence[int], why: str) -> None:
    """Give the new channels to the neck that lists the old ones, in either order, or without a neck to the heads.

    A neck such as SSD's passes the maps on, so that its ``out_channels`` begin with theirs; then the heads that list
    these follow.
    """
    model, old, new = plan.cfg.model, list(old), list(new)
    neck, _ = first_neck(model)

    def set_lists(roots: Sequence[Tuple], key: str, before: list, after: list) -> None:
        for root in roots:
            for path, node in _nodes(_get(model, root)):
                if path[-1:] == (key, ) and isinstance(node, (list, tuple)) and before != after \
                        and list(node) == before:
                    plan.set(('model', *root, *path), type(node)(after) if isinstance(node, tuple) else after, why)

    heads = [(name, ) for name, part in model.items() if name.endswith('head') and part]
    if neck is None:
        set_lists(heads, 'in_channels', old, new)
        return
    root = ('neck', 0) if isinstance(model.neck, (list, tuple)) else ('neck', )
    passed_on = list(neck.out_channels) if isinstance(neck.get('out_channels'), (list, tuple)) else []
    if len(passed_on) > len(old) and passed_on[:len(old)] == old:
        set_lists([root], 'out_channels', passed_on, new + passed_on[len(old):])
        set_lists(heads, 'in_channels', passed_on, new + passed_on[len(old):])
    coarsest_first = list(neck.get('in_channels', old)) != old
    set_lists([root], 'in_channels', old[::-1] if coarsest_first else old, new[::-1] if coarsest_first else new)


def _put_in_front(plan: _Plan, channels: Sequence[int], out_channels: int, num_outs: int, why: str) -> None:
    """Put a ChannelMapper between backbone and neck."""
    adapter = dict(ADAPTER, in_channels=list(channels), out_channels=out_channels, num_outs=num_outs)
    neck = plan.cfg.model.get('neck')
    if neck is None:
        plan.set(('model', 'neck'), adapter, why)
        return
    rest = list(neck) if isinstance(neck, (list, tuple)) else [neck]
    # written as a whole, with what was changed in it before
    plan.replaced = {path: replaced for path, replaced in plan.replaced.items() if path[:2] != ('model', 'neck')}
    plan.set(('model', 'neck'), [adapter, *rest], why, replace=True)


def _strides_of(fit: Fit) -> Tuple[int, ...]:
    """Strides as powers of two; SSD's 300 pixels do not divide by all of them."""
    return tuple(2**round(math.log2(stride)) for stride in fit.maps.strides)


def _used_maps(plan: _Plan, channels: Sequence[int]) -> List[int]:
    """Which of the backbone's maps the next part uses; a neck that skips the first ones is told to skip none."""
    neck, key = first_neck(plan.cfg.model)
    everything = list(range(len(channels)))
    if neck is None or 'in_channels' not in neck:
        return everything
    expected = neck.in_channels
    if isinstance(expected, int):
        if expected not in channels:
            raise SwapError(
                f'{key} takes {expected} channels, which no map of the present backbone has: it is wired in '
                f'a way of its own, and no other backbone fits')
        return [max(index for index in everything if channels[index] == expected)]
    if list(expected) not in (list(channels), list(channels)[::-1]):
        raise SwapError(f'{key} lists the channels [{_joined(expected)}], but the present backbone gives '
                        f'[{_joined(channels)}]: no telling which map it means')
    start = neck.get('start_level', 0)
    if start > 0 and neck.get('end_level') in (None, -1):
        return everything[start:]
    return everything


def _swap_maps(plan: _Plan, fit: Fit, network: _Network) -> None:
    """Backbone, neck and, where a head takes the maps directly, the head of a detector."""
    model, name = plan.cfg.model, network.row.name
    channels, strides = fit.maps.channels, _strides_of(fit)
    used = _used_maps(plan, channels)
    wanted = [strides[index] for index in used]
    neck, _ = first_neck(model)
    has_maps = max(network.stage_of)
    if len(set(wanted)) < len(wanted):
        raise SwapError(
            f'{model.type} takes several maps of one stride ({_joined(wanted)}), as stacked hourglasses give '
            f'them; the backbones of the catalogue have one each')
    finer = [stride for stride in wanted if stride < has_maps and stride not in network.stage_of]
    if finer:
        raise SwapError(f'{model.type} needs maps at strides {_joined(wanted)}, and {name} has none at '
                        f'{_joined(finer)}, only at {_joined(network.stage_of)}. What fits: {_names_with(finer)}')
    kept = [stride for stride in wanted if stride in network.stage_of]
    by_role = 'as before'
    if not kept and len(wanted) == 1 and model.get('encoder'):
        kept = wanted = [has_maps]
        by_role = 'where it ends: the encoder sees more positions, at more cost'
    elif not kept:
        raise SwapError(
            f'{model.type} takes a map at stride {_joined(wanted)}, and {name} ends at {has_maps}. What fits: '
            f'{_names_with(wanted)}')
    new = [network.channels_of[stride] for stride in kept]
    plan.set(('model', 'backbone'),
             network.config(kept),
             f'{name}; {"maps at strides" if len(kept) > 1 else "its map at stride"} {_joined(kept)}, {by_role}',
             replace=True)
    path = ('model', 'neck', 0) if isinstance(model.get('neck'), (list, tuple)) else ('model', 'neck')
    if len(used) < len(channels) and neck.get('start_level', 0) > 0:
        plan.set((*path, 'start_level'), 0, 'the maps that it skipped are not computed any more')
    if len(kept) == len(wanted):
        _take_channels(plan, path, used, channels, new)
        return
    coarser = f'{name} ends at stride {has_maps}: '
    if neck and 'num_outs' in _parameters_of(plan.cfg, neck):
        if not neck.get('num_outs'):
            plan.set((*path, 'num_outs'), len(wanted), f'{coarser}the neck makes the coarser maps')
        if 'add_extra_convs' in _parameters_of(plan.cfg, neck):
            plan.set((*path, 'add_extra_convs'), 'on_output', f'{coarser}convolutions make the coarser maps')
        _replace_lists(plan, channels, new, f'channels of the maps at strides {_joined(kept)}')
        return
    _replace_lists(plan, channels, [ADAPTER_CHANNELS] * len(wanted), 'channels of the maps in front of it')
    _put_in_front(plan, new, ADAPTER_CHANNELS, len(wanted), f'{coarser}convolutions make the coarser maps')


def _take_channels(plan: _Plan, path: Tuple, used: Sequence[int], old: Sequence[int], new: Sequence[int]) -> None:
    """Tell everything that takes the maps their channels."""
    model = plan.cfg.model
    neck, _ = first_neck(model)
    why = 'channels of the maps'
    if neck is not None and isinstance(neck.get('in_channels'), int):
        if neck.in_channels != new[0]:
            plan.set((*path, 'in_channels'), new[0], 'channels of the map')
        return
    if neck is not None or len(old) > 1 or any(
            list(node) == list(old)
            for key, node in _nodes(model) if key[-1:] == ('in_channels', ) and isinstance(node, (list, tuple))):
        _replace_lists(plan, old, new, why)
        return
    if old[0] == new[0]:
        return
    if (model.get('roi_head') or {}).get('shared_head'):
        _put_in_front(plan, new, old[0], 1, f'roi_head.shared_head continues a network with {old[0]} channels')
        return
    for key, node in _nodes(model):
        part = key[-2] if len(key) > 1 else None
        if isinstance(key[-1] if key else None, str) and node == old[0] and key[0] != 'backbone' and (
                key[-1] == 'in_channels' or (key[-1] == 'out_channels' and str(part).endswith('roi_extractor'))):
            plan.set(('model', *key), new[0], 'channels of the map')


def _swap_classifier(plan: _Plan, fit: Fit, network: _Network) -> None:
    model = plan.cfg.model
    stride = max(network.stage_of)
    old, new = fit.maps.channels[-1], network.channels_of[stride]
    plan.set(('model', 'backbone'),
             network.config([stride]),
             f'{network.row.name}; the last map is classified',
             replace=True)
    if fit.maps.strides[-1] == 0:  # it gave a vector or tokens
        plan.set(('model', 'neck'), dict(type='GlobalAveragePooling'), 'the backbone gives a map', replace=True)
        if model.head.type != 'LinearClsHead':
            head = {key: model.head[key] for key in ('num_classes', 'loss', 'topk') if key in model.head}
            plan.set(('model', 'head'),
                     dict(type='LinearClsHead', in_channels=new, **head),
                     'the mean of a map is classified, not a token',
                     replace=True)
            return
    for part in ('neck', 'head'):
        for path, node in _nodes(model.get(part) or {}):
            if path[-1:] == ('in_channels', ) and node == old != new:
                plan.set(('model', part, *path), new, 'channels of the last map')


def _swap_normalization(plan: _Plan) -> None:
    """Mean, deviation and channel order that the weights expect, also where a transform fills in the mean."""
    cfg = plan.cfg
    order = 'to_rgb' if cfg.get('default_scope') == 'mmpretrain' else 'bgr_to_rgb'
    wanted, old_mean = {'mean': MEAN, 'std': STD, order: True}, None
    places = [
        path
        for path in (('data_preprocessor', ), ('model', 'data_preprocessor')) if _get(cfg._cfg_dict, path) is not None
    ] or [('data_preprocessor', )]
    changed = False
    for path in places:
        here = _get(cfg._cfg_dict, path) or {}
        old_mean = list(here.get('mean') or []) or old_mean
        for key, value in wanted.items():
            now = here.get(key)
            if (list(now) if isinstance(now, (list, tuple)) else bool(now)) != value:
                plan.set((*path, key), value, "the backbone's weights expect ImageNet's statistics, RGB")
                changed = True
    for path, node in _nodes(cfg.get('train_dataloader') or {}):
        if not (changed and isinstance(node, dict) and isinstance(node.get('mean'), (list, tuple))):
            continue
        if node.get('type') == 'Expand' or list(node['mean']) == old_mean:
            for key, value in (('mean', MEAN), ('to_rgb', True)):
                if node.get(key) != value:
                    plan.set(('train_dataloader', *path, key), value, f'{node["type"]} fills in the mean')


def _get(node: Any, path: Sequence) -> Any:
    for key in path:
        node = node.get(key) if isinstance(node, dict) else node[key]
        if node is None:
            return None
    return node


def _swap_recipe(plan: _Plan, row: Backbone) -> None:
    """The optimizer that the backbone's authors train with."""
    cfg = plan.cfg
    optimizer = _get(cfg._cfg_dict, ('optim_wrapper', 'optimizer'))
    if row.family not in ADAMW_FAMILIES or optimizer is None or optimizer.type == 'AdamW':
        return
    batch = _get(cfg._cfg_dict, ('auto_scale_lr', 'base_batch_size'))
    if cfg.default_scope == 'mmpretrain':
        rate = 1e-3 * (batch or 1024) / 1024
        said = '1e-3 for batch 1024' + (f', times {batch} / 1024' if batch and batch != 1024 else '')
    else:
        rate = 1e-4 * math.sqrt((batch or 16) / 16)
        said = '1e-4 for batch 16' + (f', times the root of {batch} / 16' if batch and batch != 16 else '')
    plan.set(('optim_wrapper', 'optimizer'),
             dict(type='AdamW', lr=float(f'{rate:.6g}'), betas=(0.9, 0.999), weight_decay=0.05),
             f'{row.family} trains with AdamW; {said}',
             replace=True)
    plan.set(('optim_wrapper', 'paramwise_cfg'),
             dict(norm_decay_mult=0., custom_keys={name: dict(decay_mult=0.)
                                                   for name in TABLES}),
             'no weight decay on norms and tables of positions')


def _plan_swap(cfg: Config, name: str, recipe: bool) -> _Plan:
    row = find_backbone(name)
    if not cfg.get('model') or not cfg.model.get('backbone'):
        raise SwapError(
            f'{cfg.get("model", {}).get("type", "the config")} has no backbone of its own; a detector, or a '
            f"classifier of type ImageClassifier, has a key model.backbone")
    fit = check_fit(cfg)
    if fit.problems:
        raise SwapError(f'the config itself does not fit: {fit.problems[0]}')
    if fit.maps is None:
        raise SwapError(
            f'the maps of the present backbone ({cfg.model.backbone.type}) cannot be followed, so there is no '
            f'telling what must change')
    plan, network = _Plan(cfg), _measure_row(cfg, row)
    old = cfg.model.backbone
    if cfg.get('default_scope') == 'mmpretrain':
        if cfg.model.get('type') != 'ImageClassifier':
            raise SwapError(f'{cfg.model.type} is no ImageClassifier: its backbone does more than give maps')
        _swap_classifier(plan, fit, network)
    else:
        _swap_maps(plan, fit, network)
        freezing = {
            key: old[key]
            for key, off in (('frozen_stages', -1), ('norm_eval', False)) if old.get(key, off) != off
        }
        if freezing and network.has_batch_norm:
            plan.set(('pretrained_backbone', ), freezing, 'frozen only where --backbone-weights gives weights')
    _swap_normalization(plan)
    if recipe:
        _swap_recipe(plan, row)
    after = check_fit(plan.cfg)
    if after.problems:
        raise SwapError(f'{cfg.model.type} does not take {name}: {after.problems[0]}')
    if fit.levels is not None and after.levels is None:
        neck, key = first_neck(plan.cfg.model)
        raise SwapError(
            f'{key} ({neck.type}) needs more of its backbone ({old.type}) than maps, so {name} does not fit; '
            f'a config with another neck, such as FPN, takes it')
    return plan


def swap_backbone(cfg: Config, name: str, recipe: bool = False) -> Tuple[Config, List[Change]]:
    """Put a backbone of the catalogue into a config, and change what must change with it.

    Args:
        cfg: a detector of MMDetection or a classifier of MMPretrain; it is not changed.
        name: as in ``mmbackbones list``.
        recipe: train with the optimizer of the backbone's family, too.

    Returns:
        tuple: the new config, and what was changed, with reasons.

    Raises:
        KeyError: no such backbone; it lists the nearest ones.
        SwapError: the detector cannot take it.
    """
    plan = _plan_swap(cfg, name, recipe)
    return plan.cfg, plan.changes


def _package_configs(package: str) -> Path:
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise FileNotFoundError(f'no package {package!r} is installed; a config name is like '
                                f"'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    folder = Path(spec.submodule_search_locations[0])
    return next((path for path in (folder / '.mim' / 'configs', folder.parent / 'configs') if path.is_dir()), folder)


def load_config(name: str) -> Config:
    """Read a config from a path, or from an installed package as ``mmdet::folder/file.py``.

    Raises:
        FileNotFoundError: there is none; it lists the nearest ones.
        SwapError: it is written in MMEngine's new style, which no file can inherit by name.
    """
    package, _, inner = name.rpartition('::')
    if package and not re.fullmatch(r'[\w/.-]+', inner):
        raise SwapError(f'MMEngine inherits no config with such characters by name: {name}; give its path')
    path = _package_configs(package) / inner if package else Path(name)
    if not path.is_file():
        root = _package_configs(package) if package else next(part for part in path.parents if part.is_dir())
        known = {file.relative_to(root).as_posix() for file in root.glob('**/*.py' if package else '*.py')}
        wanted = inner if package else path.name
        near = difflib.get_close_matches(wanted, sorted(known), n=4, cutoff=0.5)
        by_stem = [file for file in sorted(known) if Path(file).name == Path(wanted).name]
        near = by_stem or near
        prefix = f'{package}::' if package else f'{root.as_posix()}/' if str(root) != '.' else ''
        hint = 'did you mean ' + ', '.join(f'{prefix}{file}' for file in near) + '?' if near else (
            "give a path, or a name like 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
        raise FileNotFoundError(f'no config {name!r}; {hint}')
    if Config._is_lazy_import(str(path)):
        raise SwapError(f"{name} is in MMEngine's new style, which no config can inherit by name; take the one under "
                        f'.mim/configs, as mmdet::FOLDER/FILE.py')
    return Config.fromfile(path)


# how file names of MMDetection and MMPretrain call their backbones
BACKBONE_PART = re.compile(r'(?<=[_-])(?:[rxsdv]|hg)\d{2,3}(?:-\d+x\d+d|-caffe|-dconv|-dcnv2)*(?=[_.-]|$)|'
                           r'(?<=[_-])(?:res2net|regnet|mobilenet-?v\d|swin|pvt|convnext|efficientnet|hrnet|vgg)'
                           r'[-\w.]*?(?=_|$)')


def default_output(config: str, name: str) -> str:
    """File name of the new config: that of the old one with the backbone's part replaced, or appended."""
    stem = Path(config.rpartition('::')[2]).stem
    for row in sorted(load_catalogue(), key=lambda row: -len(row.name)):
        if stem.endswith(f'_{row.name}') or f'_{row.name}_' in stem:
            return stem.replace(f'_{row.name}', f'_{name}', 1) + '.py'
    replaced, count = BACKBONE_PART.subn(name, stem, count=1)
    return (replaced if count else f'{stem}_{name}') + '.py'


def _assignments(plan: _Plan) -> List[str]:
    """What a config writes that inherits from the base: each changed value once, lists as a whole."""
    overrides: Dict[str, Any] = {}
    edits: Dict[Tuple, Dict[int, Dict[str, Any]]] = {}
    for path, replaced in plan.replaced.items():
        value = _get(plan.cfg._cfg_dict, path)
        if path[0] == 'train_dataloader' and len([key for key in path if isinstance(key, int)]) == 1:
            edits.setdefault(path[:-2], {}).setdefault(path[-2], {})[path[-1]] = value
            continue
        numbers = [index for index, key in enumerate(path) if isinstance(key, int)]
        if numbers:
            path = path[:numbers[0]]
            value, replaced = _get(plan.cfg._cfg_dict, path), False
        node = overrides
        for key in path[:-1]:
            node = node.setdefault(key, {})
        if isinstance(node.get(path[-1]), list):
            continue
        node[path[-1]] = {'_delete_': True, **value} if replaced and isinstance(value, dict) else value
    lines = [f'{key} = {_code(value)}' for key, value in overrides.items()]
    for path, steps in edits.items():
        lines.append(f'{path[-1] if path[-1] != "pipeline" else "train_pipeline"} = _base_.{_dotted(path)}')
        lines += [f'train_pipeline[{index}].update({_code(values)[5:-1]})' for index, values in steps.items()]
        nested = 'train_pipeline'
        for key in reversed(path[1:]):
            nested = f'dict({key}={nested})'
        lines.append(f'{path[0]} = {nested}')
    return lines


def swap_file(config: str,
              name: str,
              output: Optional[str] = None,
              recipe: bool = False,
              force: bool = False) -> Tuple[Path, List[Change]]:
    """Write a short config that inherits from another one and has a backbone of the catalogue.

    Args:
        config: path, or name such as ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.
        name: as in ``mmbackbones list``.
        output: file to write. Defaults to None: :func:`default_output` in the current folder.
        recipe: see :func:`swap_backbone`.
        force: overwrite the file.

    Returns:
        tuple: the file, and what was changed, with reasons.

    Raises:
        FileExistsError: the file is there, and not to be overwritten.
        KeyError, FileNotFoundError, SwapError: as :func:`swap_backbone` and :func:`load_config`.
    """
    from yapf.yapflib.yapf_api import FormatCode
    find_backbone(name)  # its error is cheaper than the others
    target = Path(output or default_output(config, name))
    if target.exists() and not force:
        raise FileExistsError(f'{target} exists; --force overwrites it, -o FILE writes another')
    plan = _plan_swap(load_config(config), name, recipe)
    base = config if '::' in config else Path(os.path.relpath(config, target.parent)).as_posix()
    if '::' not in config and Path(config).resolve() == target.resolve():
        raise FileExistsError(f'{target} is the config itself; -o FILE writes another')
    reasons = {}
    for change in plan.changes:
        reasons.setdefault(change.why, []).append(change.what.partition('=')[0])
    said = [f'- {_joined(keys)}: {why}' for why, keys in reasons.items()]
    header = [
        f'{plan.cfg.model.type} on {name}, from {config}.', '',
        f'mmbackbones swap {config} {name}{" --recipe" if recipe else ""}', '', *said
    ]
    comment = '\n'.join(
        '\n'.join(textwrap.wrap(line, 118, initial_indent='# ', subsequent_indent='#   ', break_long_words=False))
        or '#' for line in header)
    code, _ = FormatCode('\n'.join([f'_base_ = {base!r}', '', *_assignments(plan), '']), style_config=dict(YAPF_STYLE))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f'{comment}\n{code}')
    return target, plan.changes
