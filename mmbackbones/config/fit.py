"""Whether the parts of a model fit each other: backbone, neck and heads, followed on the meta device."""
import re
from typing import List, NamedTuple, Optional, Sequence

from mmengine.config import Config
from torch import Tensor, nn

from ..messages import listed
from ..meta import on_meta
from .blame import describe, sentence
from .heads import channels_problem, detector_problems, first_misfit
from .images import image_channels, image_problem
from .meta_run import IMAGE_SIZE, Maps, Misfit, build, follow, guard_channels, measure
from .parts import scope_of
from .tree import dotted, find_root, first_neck, get, kind_of

__all__ = ['Fit', 'build_model', 'check_fit']


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
    backbone = kind_of(cfg.model.backbone)
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
            return (
                f'{key} ({kind_of(neck)}) is for {len(expected)} maps of [{listed(expected)}] channels, but {gives}: '
                f'set {key}.in_channels=[{listed(wanted)}]{other}')
    if isinstance(error, Misfit):
        return (f'{key} ({kind_of(neck)}): its layer {error.layer} is for {error.expected} channels and gets '
                f'{error.given}; {gives}: set {key}.in_channels={error.given}, or choose other '
                f'model.backbone.out_indices')
    if isinstance(error, AssertionError):
        return f'{key} ({kind_of(neck)}) does not take the maps: {gives}; look at model.backbone.out_indices'
    return None


def build_model(cfg: Config) -> nn.Module:
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
        model = build_model(cfg)
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
            return Fit(None, None, [image_problem(cfg, error)])
        return Fit(None, None, [],
                   f'{kind_of(cfg.model.backbone)} does not run on an image of {size} pixels ({sentence(error)})')
    if getattr(model, 'neck', None) is not None:
        try:
            with on_meta(), guard_channels(model):
                outs = model.neck(outs)
        except Exception as error:
            problem = _neck_problem(cfg, maps, outs, error)
            neck, key = first_neck(cfg.model)
            unknown = '' if problem else f'{key} ({kind_of(neck)}) takes more than these maps ({sentence(error)})'
            return Fit(maps, None, [problem] if problem else [], unknown)
    outs = (outs, ) if isinstance(outs, Tensor) else outs
    levels = measure(outs, size)
    if scope == 'mmpretrain':
        error = first_misfit(model, lambda: model.head(outs)) if getattr(model, 'head', None) is not None else None
        source = f'{"the neck" if cfg.model.get("neck") else "the backbone"} gives [{listed(levels.channels)}]'
        problems = [channels_problem('model.head', cfg.model.head, error, source, levels.channels[-1])] if error else []
    else:
        problems = detector_problems(cfg, model, outs, levels)
    return Fit(maps, levels, problems)
