"""A config as a tree: its values by the keys that lead to them, and the place of the backbone."""
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict

from ..weights.parts import BACKBONE

__all__ = ['Owner', 'dotted', 'find_root', 'first_neck', 'get', 'kind_of', 'nodes']


def dotted(path: Sequence) -> str:
    """Keys as they are written in messages: ``model.neck[0].in_channels``."""
    return ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in path).lstrip('.')


def get(node: Any, path: Sequence) -> Any:
    """The value at a path; None where there is none."""
    for key in path:
        if isinstance(node, dict):
            node = node.get(key)
        else:
            node = node[key] if isinstance(node, (list, tuple)) and isinstance(key, int) else None
    return node


def nodes(node: Any, path: Tuple = ()) -> Iterator[Tuple[Tuple, Any]]:
    """Every value below a config with the keys that lead to it."""
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, child in list(items):
        yield from nodes(child, (*path, key))


def find_root(cfg: Config) -> Optional[Tuple[str, ...]]:
    """The keys that lead to what has the backbone: the model, or the detector in a tracker or a teacher with a student.

    None where there is no backbone, or where it is not clear which one of several is meant.
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


class Owner(NamedTuple):
    """What has the backbone in a config: a detector or classifier, which may lie inside another model.

    Attributes:
        cfg: the whole config.
        root: keys that lead to the owner, such as ``('model', 'detector')``.
    """
    cfg: Config
    root: Tuple[str, ...]

    @property
    def model(self) -> ConfigDict:
        """Its part of the config."""
        return get(self.cfg._cfg_dict, self.root)

    def path(self, *keys: Any) -> Tuple:
        """The keys that lead from the top of the config to a part of it."""
        return (*self.root, *keys)

    def key(self, *keys: Any) -> str:
        """The key of a part of it as messages write it."""
        return dotted(self.path(*keys))


def first_neck(model: dict) -> Tuple[Optional[dict], Tuple]:
    """The config of the neck that takes the backbone's maps, None where there is none, and its keys in the model."""
    neck = model.get('neck')
    return (neck[0], ('neck', 0)) if isinstance(neck, (list, tuple)) else (neck, ('neck', ))


def kind_of(part: dict) -> str:
    """The type of a part as messages write it."""
    kind = part.get('type', 'no type')
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
