"""A copy of a config, what was changed in it and why, and the lines of a config that inherits the original."""
import copy
from typing import Any, Dict, List, NamedTuple, Tuple

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from .tree import Owner, dotted, get

__all__ = ['Change', 'Plan', 'SwapError', 'code']


class SwapError(UserError):
    """The backbone cannot take this place; the message says why, and what would fit."""


class Change(NamedTuple):
    """One changed value, or one that stays although it might be expected to change.

    Attributes:
        what: ``key=value``, or the key alone of what stays.
        why: the reason, a phrase.
    """
    what: str
    why: str


class Plan:
    """A copy of a config, the paths of what was changed in it, and why.

    Args:
        cfg: not changed.
        root: keys that lead to the detector or classifier: ``('model', )``, or of what is inside a teacher with a
            student or a tracker.
    """

    def __init__(self, cfg: Config, root: Tuple[str, ...]) -> None:
        self.base = cfg._cfg_dict
        self.cfg = copy.deepcopy(cfg)
        self.owner = Owner(self.cfg, root)
        self.replaced: Dict[Tuple, bool] = {}
        self.changes: List[Change] = []

    @property
    def model(self) -> ConfigDict:
        """The config of the detector or classifier."""
        return self.owner.model

    def key(self, *keys: Any) -> str:
        """The key of a part of the detector or classifier as messages write it."""
        return self.owner.key(*keys)

    def set(self, path: Tuple, value: Any, why: str, replace: bool = False) -> None:
        """Set one value; a dict is merged into what is there, or takes its place."""
        owner = self.cfg._cfg_dict
        for key in path[:-1]:
            if isinstance(key, str) and owner.get(key) is None:
                owner[key] = ConfigDict()
            owner = owner[key]
        old = owner.get(path[-1]) if isinstance(owner, dict) else owner[path[-1]]
        if isinstance(value, dict) and isinstance(old, dict) and not replace:
            value = Config._merge_a_into_b(ConfigDict(value), old)
        owner[path[-1]] = copy.deepcopy(value)
        # the file that is written replaces what it inherits, and not what an earlier change has put there
        self.replaced[path] = self.replaced.get(path, False) or replace and isinstance(get(self.base, path), dict)
        self.changes.append(Change(f'{dotted(path)}={code(value)}', why))

    def set_model(self, path: Tuple, value: Any, why: str, replace: bool = False) -> None:
        """Set one value of the detector or classifier."""
        self.set(self.owner.path(*path), value, why, replace)

    def keep(self, what: str, why: str) -> None:
        """Say why something stays."""
        self.changes.append(Change(what, why))

    def forget(self, path: Tuple) -> None:
        """Below this path everything is going to be written as a whole."""
        self.replaced = {known: value for known, value in self.replaced.items() if known[:len(path)] != path}

    def assignments(self) -> List[str]:
        """What a config writes that inherits from the original: each changed value once, lists as a whole.

        A step of the train pipeline is changed where it is inherited, as the pipeline is long.
        """
        overrides: Dict[str, Any] = {}
        edits: Dict[Tuple, Dict[Tuple, Dict[str, Any]]] = {}
        for path, replaced in self.replaced.items():
            value = get(self.cfg._cfg_dict, path)
            numbers = [index for index, key in enumerate(path) if isinstance(key, int)]
            if path[0] == 'train_dataloader' and len(numbers) == 1 and numbers[0] + 1 < len(path):
                steps, (index, *inner) = path[:numbers[0]], path[numbers[0]:-1]
                edits.setdefault(steps, {}).setdefault((index, *inner), {})[path[-1]] = value
                continue
            if numbers:
                path = path[:numbers[0]]
                value, replaced = get(self.cfg._cfg_dict, path), False
            node, inside = overrides, False
            for key in path[:-1]:
                node = node.setdefault(key, {})
                inside = inside or isinstance(node, list)
                if inside:
                    break
            if not inside:
                node[path[-1]] = {'_delete_': True, **value} if replaced and isinstance(value, dict) else value
        lines = [f'{key} = {code(value)}' for key, value in overrides.items()]
        for path, steps in edits.items():
            lines.append(f'train_pipeline = _base_.{dotted(path)}')
            lines += [f'train_pipeline{dotted(step)}.update({code(values)[5:-1]})' for step, values in steps.items()]
            nested = 'train_pipeline'
            for key in reversed(path[1:]):
                nested = f'dict({key}={nested})'
            lines.append(f'{path[0]} = {nested}')
        return lines


def code(value: Any) -> str:
    """A value as it is written in configs."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return 'dict(' + ', '.join(f'{key}={code(item)}' for key, item in value.items()) + ')'
        return '{' + ', '.join(f'{key!r}: {code(item)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(code, value)) + ']'
    if isinstance(value, tuple):
        return '(' + ', '.join(map(code, value)) + (',)' if len(value) == 1 else ')')
    if isinstance(value, type):
        return repr(f'{value.__module__}.{value.__qualname__}')
    return repr(value)
