"""Checkpoints, read safely and loaded strictly.

Reading: only tensors, plain containers and the few classes that MMEngine's own training checkpoints hold are
unpickled; a file with anything else in it is refused before any of it runs. PaddlePaddle's files are read likewise.
Loading: every key and every shape must match; what may be absent is listed here or by the caller, never guessed.
"""
import os
import pickle
from typing import Callable, Dict, Iterable, List, Mapping, Optional
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor, nn

from .paddle_weights import read_pdparams

__all__ = ['CheckpointError', 'extract_state_dict', 'load_strictly', 'read_checkpoint', 'use_safe_loading']

# Absent from checkpoints of PyTorch < 0.4.1; it counts batches and changes no output.
MAY_BE_MISSING = ('num_batches_tracked', )
SHOWN_KEYS = 10


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit the model."""


def _history_method(cls, name: str) -> Callable:
    """Stands in for ``getattr``, by which MMEngine's HistoryBuffer pickles its statistics methods, and for no more."""
    from mmengine.logging import HistoryBuffer
    if cls is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'a reference to {name!r} of {cls!r}')


# torch finds an allowed global by these names
_history_method.__module__, _history_method.__name__, _history_method.__qualname__ = 'builtins', 'getattr', 'getattr'


def _allowed_globals() -> list:
    """The classes in MMEngine's training checkpoints: HistoryBuffer (the log) and numpy scalars and arrays in it."""
    from mmengine.logging import HistoryBuffer
    core = getattr(np, '_core', None) or np.core
    dtypes = [type(np.dtype(t)) for t in (np.bool_, np.int32, np.int64, np.uint32, np.float32, np.float64)]
    return [
        HistoryBuffer, _history_method, slice, np.ndarray, np.dtype, core.multiarray._reconstruct,
        core.multiarray.scalar, *dtypes
    ]


def _fetch(url: str) -> str:
    """Download into torch hub's cache what is not there yet. Returns the file."""
    file = os.path.join(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlsplit(url).path))
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        torch.hub.download_url_to_file(url, file)
    return file


def _read_safetensors(path: str, map_location: str) -> Dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise CheckpointError(f'checkpoint {path}: reading this format needs another package: '
                              'pip install safetensors') from None
    try:
        return load_file(path, device=str(map_location))
    except SafetensorError as error:
        raise CheckpointError(f'checkpoint {path} is broken or not in the format of its name: {error}') from error


def read_checkpoint(path: str, map_location: str = 'cpu') -> dict:
    """Read a checkpoint file or address without executing anything in it.

    Args:
        path: a local file, an ``http(s)://`` address (kept in torch hub's cache) or an address of MMEngine's such as
            ``torchvision://resnet50``. A name that ends in ``.pdparams`` is taken for PaddlePaddle's format, one in
            ``.safetensors`` for that of Hugging Face.
        map_location: where the tensors go.

    Returns:
        dict: what was saved.

    Raises:
        CheckpointError: it names the file and what is wrong: missing, broken, or holding code.
    """
    path = os.fspath(path)
    remote = path.startswith(('http://', 'https://'))
    suffix = os.path.splitext(urlsplit(path).path if remote else path)[1]
    paddle = suffix == '.pdparams'
    if remote and suffix in ('.pdparams', '.safetensors'):
        path = _fetch(path)
    elif remote:
        return torch.hub.load_state_dict_from_url(path, map_location=map_location, weights_only=True)
    if '://' in path:
        from mmengine.runner import CheckpointLoader
        return CheckpointLoader.load_checkpoint(path, map_location=map_location)
    if not os.path.isfile(path):
        raise CheckpointError(f'checkpoint {path}: no such file (looked from {os.getcwd()})')
    if suffix == '.safetensors':
        return _read_safetensors(path, map_location)
    torch.serialization.add_safe_globals(_allowed_globals())
    try:
        if paddle:
            checkpoint = read_pdparams(path, map_location)
        else:
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message ends in advice to turn the check off; its first sentence says which global it met
        reason = str(error).replace('\n', ' ').split('. ')
        met = next((part.strip() for part in reason if 'GLOBAL' in part or 'reference' in part), reason[0])
        raise CheckpointError(
            f'checkpoint {path} is refused: it holds more than weights, and reading it could run code '
            f'({met}). If it comes from a source that you trust, open it there and save its '
            f'state_dict alone.') from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f'checkpoint {path} is broken or not a {"PaddlePaddle" if paddle else "PyTorch"} '
                              f'checkpoint: {error}') from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict of weights')
    return checkpoint


def use_safe_loading() -> None:
    """Make MMEngine read local checkpoints (``load_from``, ``resume``, ``Pretrained``) by :func:`read_checkpoint`.

    Its maintained line falls back to unpickling anything when the safe way fails, and its older line cannot read its
    own training checkpoints with torch >= 2.6.
    """
    from mmengine.runner import CheckpointLoader

    @CheckpointLoader.register_scheme(prefixes='', force=True)
    def load_local(filename, map_location):
        return read_checkpoint(filename, map_location)


def extract_state_dict(checkpoint: Mapping, prefix: Optional[str] = None) -> Dict[str, Tensor]:
    """Find the backbone's weights in what a checkpoint file holds.

    Unwraps ``state_dict`` or ``model``, strips DataParallel's ``module.``, and takes the part under ``prefix``, or
    under ``backbone.`` where the file is that of a whole detector or classifier.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.
        prefix: the part to take, such as ``'backbone.'``. Defaults to None: found by itself.

    Returns:
        dict: name -> tensor.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    weights = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if weights and all(key.startswith('module.') for key in weights):
        weights = {key[len('module.'):]: value for key, value in weights.items()}
    if prefix is None and any(key.startswith('backbone.') for key in weights):
        prefix = 'backbone.'
    if prefix:
        prefix = prefix if prefix.endswith('.') else f'{prefix}.'
        weights = {key[len(prefix):]: value for key, value in weights.items() if key.startswith(prefix)}
    return weights


def _listing(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f' and {len(keys) - SHOWN_KEYS} more' if len(keys) > SHOWN_KEYS else ''
    return ', '.join(keys[:SHOWN_KEYS]) + more


def load_strictly(module: nn.Module,
                  state_dict: Mapping[str, Tensor],
                  source: str,
                  omitted: Iterable[str] = (),
                  optional: Iterable[str] = ()) -> List[str]:
    """Load weights, or raise and leave the module as it was.

    Args:
        module: what to load into.
        state_dict: name -> tensor.
        source: where it comes from, for the message.
        omitted: prefixes of parts that the module leaves out on purpose, such as stages beyond the last output.
        optional: prefixes of parts that keep their initial values where the weights have no key of them at all.

    Returns:
        list[str]: the optional prefixes that the weights did not have.

    Raises:
        CheckpointError: it names keys that are missing, not expected, or of another shape.
    """
    omitted = tuple(omitted)
    wanted = module.state_dict()
    given = {key: value for key, value in state_dict.items() if key in wanted or not key.startswith(omitted or '\0')}
    matching = wanted.keys() & given.keys()
    if not matching:
        raise CheckpointError(
            f'{source}: no key matches {type(module).__name__}. It has {_listing(state_dict) or "nothing"}; '
            f'expected {_listing(wanted)}')
    fresh = [
        prefix for prefix in optional
        if any(key.startswith(prefix) for key in wanted) and not any(key.startswith(prefix) for key in given)
    ]
    may_be_missing = tuple(fresh) or '\0'
    missing = [
        key for key in wanted
        if key not in given and not key.endswith(MAY_BE_MISSING) and not key.startswith(may_be_missing)
    ]
    unexpected = [key for key in given if key not in wanted]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, expected {tuple(wanted[key].shape)}' for key in wanted
        if key in matching and given[key].shape != wanted[key].shape
    ]
    problems = [
        f'{len(keys)} {what}: {_listing(keys)}'
        for what, keys in (('missing', missing), ('not expected', unexpected), ('of another shape', reshaped)) if keys
    ]
    if problems:
        raise CheckpointError(f'{source} does not fit {type(module).__name__}: ' + '; '.join(problems))
    module.load_state_dict(given, strict=False)
    return fresh
