"""Whether the parts of a model fit each other: backbone, neck and heads, followed on the meta device."""
from typing import List, NamedTuple, Optional, Sequence

from mmengine.config import Config
from torch import Tensor, nn

from ..messages import listed
from ..meta import on_meta
from .blame import describe, sentence
from .heads import Followed, channels_problem, detector_problems, first_misfit
from .images import image_channels, image_problem
from .meta_run import IMAGE_SIZE, Maps, Misfit, build, follow, guard_channels, measure
from .parts import scope_of
from .problem import Problem
from .tree import Owner, find_root, first_neck, kind_of

__all__ = ['Fit', 'build_model', 'check_fit']


class Fit(NamedTuple):
    """What :func:`check_fit` saw.

    Attributes:
        maps: of the backbone; None where it could not be followed.
        levels: what the heads get; None where it could not be followed.
        problems: what does not fit.
        unknown: why they could not be followed to the heads; empty where they could.
    """
    maps: Optional[Maps]
    levels: Optional[Maps]
    problems: List[Problem]
    unknown: str = ''


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


def _neck_problem(owner: Owner, maps: Maps, outs: Sequence[Tensor], error: Exception) -> Optional[Problem]:
    """Why the neck cannot take the backbone's maps; None where the config does not tell."""
    neck, inside = first_neck(owner.model)
    path, key, indices = owner.path(*inside), owner.key(*inside), owner.key('backbone', 'out_indices')
    expected, channels = neck.get('in_channels'), list(maps.channels)
    gives = (f'the backbone ({kind_of(owner.model.backbone)}) gives {len(channels)} of [{listed(channels)}] at strides '
             f'{listed(maps.strides)}')
    if isinstance(expected, (list, tuple)):
        expected, wanted = list(expected), _fitting_order(owner.cfg, neck, maps, outs)
        if expected != wanted:
            set_channels = f'set {key}.in_channels=[{listed(wanted)}]'
            text = f' ({kind_of(neck)}) is for {len(expected)} maps of [{listed(expected)}] channels, but {gives}'
            if len(expected) == len(channels):
                return Problem(path, text, (set_channels, ))
            return Problem(path, text, (f'{set_channels}, with heads and other settings for {len(channels)} maps',
                                        f'{indices} to {len(expected)} stages'))
    if isinstance(error, Misfit):
        return Problem(
            path, f' ({kind_of(neck)}): its layer {error.layer} is for {error.expected} channels and gets '
            f'{error.given}; {gives}', (f'set {key}.in_channels={error.given}', f'choose other {indices}'))
    if isinstance(error, AssertionError):
        return Problem(path, f' ({kind_of(neck)}) does not take the maps: {gives}; look at {indices}')
    return None


def build_model(cfg: Config, part: Optional[dict] = None) -> nn.Module:
    """The model on the meta device, as MMEngine's runner builds it.

    Args:
        cfg: the whole config.
        part: the model inside another one. Defaults to None: the whole.
    """
    part = dict(cfg.model if part is None else part)
    if cfg.get('data_preprocessor'):
        part.setdefault('data_preprocessor', cfg.data_preprocessor)
    return build(cfg, part)


def _image_size(owner: Owner) -> int:
    """Side of a square image in pixels on which maps have the strides that heads name."""
    if owner.cfg.get('default_scope') == 'mmpretrain':
        return 224  # networks with fixed tables take no other
    strides = ((owner.model.get('bbox_head') or {}).get('anchor_generator') or {}).get('strides') or (IMAGE_SIZE, )
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
        return Fit(None, None, [Problem((), 'the config has no model: it is a part for others to inherit')])
    owner = Owner(cfg, find_root(cfg) or ('model', ))
    try:
        model = build_model(cfg, owner.model)
    except Exception as error:
        problem = describe(error, owner.model, owner.root, scope_of(cfg))
        return Fit(None, None, [problem._replace(before='the model cannot be built: ')])
    if not hasattr(model, 'backbone'):
        return Fit(None, None, [], f'{type(model).__name__} has no backbone')
    return _follow_backbone(owner, model)


def _follow_backbone(owner: Owner, model: nn.Module) -> Fit:
    """What the backbone gives for the images that the config loads, and what becomes of it."""
    channels, size = image_channels(owner.cfg), _image_size(owner)
    try:
        with guard_channels(model.backbone if channels else nn.Identity()):
            outs = follow(model.backbone, size, channels or 3)
        maps = measure(outs, size)
    except Exception as error:  # a backbone with a fixed image size, or operators that the meta device lacks
        if isinstance(error, Misfit) and error.given == channels:
            return Fit(None, None, [image_problem(owner, error)])
        return Fit(None, None, [], f'{kind_of(owner.model.backbone)} does not run on an image of {size} pixels '
                   f'({sentence(error)})')
    return _follow_neck(owner, model, outs, maps)


def _follow_neck(owner: Owner, model: nn.Module, outs: Sequence[Tensor], maps: Maps) -> Fit:
    """What the neck makes of the backbone's maps, where there is one, and what the heads say to it."""
    if getattr(model, 'neck', None) is not None:
        try:
            with on_meta(), guard_channels(model):
                outs = model.neck(outs)
        except Exception as error:
            problem = _neck_problem(owner, maps, outs, error)
            if problem:
                return Fit(maps, None, [problem])
            neck, inside = first_neck(owner.model)
            return Fit(maps, None, [],
                       f'{owner.key(*inside)} ({kind_of(neck)}) takes more than these maps ({sentence(error)})')
    outs = (outs, ) if isinstance(outs, Tensor) else outs
    seen = Followed(owner, model, outs, measure(outs, _image_size(owner)))
    find = _classifier_problems if scope_of(owner.cfg) == 'mmpretrain' else detector_problems
    return Fit(maps, seen.levels, find(seen))


def _classifier_problems(seen: Followed) -> List[Problem]:
    """Whether the head of a classifier takes the last map."""
    if getattr(seen.model, 'head', None) is None:
        return []
    error = first_misfit(seen.model, lambda: seen.model.head(seen.outs))
    if error is None:
        return []
    return [
        channels_problem(seen.owner.path('head'), seen.owner.model.head, error, seen.source, seen.levels.channels[-1])
    ]
