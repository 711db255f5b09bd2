"""Where the backbone is: one rule for configs, and one for models.

A detector may lie inside something else: a teacher with a student, a tracker, a model that tests with augmentation. All
that looks for a backbone (swap, check, ``--backbone-weights``, loading, learning rates by layer) asks here.
"""
from typing import Dict, List, Optional, Tuple

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

__all__ = ['backbones_of', 'find_root', 'inner_model', 'part_of']

BACKBONE = 'backbone'


def find_root(cfg: Config) -> Optional[Tuple[str, ...]]:
    """The keys that lead to what has the backbone: the model, or the detector in a tracker or a teacher with a student.

    None where there is no backbone, or no telling which one of several.
    """
    found: List[Tuple[str, ...]] = []

    def look(part: dict, path: Tuple[str, ...]) -> None:
        if part.get(BACKBONE):
            found.append(path)
            return
        for key, child in part.items():
            if isinstance(child, dict) and 'type' in child:
                look(child, (*path, key))

    look(cfg.get('model') or {}, ('model', ))
    # a tracker may have a network that tells persons apart, too
    detectors = [path for path in found if path[-1] == 'detector']
    return found[0] if len(found) == 1 else detectors[0] if len(detectors) == 1 else None


def inner_model(model: nn.Module) -> nn.Module:
    """The model without what the runner wraps around it: the processes' group, testing with augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def backbones_of(model: nn.Module) -> Dict[str, nn.Module]:
    """The backbones in a model by their names in it, such as ``backbone``, or ``student.backbone`` and its teacher's.

    What lies inside another backbone is a part of that one.
    """
    found: Dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f'{known}.') for known in found)
        if name.rpartition('.')[2] == BACKBONE and not inside:
            found[name] = module
    return found


def part_of(key: str, backbones: Dict[str, nn.Module]) -> str:
    """The part of a model that a weight belongs to, such as ``neck``, or ``student.neck`` of a teacher with a student.

    Args:
        key: name of the weight.
        backbones: what :func:`backbones_of` gave for the model.
    """
    owners = {name[:-len(BACKBONE)] for name in backbones}
    owner = max((owner for owner in owners if key.startswith(owner)), key=len, default='')
    return owner + key[len(owner):].partition('.')[0]
