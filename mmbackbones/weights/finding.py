"""Where in a checkpoint the weights are: under which key, and below which prefix of their names.

Everybody who trains packs them in another way: ``state_dict``, ``model``, ``model_ema``, ``student`` and ``teacher``,
names that begin with ``module.``, ``backbone.``, ``encoder.``. No list of these would be complete, so there is none:
keys of containers and parts of names make one path, and whatever lies below some path is tried.
"""
import itertools
import os
import re
from collections import Counter
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor

from ..messages import listed, some_of
from .reading import CheckpointError

__all__ = ['Part', 'common_path', 'contents', 'extract_state_dict', 'find_parts', 'is_average', 'shown', 'split_source']

# What torch.compile and checkpointed blocks of FSDP put into the middle of names.
WRAPPERS = re.compile(r'\b(_orig_mod|_checkpoint_wrapped_module)\.')
# An average over training beside the weights themselves, by the path that leads to it.
AVERAGE = re.compile(r'(^|[._])(ema|momentum|encoder_k|k)([._]|$)')
# deeper than that lie states of optimizers, not weights
MAX_DEPTH = 6
# and longer than that is no path to a network
MAX_PARTS = 12
# how many paths are tried: with the names that are looked for, and with as many tensors as are looked for
MAX_NAMED, MAX_LARGE = 6, 10
SHOWN_NAMES = 10
# characters of a name in a message
MAX_SHOWN = 120


class Part(NamedTuple):
    """Weights below a path.

    Attributes:
        path: keys of containers, then the beginning of the names, with a point behind each; empty for the whole file.
        weights: the rest of the name -> tensor.
        metadata: versions of the modules that wrote them, as torch keeps them beside a state dict.
    """
    path: str
    weights: Dict[str, Tensor]
    metadata: Dict[str, dict]


def shown(text: str) -> str:
    """A name from a file, as a message can hold it: one line, and not too long."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= MAX_SHOWN else f'{text[:MAX_SHOWN]}...'


def split_source(source: str) -> Tuple[str, Optional[str]]:
    """``FILE::PREFIX``, which names weights inside a file -> the file, and the prefix or None."""
    source = os.fspath(source)
    if '::' not in source or os.path.exists(source):
        return source, None
    file, _, prefix = source.rpartition('::')
    return file, prefix


def is_average(path: str) -> bool:
    """Whether a path leads to an average over training, which lies beside the weights that training ended with."""
    return bool(AVERAGE.search(path))


def _flatten(checkpoint: Mapping) -> Tuple[Dict[str, Tensor], Dict[str, dict]]:
    """All tensors by their paths, and by its path the metadata of each container that has some."""
    tensors: Dict[str, Tensor] = {}
    containers: Dict[str, dict] = {}

    def look(node: Any, path: str, depth: int) -> None:
        containers[path] = getattr(node, '_metadata', None) or {}
        for key, value in node.items():
            if isinstance(value, Tensor):
                tensors[WRAPPERS.sub('', f'{path}{key}')] = value
            elif isinstance(value, Mapping) and value and depth < MAX_DEPTH:
                look(value, f'{path}{key}.', depth + 1)

    look(checkpoint, '', 0)
    return tensors, containers


def _owner(path: str, containers: Iterable[str]) -> str:
    """The path of the innermost container on a path."""
    return max((each for each in containers if path.startswith(each)), key=len)


def _prefixes(name: str) -> Iterable[str]:
    """``'a.b.weight'`` -> ``''``, ``'a.'``, ``'a.b.'``, and so on, but not for ever in a name that is no name."""
    yield ''
    for match in itertools.islice(re.finditer(r'\.', name), MAX_PARTS):
        yield name[:match.end()]


def find_parts(checkpoint: Mapping, wanted: Iterable[str], prefix: Optional[str] = None) -> List[Part]:
    """What in a checkpoint could be the weights of a module.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.
        wanted: names of the module's weights; those in the file may be others.
        prefix: only what lies below it, such as ``'backbone.'`` or ``'teacher'``. It may be any piece of the path that
            is whole between points. Defaults to None: everything.

    Returns:
        list[Part]: those with most of the names first; never empty.

    Raises:
        CheckpointError: nothing lies below the prefix, or there is no tensor at all.
    """
    tensors, containers = _flatten(checkpoint)
    if not tensors:
        raise CheckpointError('It has nothing')
    wanted = set(wanted)
    named, sizes = Counter(), Counter()
    for name in tensors:
        for path in _prefixes(name):
            sizes[path] += 1
            named[path] += name[len(path):] in wanted
    paths = list(sizes)
    if prefix:
        prefix = prefix.strip('.') + '.'
        paths = [path for path in paths if f'.{prefix}' in f'.{path}']
        if not paths:
            raise CheckpointError(f'Nothing in it lies below {shown(prefix)!r}. {contents(checkpoint)}')
    by_name = sorted(paths, key=lambda path: (-named[path], len(path)))[:MAX_NAMED]
    # with names of another project, the weights are known by their number alone
    large = [path for path in paths if sizes[path] >= len(wanted) / 3 or path in containers]
    by_size = sorted(large, key=lambda path: (-sizes[path], len(path)))[:MAX_LARGE]
    parts = []
    for path in dict.fromkeys([*(path for path in by_name if named[path]), *by_size, *by_name[:1]]):
        owner = _owner(path, containers)
        inside = path[len(owner):]
        metadata = {key[len(inside):]: value for key, value in containers[owner].items() if key.startswith(inside)}
        weights = {name[len(path):]: value for name, value in tensors.items() if name.startswith(path)}
        parts.append(Part(path, weights, metadata))
    return parts


def contents(checkpoint: Mapping) -> str:
    """The tensors in a checkpoint, in a sentence: few by their names, many by the paths that lead to them."""
    tensors, containers = _flatten(checkpoint)
    names = list(tensors)
    if len(names) <= SHOWN_NAMES:
        return f'It has {listed(shown(name[len(_owner(name, containers)):]) for name in names) or "nothing"}'
    start = common_path(names)
    groups = Counter(start + name[len(start):].partition('.')[0] for name in names)

    def said(group: str) -> str:
        inside = common_path([name for name in names if name == group or name.startswith(f'{group}.')])
        return f'{shown(inside or group)} ({groups[group]})'

    paths = some_of((group for group, _ in groups.most_common()), SHOWN_NAMES, said)
    return f'It has {len(names)} tensors below these paths: {paths}; the first is {shown(names[0])}'


def common_path(names: List[str]) -> str:
    """The longest path that all names begin with, with the point behind it; empty where there is none."""
    start = os.path.commonprefix(names)
    return start[:start.rfind('.') + 1]


def extract_state_dict(checkpoint: Mapping, prefix: Optional[str] = None) -> Dict[str, Tensor]:
    """The weights in a checkpoint, by the structure of the file alone: the container with most tensors of its own.

    Where the module is there that they are for, :func:`mmbackbones.weights.load_part` finds more.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.
        prefix: the part to take, such as ``'backbone.'``. Defaults to None: the container as it is.

    Returns:
        dict: name -> tensor.
    """
    tensors, containers = _flatten(checkpoint)
    sizes = Counter(_owner(name, containers) for name in tensors)
    path = max(sizes, key=sizes.get, default='') + (prefix.strip('.') + '.' if prefix else '')
    return {name[len(path):]: value for name, value in tensors.items() if name.startswith(path)}
