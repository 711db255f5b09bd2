"""Mean, deviation and channel order of the pixels, wherever a config states them or fills gaps with them."""
from typing import Any, List, Sequence, Tuple

from ..catalogue import Backbone
from ..config.edit import Plan
from ..config.meta_run import parameters_of
from ..config.tree import get, nodes

__all__ = ['swap_statistics']

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _preprocessors(plan: Plan) -> List[Tuple]:
    """Paths of the dicts that say how pixels are normalised; a teacher with a student has one inside another."""
    cfg = plan.cfg._cfg_dict
    found = [
        path for key in ('data_preprocessor', 'model') for path, node in nodes(cfg.get(key), (key, ))
        if path[-1] == 'data_preprocessor' and isinstance(node, dict)
    ]
    return [path for path in found if not get(cfg, (*path, 'data_preprocessor'))] or [('data_preprocessor', )]


def _order_key(plan: Plan, part: dict) -> str:
    """What the class calls its switch from BGR, as images are loaded, to RGB."""
    for key in ('bgr_to_rgb', 'to_rgb'):
        if key in part:
            return key
    if 'type' in part:
        return 'bgr_to_rgb' if 'bgr_to_rgb' in parameters_of(plan.cfg, part) else 'to_rgb'
    return 'to_rgb' if plan.cfg.get('default_scope') == 'mmpretrain' else 'bgr_to_rgb'


def _numbers(value: Any) -> List[float]:
    """A list of numbers, empty for anything else; one number stands for all channels."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value] * 3
    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return list(value) * (3 if len(value) == 1 else 1)
    return []


def swap_statistics(plan: Plan, row: Backbone) -> None:
    """Normalise pixels as the backbone's weights expect it; transforms that fill gaps with the mean fill in the new.

    Where a config has the same statistics nothing changes.
    """
    new, old, changed = {'mean': list(row.mean), 'std': list(row.std)}, {}, False
    why = f'pixels as the weights of {row.name} expect them, RGB'
    for path in _preprocessors(plan):
        here = get(plan.cfg._cfg_dict, path) or {}
        order = _order_key(plan, here)
        in_rgb = bool(here.get(order))
        for key, without in (('mean', 0.), ('std', 1.)):
            numbers = _numbers(here.get(key)) or [without] * 3
            old[key] = numbers if in_rgb else numbers[::-1]
        for key, value in (*new.items(), (order, True)):
            now = here.get(key)
            if (_numbers(now) if key != order else in_rgb) != value:
                plan.set((*path, key), value, why)
                changed = True
    if changed:
        for loader in LOADERS:
            _swap_fillings(plan, loader, old, new)


def _swap_fillings(plan: Plan, loader: str, old: dict, new: dict) -> None:
    """Change what the transforms of one loader fill in: a mean with its order of channels, or a colour in BGR."""
    for path, node in nodes(plan.cfg.get(loader) or {}, (loader, )):
        if isinstance(node, dict) and len(_numbers(node.get('mean'))) == 3:
            in_rgb, said = node.get('to_rgb', True), f'{node.get("type", "it")} fills in the mean'
            for key in ('mean', 'std'):
                numbers = _numbers(node.get(key))
                if (numbers if in_rgb else numbers[::-1]) == old[key]:
                    if numbers != new[key]:
                        plan.set((*path, key), new[key], said)
                    if key == 'mean' and not in_rgb:
                        plan.set((*path, 'to_rgb'), True, said)
        elif isinstance(node, (list, tuple)) and path[-1] not in ('mean', 'std') and len(set(_numbers(node))) > 1:
            for key in ('mean', 'std'):
                filling = _like(node, old[key][::-1], new[key][::-1])
                if filling and filling != list(node):
                    plan.set(path, type(node)(filling), f'the {key} of the pixels, BGR')


def _like(node: Sequence[float], old: Sequence[float], new: Sequence[float]) -> List[float]:
    """The new numbers where a list has the old ones, rounded where it has them rounded; empty where it has others."""
    if list(node) == list(old):
        return list(new)
    return [round(value) for value in new] if list(node) == [round(value) for value in old] else []
