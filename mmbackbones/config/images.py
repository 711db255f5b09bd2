"""Channels and normalisation of the images that a config loads."""
from typing import List, Optional, Tuple

from mmengine.config import Config

from .meta_run import Misfit, parameters_of
from .parts import SPLITS
from .problem import Problem
from .tree import Owner, kind_of, nodes

__all__ = ['image_channels', 'image_problem', 'pixel_problems']


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


def image_problem(owner: Owner, error: Misfit) -> Problem:
    """Say that the backbone is for images of other channels than the pipelines load."""
    backbone, remedies = owner.model.backbone, []
    if 'in_channels' in parameters_of(owner.cfg, backbone):
        remedies.append(f'set {owner.key("backbone", "in_channels")}={error.given}')
    if error.given == 1:
        remedies.append("load the images with color_type='color'")
    images = 'grey images (1 channel)' if error.given == 1 else f'images of {error.given} channels'
    return Problem(
        owner.path('backbone'),
        f' ({kind_of(backbone)}) is for {error.expected}',
        tuple(remedies) or ('set color_type of LoadImageFromFile accordingly', ),
        before=f'the pipeline loads {images}, but ')


def pixel_problems(cfg: Config) -> List[Problem]:
    """Whether what normalizes the images suits their channels."""
    channels, (key, part) = image_channels(cfg), _preprocessor(cfg)
    problems = []
    for name in ('mean', 'std'):
        value = part.get(name)
        if value is None:
            continue
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, (int, float)) for each in value):
            problems.append(Problem((key, name), f'={value!r}: expected a list of numbers, one for each channel'))
        elif channels and len(value) not in (1, channels):
            problems.append(
                Problem((key, name), f' has {len(value)} values, but the pipeline loads images of {channels} '
                        f'channel{"s" if channels > 1 else ""}', (f'give {channels}', )))
        elif name == 'std' and not all(each > 0 for each in value):
            problems.append(Problem((key, name), f'={list(value)}: expected values above 0'))
    if channels == 1 and (part.get('bgr_to_rgb') or part.get('rgb_to_bgr')) and cfg.get('default_scope') == 'mmdet':
        problems.append(
            Problem((key, ), ' swaps red and blue, but the pipeline loads grey images', ('set bgr_to_rgb=False', )))
    return problems
