"""Checkpoints, read without running anything in them.

Only tensors, plain containers and the few classes that MMEngine's own training checkpoints hold are unpickled; a file
with anything else in it is refused before any of it runs. PaddlePaddle's files are read likewise.
"""
import os
import pickle
from typing import Callable, Dict, Mapping
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .paddle import read_pdparams

__all__ = ['CheckpointError', 'read_checkpoint', 'use_safe_loading']


class CheckpointError(UserError):
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
