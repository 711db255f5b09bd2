"""A catalogue backbone in the config of a detector or classifier, and everything else that must change with it.

Parts are known by their roles, not by a list of names: the config's own model is followed on the meta device, which
tells the channels and strides of its maps; what is configured for these channels takes the new ones. The result is
followed in the same way before it is handed out.
"""
import copy
import math
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from torch import nn

from .catalogue import Backbone, load_catalogue
from .check import Fit, check_fit, first_neck, image_channels, listed
from .config_files import default_output, inherited_name, load_config, write_config
from .follow import build, model_class, parameters_of
from .library_row import find_row
from .model_parts import find_root
from .pixels import swap_statistics
from .plan import Change, Plan, SwapError, dotted, get, nodes
from .recipes import CLASSIFIERS, RECIPES, Recipe, find_recipe

__all__ = ['Change', 'SwapError', 'default_output', 'load_config', 'swap_backbone', 'swap_file']

# stride-2 convolutions behind the last map, for parts that make no coarser maps themselves
ADAPTER = dict(type='ChannelMapper', kernel_size=1, act_cfg=None, norm_cfg=dict(type='GN', num_groups=32))
ADAPTER_CHANNELS = 256


def _names_with(strides: Sequence[int]) -> str:
    names = [row.name for row in load_catalogue() if set(strides) <= set(row.strides or ())]
    return f'{listed(names[:3])} and {len(names) - 3} more' if len(names) > 3 else listed(names) or 'none yet'


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


def _replace_lists(plan: Plan, old: Sequence[int], new: Sequence[int], why: str) -> None:
    """Give the new channels to the neck that lists the old ones, in either order, or without a neck to the heads.

    A neck such as SSD's passes the maps on, so that its ``out_channels`` begin with theirs; then the heads that list
    these follow.
    """
    model, old, new = plan.model, list(old), list(new)
    neck, _ = first_neck(model)

    def set_lists(roots: Sequence[Tuple], key: str, before: list, after: list) -> None:
        for root in roots:
            for path, node in nodes(get(model, root)):
                if path[-1:] == (key, ) and isinstance(node, (list, tuple)) and before != after \
                        and list(node) == before:
                    plan.set_model((*root, *path), type(node)(after) if isinstance(node, tuple) else after, why)

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


def _put_in_front(plan: Plan, channels: Sequence[int], out_channels: int, num_outs: int, why: str) -> None:
    """Put a ChannelMapper between backbone and neck."""
    adapter = dict(ADAPTER, in_channels=list(channels), out_channels=out_channels, num_outs=num_outs)
    neck = plan.model.get('neck')
    if neck is None:
        plan.set_model(('neck', ), adapter, why)
        return
    rest = list(neck) if isinstance(neck, (list, tuple)) else [neck]
    # written as a whole, with what was changed in it before
    plan.forget((*plan.root, 'neck'))
    plan.set_model(('neck', ), [adapter, *rest], why, replace=True)


def _strides_of(fit: Fit) -> Tuple[int, ...]:
    """Strides as powers of two; SSD's 300 pixels do not divide by all of them."""
    return tuple(2**round(math.log2(stride)) for stride in fit.maps.strides)


def _used_maps(plan: Plan, channels: Sequence[int]) -> List[int]:
    """Which of the backbone's maps the next part uses; a neck that skips the first ones is told to skip none."""
    neck, key = first_neck(plan.model)
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
        raise SwapError(f'{key} lists the channels [{listed(expected)}], but the present backbone gives '
                        f'[{listed(channels)}]: no telling which map it means')
    start = neck.get('start_level', 0)
    if start > 0 and neck.get('end_level') in (None, -1):
        return everything[start:]
    return everything


def _swap_maps(plan: Plan, fit: Fit, network: _Network) -> None:
    """Backbone, neck and, where a head takes the maps directly, the head of a detector."""
    model, name = plan.model, network.row.name
    channels, strides = fit.maps.channels, _strides_of(fit)
    used = _used_maps(plan, channels)
    wanted = [strides[index] for index in used]
    neck, _ = first_neck(model)
    has_maps = max(network.stage_of)
    if len(set(wanted)) < len(wanted):
        raise SwapError(
            f'{model.type} takes several maps of one stride ({listed(wanted)}), as stacked hourglasses give '
            f'them; the backbones of the catalogue have one each. What fits: a detector of one map, such as CenterNet')
    finer = [stride for stride in wanted if stride < has_maps and stride not in network.stage_of]
    if finer:
        raise SwapError(f'{model.type} needs maps at strides {listed(wanted)}, and {name} has none at '
                        f'{listed(finer)}, only at {listed(network.stage_of)}. What fits: {_names_with(finer)}')
    kept = [stride for stride in wanted if stride in network.stage_of]
    by_role = 'as before'
    if not kept and len(wanted) == 1 and model.get('encoder'):
        kept = wanted = [has_maps]
        by_role = 'where it ends: the encoder sees more positions, at more cost'
    elif not kept:
        raise SwapError(
            f'{model.type} takes a map at stride {listed(wanted)}, and {name} ends at {has_maps}. What fits: '
            f'{_names_with(wanted)}')
    new = [network.channels_of[stride] for stride in kept]
    plan.set_model(('backbone', ),
                   network.config(kept),
                   f'{name}; {"maps at strides" if len(kept) > 1 else "its map at stride"} {listed(kept)}, {by_role}',
                   replace=True)
    path = ('neck', 0) if isinstance(model.get('neck'), (list, tuple)) else ('neck', )
    if len(used) < len(channels) and neck.get('start_level', 0) > 0:
        plan.set_model((*path, 'start_level'), 0, 'the maps that it skipped are not computed any more')
    if len(kept) == len(wanted):
        _take_channels(plan, path, used, channels, new)
        return
    coarser = f'{name} ends at stride {has_maps}: '
    if neck and 'num_outs' in parameters_of(plan.cfg, neck):
        if not neck.get('num_outs'):
            plan.set_model((*path, 'num_outs'), len(wanted), f'{coarser}the neck makes the coarser maps')
        if 'add_extra_convs' in parameters_of(plan.cfg, neck):
            plan.set_model((*path, 'add_extra_convs'), 'on_output', f'{coarser}convolutions make the coarser maps')
        _replace_lists(plan, channels, new, f'channels of the maps at strides {listed(kept)}')
        return
    _replace_lists(plan, channels, [ADAPTER_CHANNELS] * len(wanted), 'channels of the maps in front of it')
    _put_in_front(plan, new, ADAPTER_CHANNELS, len(wanted), f'{coarser}convolutions make the coarser maps')


def _take_channels(plan: Plan, path: Tuple, used: Sequence[int], old: Sequence[int], new: Sequence[int]) -> None:
    """Tell everything that takes the maps their channels."""
    model = plan.model
    neck, _ = first_neck(model)
    why = 'channels of the maps'
    if neck is not None and isinstance(neck.get('in_channels'), int):
        if neck.in_channels != new[0]:
            plan.set_model((*path, 'in_channels'), new[0], 'channels of the map')
        return
    if neck is not None or len(old) > 1 or any(
            list(node) == list(old)
            for key, node in nodes(model) if key[-1:] == ('in_channels', ) and isinstance(node, (list, tuple))):
        _replace_lists(plan, old, new, why)
        return
    if old[0] == new[0]:
        return
    if (model.get('roi_head') or {}).get('shared_head'):
        _put_in_front(plan, new, old[0], 1, f'roi_head.shared_head continues a network with {old[0]} channels')
        return
    for key, node in nodes(model):
        part = key[-2] if len(key) > 1 else None
        if isinstance(key[-1] if key else None, str) and node == old[0] and key[0] != 'backbone' and (
                key[-1] == 'in_channels' or (key[-1] == 'out_channels' and str(part).endswith('roi_extractor'))):
            plan.set_model(key, new[0], 'channels of the map')


def _swap_classifier(plan: Plan, fit: Fit, network: _Network) -> None:
    """Backbone of a classifier, and a neck and a head that take its last map."""
    model, maps = plan.model, fit.maps
    stride = max(network.stage_of)
    new = network.channels_of[stride]
    plan.set_model(('backbone', ),
                   network.config([stride]),
                   f'{network.row.name}; the last map is classified',
                   replace=True)
    neck, _ = first_neck(model)
    fuses = bool(neck) and isinstance(neck.get('in_channels'), (list, tuple)) and len(neck.in_channels) > 1
    if maps is not None and maps.strides[-1] > 0 and not fuses:
        for part in ('neck', 'head'):
            for path, node in nodes(model.get(part) or {}):
                if path[-1:] == ('in_channels', ) and node == maps.channels[-1] != new:
                    plan.set_model((part, *path), new, 'channels of the last map')
        return
    why = 'one map is classified, not several' if fuses else 'the mean of a map is classified, not a vector or a token'
    plan.set_model(('neck', ), dict(type='GlobalAveragePooling'), why, replace=True)
    if model.head.type == 'LinearClsHead':
        if model.head.get('in_channels') != new:
            plan.set_model(('head', 'in_channels'), new, 'channels of the last map')
        return
    num_classes = model.head.get('num_classes') or get(plan.cfg._cfg_dict, ('data_preprocessor', 'num_classes'))
    if not num_classes:
        raise SwapError(f'model.head ({model.head.type}) names no num_classes, so no linear classifier can take its '
                        f'place behind {network.row.name}: give data_preprocessor.num_classes')
    kept = {key: model.head[key] for key in ('loss', 'topk') if key in model.head}
    plan.set_model(('head', ),
                   dict(type='LinearClsHead', num_classes=num_classes, in_channels=new, **kept),
                   why,
                   replace=True)


def _variant(row: Backbone, rates: Dict[str, float]) -> Optional[float]:
    """What a table of a recipe says of this variant; None where it does not name it."""
    arch, model_name = row.config.get('arch'), row.config.get('model_name', '')
    return rates.get(arch, next((rate for name, rate in rates.items() if f'_{name}' in model_name), None))


def _is_own_recipe(plan: Plan, backbone: dict) -> bool:
    """Whether a config trains with AdamW for the sake of the backbone that it had, and not of the detector."""
    kind = str(backbone.get('type')).rpartition('.')[2]
    special = {('ConvNeXt', None)} | {(row.config['type'].rpartition('.')[2], row.config.get('model_name'))
                                      for row in load_catalogue() if row.config and row.family in RECIPES}
    keys = get(plan.cfg._cfg_dict, ('optim_wrapper', 'paramwise_cfg', 'custom_keys')) or {}
    return (kind, backbone.get('model_name')) in special and not any(
        'lr_mult' in value for key, value in keys.items() if key.startswith('backbone'))


def _swap_recipe(plan: Plan, row: Backbone, old: dict) -> None:
    """Train as the backbone's authors do.

    Args:
        plan: with the new backbone.
        row: of the new backbone.
        old: config of the backbone before.
    """
    cfg, key = plan.cfg, 'optim_wrapper.optimizer'
    optimizer = get(cfg._cfg_dict, ('optim_wrapper', 'optimizer'))
    classifier = cfg.get('default_scope') == 'mmpretrain'
    recipe = find_recipe(row.family, get(cfg._cfg_dict, ('train_cfg', 'max_epochs')))
    if optimizer is None:
        plan.keep(key, 'the config trains with no optimizer, so there is no recipe to change')
        return
    if recipe is None:
        whose = 'the backbone before, so another config of this model suits better' if _is_own_recipe(
            plan, old) and optimizer.type == 'AdamW' else 'the config'
        plan.keep(key, f'stays {optimizer.type}, as {row.family} has no recipe of its own; it is that of {whose}')
        return
    if optimizer.type == 'AdamW' and not _is_own_recipe(plan, old):
        plan.keep(key, f'stays as it is: {plan.model.type} itself trains with AdamW, and its rates are for its heads')
        return
    recipe = CLASSIFIERS if classifier else recipe
    batch = get(cfg._cfg_dict, ('auto_scale_lr', 'base_batch_size')) or recipe.batch
    rate = recipe.two_stage_lr if recipe.two_stage_lr and plan.model.get('roi_head') else recipe.lr
    said = f'as in {recipe.source}; {rate:g} for batch {recipe.batch}'
    if batch != recipe.batch:
        share = batch / recipe.batch
        rate *= share if classifier else math.sqrt(share)
        said += f', times {"" if classifier else "the root of "}{batch} / {recipe.batch}'
    plan.set(('optim_wrapper', 'optimizer'),
             dict(type='AdamW', lr=float(f'{rate:.6g}'), weight_decay=recipe.weight_decay),
             said,
             replace=True)
    _set_parameter_options(plan, row, recipe, classifier)
    drop = None if classifier else _variant(row, recipe.drop_path_rate)
    if drop is not None:
        path = ('model_args', 'drop_path_rate') if 'model_name' in row.config else ('drop_path_rate', )
        plan.set_model(('backbone', *path), drop, f'as in {recipe.source}')
    schedule = cfg.get('param_scheduler')
    for index, step in enumerate(schedule if isinstance(schedule, (list, tuple)) else ()):
        if step.get('eta_min') and optimizer.get('lr'):
            plan.set(('param_scheduler', index, 'eta_min'), float(f'{step.eta_min * rate / optimizer.lr:.6g}'),
                     'the same share of the learning rate as before')
        if not classifier and step.get('type') == 'LinearLR' and not step.get('by_epoch', True) \
                and step.get('end', 0) < recipe.warmup:
            plan.set(('param_scheduler', index, 'end'), recipe.warmup, f'a longer warm-up, as in {recipe.source}')
    if recipe.pretrained and not classifier:
        plan.set(('pretrained_backbone', ),
                 dict(recipe.pretrained),
                 'two images a GPU are too few for batch statistics; only where --backbone-weights gives weights',
                 replace=True)


def _set_parameter_options(plan: Plan, row: Backbone, recipe: Recipe, classifier: bool) -> None:
    """Weight decay of some parameters, and learning rates that shrink towards the input."""
    options: Dict[str, Any] = {}
    why = []
    if recipe.undecayed:
        options = dict(norm_decay_mult=0., custom_keys={name: dict(decay_mult=0.) for name in recipe.undecayed})
        why.append('no weight decay on norms and tables of positions')
    if classifier:
        options.update(bias_decay_mult=0.)
    decay = _variant(row, recipe.layer_decay_rate)
    if decay is not None:
        plan.set(('optim_wrapper', 'constructor'), 'mmbackbones.LayerDecayOptimWrapperConstructor',
                 f'learning rates shrink towards the input, as in {recipe.source}')
        options.update(layer_decay_rate=decay)
        why.append(f'{decay:g} times the learning rate for each block')
    if options:
        plan.set(('optim_wrapper', 'paramwise_cfg'), options, '; '.join(why))


def _drop_what_is_for_the_old_backbone(plan: Plan, fresh: _Network) -> None:
    """Weights of the whole detector, freezing and learning rates by layer that only the old backbone has."""
    cfg = plan.cfg
    if cfg.get('load_from'):
        plan.set(('load_from', ), None, 'these weights are of the model with its old backbone')
    if get(plan.model, ('init_cfg', 'type')) == 'Pretrained':
        plan.set_model(('init_cfg', ), None, 'these weights are of the model with its old backbone')
    if cfg.get('pretrained_backbone') and not fresh.has_batch_norm:
        plan.set(('pretrained_backbone', ), {}, f'{fresh.row.name} has no batch norms, so nothing is frozen', True)
    if get(cfg._cfg_dict, ('optim_wrapper', 'constructor')) == 'LearningRateDecayOptimizerConstructor':
        plan.set(('optim_wrapper', 'constructor'), 'DefaultOptimWrapperConstructor',
                 "MMDetection's learning rates by layer know ConvNeXt's layers alone")
        plan.set(('optim_wrapper', 'paramwise_cfg'), {}, 'they go with these learning rates', replace=True)


def _check_neck(model: dict, name: str) -> None:
    """Refuse a neck with a network of its own that feeds the backbone, which runs in turns with it."""
    neck, key = first_neck(model)
    for path, node in nodes(neck or {}):
        if isinstance(node, dict) and path and str(path[-1]).endswith('backbone'):
            raise SwapError(
                f'{key} ({neck.type}) holds a second backbone ({node.type}) and feeds its maps back into the first, '
                f'which {name} has no inputs for. What fits: the same detector with another neck, such as FPN')


def _misfit(plan: Plan, row: Backbone, old: dict, problem: str) -> SwapError:
    """Why the changed model does not work."""
    model = plan.model
    missing = re.search(r"'(\w+)' object has no attribute '(\w+)'", problem)
    if missing and missing[1] == model.backbone.type.rpartition('.')[2]:
        parent = model_class(plan.cfg, model).__mro__[1].__name__
        return SwapError(f'{model.type} asks its backbone for {missing[2]}, which {old.type} has and {row.name} has '
                         f'not. What fits: its plain form, {parent}')
    return SwapError(f'{model.type} does not take {row.name}: {problem}')


def _plan_swap(cfg: Config, name: str, recipe: bool) -> Plan:
    row, root = find_row(name), find_root(cfg)
    if root is None:
        raise SwapError(
            f'{get(cfg._cfg_dict, ("model", "type")) or "the config"} has no backbone of its own; a detector, or a '
            f'classifier of type ImageClassifier, has a key model.backbone')
    plan = Plan(cfg, root)
    try:
        _change_model(plan, row)
    except SwapError as error:
        # checks of the detector inside have said so already
        inside = rf'\bmodel\.(?!{root[-1]}\.)' if len(root) > 1 else r'\bmodel\.'
        raise SwapError(re.sub(inside, f'{".".join(root)}.', str(error))) from error
    if recipe:
        _swap_recipe(plan, row, get(cfg._cfg_dict, (*root, 'backbone')))
    return plan


def _take_channels_of_the_image(plan: Plan) -> None:
    channels = image_channels(plan.cfg)
    if channels not in (None, 3) and 'in_channels' in parameters_of(plan.cfg, plan.model.backbone):
        plan.set_model(('backbone', 'in_channels'), channels, 'channels of the images that the pipeline loads')


def _change_model(plan: Plan, row: Backbone) -> None:
    """Everything but the recipe."""
    cfg, old, kind = plan.cfg, copy.deepcopy(plan.model.backbone), plan.model.type
    classifier = cfg.get('default_scope') == 'mmpretrain'
    if not cfg.get('default_scope'):
        raise SwapError(
            'the config names no default_scope, so nothing tells whose types it has: it is a part for others '
            'to inherit. What fits: a config that can be trained')
    if classifier and kind != 'ImageClassifier':
        raise SwapError(f'{kind} is no ImageClassifier: its backbone does more than give maps. What fits: the config '
                        f'of a classifier, such as mmpretrain::resnet/resnet50_8xb32_in1k.py')
    _check_neck(plan.model, row.name)
    fit = check_fit(cfg)
    if fit.problems:
        raise SwapError(f'the config itself does not fit: {fit.problems[0]}')
    if fit.maps is None and not classifier:
        raise SwapError(f'the present backbone cannot be followed, so there is no telling what must change: '
                        f'{fit.unknown}')
    network = _measure_row(cfg, row)
    if classifier:
        _swap_classifier(plan, fit, network)
    else:
        _swap_maps(plan, fit, network)
    _take_channels_of_the_image(plan)
    _drop_what_is_for_the_old_backbone(plan, network)
    freezing = {key: old[key] for key, off in (('frozen_stages', -1), ('norm_eval', False)) if old.get(key, off) != off}
    if freezing and network.has_batch_norm and not classifier:
        plan.set(('pretrained_backbone', ), freezing, 'frozen only where --backbone-weights gives weights')
    published = f'; `mmbackbones info {row.name}` names those that are published' \
        if row.implementation in ('timm', 'torchvision') else ''
    plan.keep(
        dotted((*plan.root, 'backbone')),
        'starts from random weights without --backbone-weights FILE or, in the backbone, init_cfg'
        f'{" or pretrained" if published else ""}{published}')
    if image_channels(cfg) == 1:
        plan.keep('data_preprocessor', 'stays: the weights of no backbone of the catalogue are for grey images')
    else:
        swap_statistics(plan, row)
    after = check_fit(plan.cfg)
    if after.problems:
        raise _misfit(plan, row, old, after.problems[0])
    if fit.levels is not None and after.levels is None:
        neck, key = first_neck(plan.model)
        raise SwapError(
            f'{key} ({neck.type}) needs more of its backbone ({old.type}) than maps, so {row.name} does not fit; '
            f'a config with another neck, such as FPN, takes it')


def swap_backbone(cfg: Config, name: str, recipe: bool = False) -> Tuple[Config, List[Change]]:
    """Put a backbone of the catalogue, timm or torchvision into a config, and change what must change with it.

    Args:
        cfg: a detector of MMDetection or a classifier of MMPretrain; it is not changed. Of a tracker, or a teacher with
            a student, the detector inside takes the backbone.
        name: as in ``mmbackbones list``, or ``timm:NAME`` or ``torchvision:NAME`` for any other of theirs.
        recipe: train as the backbone's authors do, too.

    Returns:
        tuple: the new config, and what was changed, with reasons.

    Raises:
        KeyError: no such backbone; it lists the nearest ones.
        SwapError: the detector cannot take it.
    """
    plan = _plan_swap(cfg, name, recipe)
    return plan.cfg, plan.changes


def swap_file(config: str,
              name: str,
              output: Optional[str] = None,
              recipe: bool = False,
              force: bool = False) -> Tuple[Path, List[Change]]:
    """Write a short config that inherits from another one and has a backbone of the catalogue, timm or torchvision.

    Args:
        config: path, or name such as ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.
        name: as :func:`swap_backbone` takes it.
        output: file to write. Defaults to None: :func:`default_output` in the current folder.
        recipe: see :func:`swap_backbone`.
        force: overwrite the file.

    Returns:
        tuple: the file, and what was changed, with reasons.

    Raises:
        FileExistsError: the file is there, and not to be overwritten.
        KeyError, FileNotFoundError, SwapError: as :func:`swap_backbone` and :func:`load_config`.
    """
    find_row(name)  # its error is cheaper than the others
    target = Path(output or default_output(config, name))
    if '::' not in config and Path(config).resolve() == target.resolve():
        raise FileExistsError(f'{target} is the config itself, and would inherit itself; -o FILE writes another')
    if target.exists() and not force:
        raise FileExistsError(f'{target} exists; --force overwrites it, -o FILE writes another')
    plan = _plan_swap(load_config(config), name, recipe)
    reasons: Dict[str, List[str]] = {}
    for change in plan.changes:
        reasons.setdefault(change.why, []).append(change.what.partition('=')[0])
    comments = [
        f'{plan.model.type} on {name}, from {config}.', '',
        f'mmbackbones swap {config} {name}{" --recipe" if recipe else ""}', '',
        *(f'- {listed(keys)}: {why}' for why, keys in reasons.items())
    ]
    write_config(target, inherited_name(config, target), comments, plan.assignments())
    return target, plan.changes
