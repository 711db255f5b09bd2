"""Whether the heads of a detector take the maps that they get."""
from typing import List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..messages import listed
from ..meta import on_meta
from .meta_run import Maps, Misfit, guard_channels
from .tree import first_neck, kind_of

__all__ = ['channels_problem', 'detector_problems', 'first_misfit']


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


def channels_problem(key: str, head: dict, error: Misfit, source: str, channels: int) -> str:
    """Say which key of a head's config holds the wrong number of channels."""
    if error.given % channels == 0 and error.given > channels:  # flattened by a linear layer
        return (
            f'{key} ({kind_of(head)}): its layer {error.layer} is for {error.expected} values and gets {error.given}, '
            f'{channels} channels of {error.given // channels} positions; {source}: set {key}.in_channels={channels}')
    return (
        f'{key} ({kind_of(head)}): its layer {error.layer} is for {error.expected} channels and gets {error.given}; '
        f'{source}: set {key}.in_channels={error.given}')


def first_misfit(model: nn.Module, run) -> Optional[Misfit]:
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

            error = first_misfit(model, run)
            if error:
                several = isinstance(cfg.model.roi_head.get(name), (list, tuple))
                key = f'model.roi_head.{name}' + (f'[{index}]' if several else '')
                problems.append(channels_problem(key, configs[min(index, len(configs) - 1)], error, source, channels))
    return [problem for problem in problems if problem]


def _pair(size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def detector_problems(cfg: Config, model: nn.Module, outs: Sequence[Tensor], levels: Maps) -> List[str]:
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
            problems.append(f'{key} ({kind_of(part)}) is for maps of [{listed(wanted)}] channels; {source}: set '
                            f'{key}.in_channels=[{listed(levels.channels)}]')
            continue
        error = first_misfit(model, lambda head=head: head(outs))
        if error:
            problems.append(channels_problem(key, part, error, source, levels.channels[0]))
    part = cfg.model.get('panoptic_head')
    if part and isinstance(part.get('in_channels'), (list, tuple)):
        if list(part.in_channels) != list(levels.channels):
            problems.append(
                f'model.panoptic_head ({kind_of(part)}) is for maps of [{listed(part.in_channels)}] channels; '
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
