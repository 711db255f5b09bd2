"""Whether the heads of a detector take the maps that they get."""
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..messages import listed
from ..meta import on_meta
from .meta_run import Maps, Misfit, guard_channels
from .problem import Problem
from .tree import Owner, dotted, first_neck, kind_of

__all__ = ['Followed', 'channels_problem', 'detector_problems', 'first_misfit']


class Followed(NamedTuple):
    """A detector, followed on the meta device up to its heads.

    Attributes:
        owner: its place in the config.
        model: as it was built.
        outs: what the heads get.
        levels: sizes of these maps.
    """
    owner: Owner
    model: nn.Module
    outs: Sequence[Tensor]
    levels: Maps

    @property
    def source(self) -> str:
        """Where the maps come from, and their channels, as messages say it."""
        part = 'the neck' if self.owner.model.get('neck') else 'the backbone'
        return f'{part} gives [{listed(self.levels.channels)}]'

    def neck_key(self, name: str) -> str:
        """The key of a value of the neck that takes the backbone's maps."""
        return self.owner.key(*first_neck(self.owner.model)[1], name)


def detector_problems(seen: Followed) -> List[Problem]:
    """What is wrong with a detector's heads for the maps that they get."""
    found = [_dense_problem(seen, name) for name in ('rpn_head', 'bbox_head', 'mask_head')]
    found.append(_panoptic_problem(seen))
    if getattr(seen.model, 'roi_head', None) is not None:
        found += _roi_problems(seen)
    found += [_encoder_problem(seen), _number_problem(seen)]
    return [problem for problem in found if problem]


def _dense_problem(seen: Followed, name: str) -> Optional[Problem]:
    """What is wrong with a head that takes all maps, by the first that is found of strides, list and layers."""
    part, head = seen.owner.model.get(name), getattr(seen.model, name, None)
    if not isinstance(part, dict) or head is None:
        return None
    path, channels = seen.owner.path(name), list(seen.levels.channels)
    problem = _anchors_problem(seen, name, part, head)
    if problem:
        return problem
    wanted = part.get('in_channels')
    if name == 'bbox_head' and isinstance(wanted, (list, tuple)) and len(wanted) == len(channels) \
            and list(wanted) != channels:
        return Problem(path, f' ({kind_of(part)}) is for maps of [{listed(wanted)}] channels; {seen.source}',
                       (f'set {seen.owner.key(name, "in_channels")}=[{listed(channels)}]', ))
    error = first_misfit(seen.model, lambda: head(seen.outs))
    return channels_problem(path, part, error, seen.source, channels[0]) if error else None


def _anchors_problem(seen: Followed, name: str, part: dict, head: nn.Module) -> Optional[Problem]:
    """Whether the anchors or points of a dense head are for maps of other strides."""
    strides = _priors(head)
    if not strides or name == 'mask_head':  # CondInst's has points of its own, of one level
        return None
    neck, _ = first_neck(seen.owner.model)
    outputs = f'choose {seen.owner.key("backbone", "out_indices")}'
    if neck and 'start_level' in neck:
        outputs += f', {seen.neck_key("start_level")} and num_outs'
    key = seen.owner.key(name, *(['anchor_generator'] if 'anchor_generator' in part else []), 'strides')
    return _strides_problem(
        seen.owner.path(name), 'anchors or points', strides, seen.levels,
        (f'{outputs} so that these strides come out', f'set {key}=[{listed(seen.levels.strides)}]'))


def _priors(head: nn.Module) -> Optional[List[int]]:
    """Strides that a dense head takes its maps to have; None where it does not say."""
    generator = getattr(head, 'prior_generator', None)
    strides = getattr(generator, 'strides', None)
    return [max(stride) if isinstance(stride, (list, tuple)) else stride for stride in strides] if strides else None


def _strides_problem(path: Tuple, what: str, wanted: Sequence[float], levels: Maps,
                     remedies: Tuple[str, ...]) -> Optional[Problem]:
    """Compare the strides that a head was built for with those of its maps.

    Not to the pixel: SSD and YOLACT divide the image's size by the map's.
    """
    if len(wanted) == len(levels.strides) and all(1 / 1.35 < given / want < 1.35
                                                  for want, given in zip(wanted, levels.strides)):
        return None
    return Problem(
        path, f' has {what} for {len(wanted)} maps at strides {listed(round(want) for want in wanted)}, but gets '
        f'{len(levels.strides)} at strides {listed(levels.strides)}', remedies)


def channels_problem(path: Tuple, head: dict, error: Misfit, source: str, channels: int) -> Problem:
    """Say which key of a head's config holds the wrong number of channels.

    Args:
        path: keys that lead to the head.
        head: its config.
        error: of the layer that got other channels.
        source: where its maps come from.
        channels: of these maps.
    """
    if error.given % channels == 0 and error.given > channels:  # flattened by a linear layer
        what = f'values and gets {error.given}, {channels} channels of {error.given // channels} positions'
        expected = channels
    else:
        what = f'channels and gets {error.given}'
        expected = error.given
    return Problem(path, f' ({kind_of(head)}): its layer {error.layer} is for {error.expected} {what}; {source}',
                   (f'set {dotted((*path, "in_channels"))}={expected}', ))


def first_misfit(model: nn.Module, run: Callable[[], Any]) -> Optional[Misfit]:
    """Run a part for its channels alone: whatever else happens on the meta device is no proof of a fault."""
    try:
        with on_meta(), guard_channels(model):
            run()
    except Misfit as error:
        return error
    except Exception:  # operators without a meta form, other arguments than the maps
        return None
    return None


def _panoptic_problem(seen: Followed) -> Optional[Problem]:
    """Whether the pixel decoder of a panoptic head lists other maps."""
    part, levels = seen.owner.model.get('panoptic_head'), seen.levels
    if not part or not isinstance(part.get('in_channels'), (list, tuple)):
        return None
    if list(part.in_channels) != list(levels.channels):
        return Problem(
            seen.owner.path('panoptic_head'),
            f' ({kind_of(part)}) is for maps of [{listed(part.in_channels)}] channels; {seen.source}',
            (f'set {seen.owner.key("panoptic_head", "in_channels")}=[{listed(levels.channels)}]', ))
    if part.get('strides') and list(part.strides) != list(levels.strides):
        return Problem(
            seen.owner.path('panoptic_head',
                            'strides'), f' is [{listed(part.strides)}], but its maps have [{listed(levels.strides)}]',
            ('set it so', f'choose other {seen.owner.key("backbone", "out_indices")}'))
    return None


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple, nn.ModuleList)) else [value]


def _roi_problems(seen: Followed) -> Iterator[Optional[Problem]]:
    """Follow the second stage: region features of each extractor through its head."""
    for kind in ('bbox', 'mask'):
        # a mask head without an extractor of its own shares that of the boxes
        own = seen.owner.model.roi_head.get(f'{kind}_roi_extractor')
        path = seen.owner.path('roi_head', f'{kind if own else "bbox"}_roi_extractor')
        for index, extractor in enumerate(_as_list(getattr(seen.model.roi_head, f'{kind}_roi_extractor', None) or ())):
            yield _extractor_strides_problem(seen, path, extractor)
            yield _extractor_channels_problem(seen, path, extractor) or _roi_head_problem(seen, kind, index, extractor)


def _extractor_strides_problem(seen: Followed, path: Tuple, extractor: nn.Module) -> Optional[Problem]:
    """Whether an extractor is for maps of other strides; it takes the first ones."""
    strides = getattr(extractor, 'featmap_strides', None)
    if not strides:
        return None
    used = Maps(seen.levels.channels[:len(strides)], seen.levels.strides[:len(strides)])
    remedy = f'set {dotted((*path, "featmap_strides"))}=[{listed(used.strides)}]'
    return _strides_problem(path, 'featmap_strides', strides, used, (remedy, ))


def _extractor_channels_problem(seen: Followed, path: Tuple, extractor: nn.Module) -> Optional[Problem]:
    """Whether an extractor, which hands on the channels of its maps, is for others."""
    channels, given = getattr(extractor, 'out_channels', None), seen.levels.channels[0]
    if not channels or channels == given or getattr(extractor, 'aggregation', 'sum') != 'sum':
        return None
    return Problem(path, f' is for maps of {channels} channels and gets {given}; {seen.source}',
                   (f'set {dotted((*path, "out_channels"))}={given}', ))


def _roi_head_problem(seen: Followed, kind: str, index: int, extractor: nn.Module) -> Optional[Problem]:
    """Run a head of the second stage on the features that its extractor gives for one region."""
    name, head = f'{kind}_head', seen.model.roi_head
    heads = _as_list(getattr(head, name, None) or ())
    channels, layers = getattr(extractor, 'out_channels', None), getattr(extractor, 'roi_layers', None)
    size = getattr(layers[0], 'output_size', None) if layers else None
    if index >= len(heads) or not channels or not size:
        return None
    features = torch.empty(1, channels, *((size, size) if isinstance(size, int) else size), device='meta')
    error = first_misfit(seen.model, lambda: heads[index](head.shared_head(features)
                                                          if head.with_shared_head else features))
    if error is None:
        return None
    config = seen.owner.model.roi_head.get(name)
    configs = _as_list(config or ())
    path = seen.owner.path('roi_head', name, *([index] if isinstance(config, (list, tuple)) else []))
    return channels_problem(path, configs[min(index, len(configs) - 1)], error, seen.source, channels)


def _encoder_problem(seen: Followed) -> Optional[Problem]:
    """Whether the queries of a transformer have as many channels as each map."""
    embed_dims = getattr(getattr(seen.model, 'encoder', None), 'embed_dims', None)
    if not embed_dims or not seen.owner.model.get('encoder') or set(seen.levels.channels) == {embed_dims}:
        return None
    return Problem(
        seen.owner.path('encoder'), f"'s queries have {embed_dims} channels; {seen.source}",
        (f'set {seen.neck_key("out_channels")}={embed_dims}', ))


def _number_problem(seen: Followed) -> Optional[Problem]:
    """Whether a transformer looks at as many maps as there are."""
    wanted = getattr(seen.model, 'num_feature_levels', None)
    if not isinstance(wanted, int) or wanted <= 1 or wanted == len(seen.levels.channels):
        return None
    return Problem(
        seen.owner.path('num_feature_levels'), f' is {wanted}, but {seen.source}',
        (f'set {seen.neck_key("num_outs")}={wanted}', ))
