"""Which part of a config an error comes from, said in one sentence."""
import contextlib
import errno
import importlib
import inspect
import textwrap
import traceback
from types import FrameType
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import mmengine.registry
import torch
from mmengine.registry import Registry

from ..errors import UserError, one_line
from ..messages import did_you_mean
from .problem import ConfigError, Problem
from .tree import get, kind_of, nodes

__all__ = [
    'UNKNOWN', 'arguments_of', 'blamed', 'building', 'describe', 'find_type', 'names_of', 'parameters', 'sentence',
    'unknown_types'
]

REGISTRIES = [
    each for each in map(mmengine.registry.__dict__.get, mmengine.registry.__all__) if isinstance(each, Registry)
]
# errors of the machine: no part of the config is to blame
MACHINE = (MemoryError, torch.OutOfMemoryError, UserError)
LONGEST = 300  # characters of what a library says
# what to do about a type that is not known and like no other
UNKNOWN = 'look at its spelling, and at what custom_imports loads'
MACHINE_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EPIPE, errno.EIO)


def _of_scope(registry: Registry, scope: str) -> Registry:
    return registry.children.get(scope, registry)


def find_type(registry: Registry, name: Any, scope: str) -> Any:
    """The class or function of a type in one of MMEngine's registries; None where there is none."""
    if not isinstance(name, str):
        return name if callable(name) else None
    try:
        return _of_scope(registry, scope).get(name)
    except (RuntimeError, ImportError):  # how MMEngine says that there is none
        return None


def names_of(registry: Registry, scope: str) -> List[str]:
    """All types that a config of this scope may use without a prefix, and ours with it."""
    inner, ours = _of_scope(registry, scope), importlib.import_module('mmbackbones.registry')
    names = set(registry.module_dict) | set(inner.module_dict)
    for own in (getattr(ours, name) for name in ours.__all__):
        if own.parent is registry:
            own.import_from_location()
            names.update(f'mmbackbones.{name}' for name in own.module_dict)
    return sorted(names)


def unknown_types(tree: Any, scope: str) -> List[Tuple[Tuple, str]]:
    """Paths and sentences about the types below a part of a config that no registry has."""
    said = []
    for path, node in nodes(tree):
        name = node.get('type') if isinstance(node, dict) else None
        if isinstance(name, str) and not any(
                find_type(registry, name, node.get('_scope_', scope)) for registry in REGISTRIES):
            known = [each for registry in REGISTRIES for each in names_of(registry, scope)]
            said.append((path, f"type='{name}' is not known{did_you_mean(name, known, otherwise=UNKNOWN)}"))
    return said


def parameters(target: Any) -> Dict[str, inspect.Parameter]:
    """The arguments of a class or function by name, with those that a class hands on to what it inherits."""
    found: Dict[str, inspect.Parameter] = {}
    for kind in target.__mro__ if isinstance(target, type) else (target, ):
        call = vars(kind).get('__init__') if isinstance(target, type) else kind
        if call is None or kind is object or not callable(call):
            continue
        own = inspect.signature(call).parameters
        for name, parameter in own.items():
            if name != 'self' and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(name, parameter)
        if not any(each.kind is each.VAR_KEYWORD for each in own.values()):
            break
    return found


def arguments_of(name: Any, scope: str) -> Set[str]:
    """Names of the arguments of a type, whatever it is a type of; none where it is not known."""
    for registry in REGISTRIES:
        target = find_type(registry, name, scope)
        if target is not None:
            return set(parameters(target))
    return set()


def sentence(error: BaseException) -> str:
    """What an error says, with its type where the words alone may not be understood."""
    text = textwrap.shorten(one_line(error), LONGEST, placeholder=' ...')
    if isinstance(error, AssertionError) and not str(error):
        text = traceback.extract_tb(error.__traceback__)[-1].line or text
    if isinstance(error, (ValueError, AssertionError, ImportError)) and text != type(error).__name__:
        return text
    return text if text == type(error).__name__ else f'{type(error).__name__}: {text}'


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an error went through, the innermost first, and those of its cause before its own."""
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        yield frame


def _innermost_values(error: BaseException) -> List[Any]:
    """The local variables where an error was raised.

    Of a type that is not known, or a class that was called with wrong arguments, no method is on the way of the error:
    the function that looked for it or called it still holds its name, the class and the arguments.
    """
    frame = next(_frames(error), None)
    return list(frame.f_locals.values()) if frame else []


def _classes_on_the_way(error: BaseException) -> Iterator[str]:
    """Names of the classes whose methods the error went through, the innermost first."""
    if isinstance(error, TypeError):
        yield from (value.__name__ for value in _innermost_values(error) if isinstance(value, type))
    for frame in _frames(error):
        owner = frame.f_locals.get('self')
        if owner is not None:
            yield from (kind.__name__ for kind in type(owner).__mro__)


def blamed(error: BaseException, tree: Any, root: Tuple = ()) -> Optional[Tuple[Tuple, dict]]:
    """The part of a config whose class an error came from.

    Args:
        error: as it was caught, with its traceback.
        tree: a part of the config.
        root: the keys that lead to it.

    Returns:
        tuple | None: the keys of the part, and the part.
    """
    parts: Dict[str, Tuple[Tuple, dict]] = {}
    for path, node in nodes(tree):
        if isinstance(node, dict) and node.get('type'):
            parts.setdefault(kind_of(node).rpartition('.')[2], ((*root, *path), node))
    return next((parts[name] for name in _classes_on_the_way(error) if name in parts), None)


def _unexpected(error: BaseException, part: dict, scope: str) -> Optional[Problem]:
    """Whether an error comes from an argument that the class of a part does not have, and was about to be given."""
    known = arguments_of(part.get('type'), scope)
    given = [value for value in _innermost_values(error) if isinstance(value, dict)]
    for name in part if known and isinstance(error, TypeError) else ():
        if name not in ('type', '_scope_', *known) and any(name in each for each in given):
            return Problem((), f' ({kind_of(part)}) has no argument {name!r}{did_you_mean(name, sorted(known))}')
    return None


def describe(error: BaseException, tree: Any, root: Tuple, scope: str = 'mmengine') -> Problem:
    """Say which part of a config cannot be used, and why.

    Args:
        error: what was raised when the part was built or run.
        tree: the part of the config.
        root: the keys that lead to it.
        scope: of its types.
    """
    while isinstance(error.__cause__, type(error)):  # MMEngine adds the hook's address in memory to what it says
        error = error.__cause__
    sought = [value for value in _innermost_values(error) if isinstance(value, str)]
    for path, said in unknown_types(tree, scope):
        if get(tree, (*path, 'type')) in sought:
            return Problem((*root, *path), f': {said}', error=error)
    path, part = blamed(error, tree, root) or (root, tree)
    part = part if isinstance(part, dict) else {}
    problem = _unexpected(error, part, scope) or Problem((), f'{_kind(part)}: {sentence(error)}')
    return problem._replace(path=path, error=error)


def _kind(part: dict) -> str:
    return f' ({kind_of(part)})' if part.get('type') else ''


@contextlib.contextmanager
def building(root: Tuple, tree: Any, scope: str = 'mmengine') -> Iterator[None]:
    """Within, an error is one of this part of the config, unless it is one of the machine's.

    Args:
        root: the keys that lead to the part.
        tree: the part.
        scope: of its types.

    Raises:
        ConfigError: it names the config key.
    """
    try:
        yield
    except MACHINE:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE_NUMBERS:
            raise
        raise ConfigError(describe(error, tree, root, scope)) from error
