"""Whether the parts of a model fit each other: backbone, neck and heads, followed on the meta device."""
import re
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from .blame import describe, sentence
from .errors import InputError
from .follow import IMAGE_SIZE, Maps, Misfit, build, follow, guard_channels, measure, on_meta, parameters_of
from .libraries import register
from .model_parts import find_root
from .parts import SPLITS, check_kinds, check_optimizer, check_parts, scope_of
from .plan import dotted, get, nodes

__all__ = ['Fit', 'check_config', 'check_fit', 'check_run', 'first_neck', 'image_channels', 'listed']


class Fit(NamedTuple):
    """What :func:`check_fit` saw.

    Attributes:
        maps: of the backbone; None where it could not be followed.
        levels: what the heads get; None where it could not be followed.
        problems: one sentence each.
        unknown: why they could not be followed to the heads; empty where they could.
    """
    maps: Optional[Maps]
    levels: Optional[Maps]
    problems: List[str]
    unknown: str = ''


def first_neck(model: dict) -> Tuple[Optional[dict], str]:
    """The config of the neck that takes the backbone's maps, and its key in the config."""
    neck = model.get('neck')
    return (neck[0], 'model.neck[0]') if isinstance(neck, (list, tuple)) else (neck, 'model.neck')


def _kind(part: dict) -> str:
    kind = part.get('type', 'no type')
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def listed(values: Sequence) -> str:
    """In a message: ``64, 128, 256``."""
    return ', '.join(map(str, values))


def _fitting_order(cfg: Config, neck: dict, maps: Maps, outs: Sequence[Tensor]) -> List[int]:
    """The channels of the maps as this neck wants them listed: the finest map first, or for YOLOv3 the coarsest."""
    channels = list(maps.channels)
    for order in (channels, channels[::-1]):
        try:
            part = build(cfg, dict(neck, in_channels=order))
            with on_meta(), guard_channels(part):
                part(outs)
            return order
        except Exception:  # this order does not fit, or not it alone
            continue
    return channels


def _neck_problem(cfg: Config, maps: Maps, outs: Sequence[Tensor], error: Exception) -> Optional[str]:
    """Why the neck cannot take the backbone's maps, in one sentence; None where the config does not tell."""
    neck, key = first_neck(cfg.model)
    backbone = _kind(cfg.model.backbone)
    expected = neck.get('in_channels')
    channels = list(maps.channels)
    gives = (f'the backbone ({backbone}) gives {len(channels)} of [{listed(channels)}] at strides '
             f'{listed(maps.strides)}')
    if isinstance(expected, (list, tuple)):
        expected, wanted = list(expected), _fitting_order(cfg, neck, maps, outs)
        if expected != wanted:
            other = '' if len(expected) == len(channels) else (
                f', with heads and other settings for {len(channels)} maps, or model.backbone.out_indices to '
                f'{len(expected)} stages')
            return (f'{key} ({_kind(neck)}) is for {len(expected)} maps of [{listed(expected)}] channels, but {gives}: '
                    f'set {key}.in_channels=[{listed(wanted)}]{other}')
    if isinstance(error, Misfit):
        return (f'{key} ({_kind(neck)}): its layer {error.layer} is for {error.expected} channels and gets '
                f'{error.given}; {gives}: set {key}.in_channels={error.given}, or choose other '
                f'model.backbone.out_indices')
    if isinstance(error, AssertionError):
        return f'{key} ({_kind(neck)}) does not take the maps: {gives}; look at model.backbone.out_indices'
    return None


def _priors(head: nn.Module) -> Optional[List[int]]:
    """Strides that a dense head takes its maps to have; None where it does not say."""
    generator = getattr(head, 'prior_generator', None)
    strides = getattr(generator, 'strides', None)
    return [max(stride) if isinstance(stride, (list, tuple)) else stride for stride in strides] if strides else None


def _strides_problem(key: str, what: str, wanted: Sequence[float], levels: Maps, remedy: str) -> Optional[str]:
    """Compare the strides that a head was built for with those of its maps.

    Not to the pixel: SSD and YOLACT divide the image's size by the map's.
    """
    if len(wanted) == len(levels.strides) and all(1 / 1.35 < given / want < 1.35
                                                  for want, given in zip(wanted, levels.strides)):
        return None
    return (f'{key} has {what} for {len(wanted)} maps at strides {listed(round(want) for want in wanted)}, but gets '
            f'{len(levels.strides)} at strides {listed(levels.strides)}: {remedy}')


def _channels_problem(key: str, head: dict, error: Misfit, source: str, channels: int) -> str:
    """Say which key of a head's config holds the wrong number of channels."""
    if error.given % channels == 0 and error.given > channels:  # flattened by a linear layer
        return (
            f'{key} ({_kind(head)}): its layer {error.layer} is for {error.expected} values and gets {error.given}, '
            f'{channels} channels of {error.given // channels} positions; {source}: set {key}.in_channels={channels}')
    return (f'{key} ({_kind(head)}): its layer {error.layer} is for {error.expected} channels and gets {error.given}; '
            f'{source}: set {key}.in_channels={error.given}')


def _try(model: nn.Module, run) -> Optional[Misfit]:
    """Run a part for its channels alone: whatever else happens on the meta device is no proof of a fault."""
    try:
        with on_meta(), guard_channels(model):
            run()
    except Misfit as error:
        return error
    except Exception:  # operators without a meta form, other arguments than the maps
        return None
    return None


def _as_list(value) -> list:
    return list(value) if isinstance(value, (list, tuple, nn.ModuleList)) else [value]


def _roi_problems(cfg: Config, model: nn.Module, levels: Maps, source: str) -> List[str]:
    """Follow the second stage: region features of each extractor through its head."""
    problems, head = [], model.roi_head
    for kind in ('bbox', 'mask'):
        name, extractor_name = f'{kind}_head', f'{kind}_roi_extractor'
        own = cfg.model.roi_head.get(extractor_name)
        # a mask head without an extractor of its own shares that of the boxes
        extractors = _as_list(getattr(head, extractor_name, None) or ())
        heads = _as_list(getattr(head, name, None) or ())
        configs = _as_list(cfg.model.roi_head.get(name) or ())
        extractor_key = f'model.roi_head.{extractor_name if own else "bbox_roi_extractor"}'
        for index, extractor in enumerate(extractors):
            strides = getattr(extractor, 'featmap_strides', None)
            if strides:
                used = Maps(levels.channels[:len(strides)], levels.strides[:len(strides)])
                problems.append(
                    _strides_problem(extractor_key, 'featmap_strides', strides, used,
                                     f'set {extractor_key}.featmap_strides=[{listed(used.strides)}]'))
            channels = getattr(extractor, 'out_channels', None)
            if channels and getattr(extractor, 'aggregation', 'sum') == 'sum' and channels != levels.channels[0]:
                problems.append(f'{extractor_key} is for maps of {channels} channels and gets {levels.channels[0]}; '
                                f'{source}: set {extractor_key}.out_channels={levels.channels[0]}')
                continue
            if index >= len(heads) or not channels or not getattr(extractor, 'roi_layers', None):
                continue
            size = getattr(extractor.roi_layers[0], 'output_size', None)
            if not size:
                continue
            features = torch.empty(1, channels, *_pair(size), device='meta')

            def run(part=heads[index], features=features):
                part(head.shared_head(features) if head.with_shared_head else features)

            error = _try(model, run)
            if error:
                several = isinstance(cfg.model.roi_head.get(name), (list, tuple))
                key = f'model.roi_head.{name}' + (f'[{index}]' if several else '')
                problems.append(_channels_problem(key, configs[min(index, len(configs) - 1)], error, source, channels))
    return [problem for problem in problems if problem]


def _pair(size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _detector_problems(cfg: Config, model: nn.Module, outs: Sequence[Tensor], levels: Maps) -> List[str]:
    """Follow a detector's maps from the neck into its heads."""
    problems = []
    neck, neck_key = first_neck(cfg.model)
    source = f'{"the neck" if neck else "the backbone"} gives [{listed(levels.channels)}]'
    remedy = 'choose model.backbone.out_indices' + (f', {neck_key}.start_level and num_outs'
                                                    if neck and 'start_level' in neck else '')
    for name in ('rpn_head', 'bbox_head', 'mask_head'):
        part, head = cfg.model.get(name), getattr(model, name, None)
        if not isinstance(part, dict) or head is None:
            continue
        key, strides = f'model.{name}', _priors(head)
        if strides and name != 'mask_head':  # CondInst's has points of its own, of one level
            generator = 'anchor_generator.' if 'anchor_generator' in part else ''
            own = f', or set {key}.{generator}strides=[{listed(levels.strides)}]'
            problem = _strides_problem(key, 'anchors or points', strides, levels,
                                       f'{remedy} so that these strides come out{own}')
            if problem:
                problems.append(problem)
                continue
        wanted = part.get('in_channels')
        if isinstance(wanted, (list, tuple)) and name == 'bbox_head' and len(wanted) == len(levels.channels) \
                and list(wanted) != list(levels.channels):
            problems.append(f'{key} ({_kind(part)}) is for maps of [{listed(wanted)}] channels; {source}: set '
                            f'{key}.in_channels=[{listed(levels.channels)}]')
            continue
        error = _try(model, lambda head=head: head(outs))
        if error:
            problems.append(_channels_problem(key, part, error, source, levels.channels[0]))
    part = cfg.model.get('panoptic_head')
    if part and isinstance(part.get('in_channels'), (list, tuple)):
        if list(part.in_channels) != list(levels.channels):
            problems.append(
                f'model.panoptic_head ({_kind(part)}) is for maps of [{listed(part.in_channels)}] channels; '
                f'{source}: set model.panoptic_head.in_channels=[{listed(levels.channels)}]')
        elif part.get('strides') and list(part.strides) != list(levels.strides):
            problems.append(f'model.panoptic_head.strides is [{listed(part.strides)}], but its maps have '
                            f'[{listed(levels.strides)}]: set it so, or choose other model.backbone.out_indices')
    if getattr(model, 'roi_head', None) is not None:
        problems += _roi_problems(cfg, model, levels, source)
    embed_dims = getattr(getattr(model, 'encoder', None), 'embed_dims', None)
    if embed_dims and cfg.model.get('encoder') and set(levels.channels) != {embed_dims}:
        problems.append(f"model.encoder's queries have {embed_dims} channels; {source}: set "
                        f'{neck_key}.out_channels={embed_dims}')
    wanted = getattr(model, 'num_feature_levels', None)
    if isinstance(wanted, int) and wanted > 1 and wanted != len(levels.channels):
        problems.append(f'model.num_feature_levels is {wanted}, but {source}: set {neck_key}.num_outs={wanted}')
    return problems


def image_channels(cfg: Config) -> Optional[int]:
    """Channels of the images that the pipelines load; None where only the files tell.

    Args:
        cfg: where it has no data, images are in colour.
    """
    kinds = [
        node.get('color_type', 'color') for split in SPLITS
        for _, node in nodes((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {})
        if isinstance(node, dict) and str(node.get('type')).endswith(('LoadImageFromFile', 'LoadImageFromNDArray'))
    ]
    if not kinds and cfg.get('train_dataloader'):  # images from memory, or of several files
        means = _preprocessor(cfg)[1].get('mean')
        return len(means) if isinstance(means, (list, tuple)) else None
    counts = {
        1 if str(kind).startswith('grayscale') else 3 if str(kind).startswith('color') else None
        for kind in kinds
    }
    return counts.pop() if len(counts) == 1 else None if counts else 3


def _preprocessor(cfg: Config) -> Tuple[str, dict]:
    """Key and config of what normalizes the images; inside of it where it serves several branches."""
    key, part = next(((key, part)
                      for key, part in (('model.data_preprocessor', cfg.model.get('data_preprocessor')),
                                        ('data_preprocessor', cfg.get('data_preprocessor'))) if part), ('', {}))
    while isinstance(part.get('data_preprocessor'), dict):
        key, part = f'{key}.data_preprocessor', part['data_preprocessor']
    return key, part


def _image_problem(cfg: Config, error: Misfit) -> str:
    """Say that the backbone is for images of other channels than the pipelines load."""
    backbone = cfg.model.backbone
    known = parameters_of(cfg, backbone)
    own = [f'set model.backbone.in_channels={error.given}'] if 'in_channels' in known else []
    remedies = own + (["load the images with color_type='color'"] if error.given == 1 else [])
    return (
        f'the pipeline loads {"grey images (1 channel)" if error.given == 1 else f"images of {error.given} channels"}'
        f', but model.backbone ({_kind(backbone)}) is for {error.expected}: '
        f'{", or ".join(remedies) or "set color_type of LoadImageFromFile accordingly"}')


def _pixel_problems(cfg: Config) -> List[str]:
    """Whether what normalizes the images suits their channels."""
    channels, (key, part) = image_channels(cfg), _preprocessor(cfg)
    problems = []
    for name in ('mean', 'std'):
        value = part.get(name)
        if value is None:
            continue
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, (int, float)) for each in value):
            problems.append(f'{key}.{name}={value!r}: expected a list of numbers, one for each channel')
        elif channels and len(value) not in (1, channels):
            problems.append(f'{key}.{name} has {len(value)} values, but the pipeline loads images of {channels} '
                            f'channel{"s" if channels > 1 else ""}: give {channels}')
        elif name == 'std' and not all(each > 0 for each in value):
            problems.append(f'{key}.std={list(value)}: expected values above 0')
    if channels == 1 and (part.get('bgr_to_rgb') or part.get('rgb_to_bgr')) and cfg.get('default_scope') == 'mmdet':
        problems.append(f'{key} swaps red and blue, but the pipeline loads grey images: set bgr_to_rgb=False')
    return problems


def _build_whole(cfg: Config) -> nn.Module:
    """The model on the meta device, as MMEngine's runner builds it."""
    part = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        part.setdefault('data_preprocessor', cfg.data_preprocessor)
    return build(cfg, part)


def _image_size(cfg: Config) -> int:
    """Side of a square image in pixels on which maps have the strides that heads name."""
    if cfg.get('default_scope') == 'mmpretrain':
        return 224  # networks with fixed tables take no other
    strides = ((cfg.model.get('bbox_head') or {}).get('anchor_generator') or {}).get('strides') or (IMAGE_SIZE, )
    last = strides[-1]
    # SSD's last map is one position of the whole image: 300 or 320 pixels
    return last if isinstance(last, int) and last > 128 else IMAGE_SIZE


def check_fit(cfg: Config) -> Fit:
    """Follow one image through backbone, neck and heads on the meta device.

    Args:
        cfg: config of a detector or classifier, or of a tracker or a teacher with a student, which have a detector
            inside; it is not changed. A model without any backbone is only built.
    """
    if not cfg.get('model'):
        return Fit(None, None, ['the config has no model: it is a part for others to inherit'])
    root = find_root(cfg)
    if root and root != ('model', ):
        inner = Config(dict(cfg._cfg_dict, model=get(cfg._cfg_dict, root)))
        fit = check_fit(inner)
        return fit._replace(problems=[re.sub(r'\bmodel\.', f'{dotted(root)}.', each) for each in fit.problems])
    scope = scope_of(cfg)
    try:
        model = _build_whole(cfg)
    except Exception as error:
        return Fit(None, None, [f'the model cannot be built: {describe(error, cfg.model, "model", scope)}'])
    size = _image_size(cfg)
    if not hasattr(model, 'backbone'):
        return Fit(None, None, [], f'{type(model).__name__} has no backbone')
    channels = image_channels(cfg)
    try:
        with guard_channels(model.backbone if channels else nn.Identity()):
            outs = follow(model.backbone, size, channels or 3)
        maps = measure(outs, size)
    except Exception as error:  # a backbone with a fixed image size, or operators that the meta device lacks
        if isinstance(error, Misfit) and error.given == channels:
            return Fit(None, None, [_image_problem(cfg, error)])
        return Fit(None, None, [],
                   f'{_kind(cfg.model.backbone)} does not run on an image of {size} pixels ({sentence(error)})')
    if getattr(model, 'neck', None) is not None:
        try:
            with on_meta(), guard_channels(model):
                outs = model.neck(outs)
        except Exception as error:
            problem = _neck_problem(cfg, maps, outs, error)
            neck, key = first_neck(cfg.model)
            unknown = '' if problem else f'{key} ({_kind(neck)}) takes more than these maps ({sentence(error)})'
            return Fit(maps, None, [problem] if problem else [], unknown)
    outs = (outs, ) if isinstance(outs, Tensor) else outs
    levels = measure(outs, size)
    if scope == 'mmpretrain':
        error = _try(model, lambda: model.head(outs)) if getattr(model, 'head', None) is not None else None
        source = f'{"the neck" if cfg.model.get("neck") else "the backbone"} gives [{listed(levels.channels)}]'
        problems = [_channels_problem('model.head', cfg.model.head, error, source, levels.channels[-1])
                    ] if error else []
    else:
        problems = _detector_problems(cfg, model, outs, levels)
    return Fit(maps, levels, problems)


def check_run(cfg: Config, splits: Sequence[str] = SPLITS) -> Fit:
    """:func:`check_fit`, and everything else that can be known before data are read.

    Args:
        cfg: not changed.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` are looked at; with ``'train'`` the optimizer too.
    """
    try:
        check_kinds(cfg)
        register(scope_of(cfg))
    except InputError as error:
        return Fit(None, None, [str(error)])
    fit = check_fit(cfg)
    problems = fit.problems + _pixel_problems(cfg) + check_parts(cfg, splits)
    if 'train' in splits and cfg.get('optim_wrapper') and not problems:
        problems = check_optimizer(cfg, _build_whole(cfg))
    return fit._replace(problems=problems)


def check_config(cfg: Config, splits: Sequence[str] = SPLITS) -> List[str]:
    """What is wrong with a config, one sentence each with how to mend it; empty where nothing is known to be."""
    return check_run(cfg, splits).problems
