"""The parts of a model by the names of its weights: where the backbones are, and what a weight belongs to.

A detector may lie inside something else: a teacher with a student, a tracker, a model that tests with augmentation. All
that looks for a backbone in a model (loading, learning rates by layer) asks here; in a config,
:func:`mmbackbones.config.tree.find_root`.
"""
from typing import Dict

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

__all__ = ['BACKBONE', 'backbones_of', 'inner_model', 'part_of']

BACKBONE = 'backbone'


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
