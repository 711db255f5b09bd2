"""Checkpoints, read without running anything in them: the one reader for every entrance, format and address.

Only tensors, arrays of numbers, plain containers and the few classes that hold data in authors' and MMEngine's own
checkpoints are read. A file with anything else in it is refused by name; nothing of a file is imported or called.
"""
import os
from typing import Any, Dict, Mapping

from ..errors import UserError
from .addresses import SCHEMES, open_checkpoint
from .arrays import MapLocation
from .containers import read_container
from .pickles import DamagedError, RefusedError, printable

__all__ = ['CheckpointError', 'look_at_checkpoint', 'read_checkpoint', 'use_safe_loading']

# characters; texts of a file are cut much shorter where they are quoted
MAX_REASON = 380
MAX_PATHS = 4096
# checkpoints that were looked at, until MMEngine reads them: address -> what they hold
_LOOKED_AT: Dict[str, dict] = {}
FORMATS = {'.pdparams': 'a PaddlePaddle checkpoint', '.safetensors': 'in the format of its name'}


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not fit the model."""


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return 'a folder that is gone'


def _read(address: str, map_location: MapLocation) -> Any:
    """What a file holds.

    Raises:
        CheckpointError: in one line.
    """
    length = MAX_REASON
    try:
        with open_checkpoint(address) as file:
            return read_container(file, map_location)
    except FileNotFoundError:
        reason = f': no such file (looked from {_here()})'
    except RefusedError as error:
        holds = 'is a whole object and not weights' if error.whole else 'holds more than weights'
        reason = f' is refused: it {holds} ({error}), and code of a file is not run. If it comes from a source that ' \
            'you trust, open it there and save its state_dict alone.'
    except OSError as error:
        reason, length = f': {error.strerror or error}', MAX_PATHS
    except Exception as error:  # what is damaged in a way that nobody thought of must not be a stack of calls
        said = error if isinstance(error, DamagedError) else f'{type(error).__name__}: {error}'
        kind = FORMATS.get(os.path.splitext(address)[1], 'a PyTorch checkpoint')
        reason = f' is broken or not {kind}: {said}'
    raise CheckpointError(f'checkpoint {printable(address, MAX_PATHS)}{printable(reason, length)}')


def read_checkpoint(path: str, map_location: MapLocation = 'cpu') -> dict:
    """Read a checkpoint file or address without executing anything in it.

    Args:
        path: a local file, an ``http(s)://`` address (kept in torch hub's cache) or another of MMEngine's such as
            ``torchvision://resnet50``. The format is told by the content: PyTorch's, safetensors or PaddlePaddle's.
        map_location: where the tensors go, as in ``torch.load``; None leaves them on the CPU.

    Returns:
        dict: what was saved. Objects that only hold data (``argparse.Namespace``) are dicts, paths are strings.

    Raises:
        CheckpointError: it names the file and what is wrong: missing, broken, or holding code.
    """
    path = os.fspath(path)
    if not path.strip():
        raise CheckpointError('the name of a checkpoint is empty: expected a file or an address')
    checkpoint = _read(path, map_location)
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f'checkpoint {printable(path, MAX_PATHS)} holds a {type(checkpoint).__name__}, expected a dict of weights')
    if path.startswith('mmcls://'):  # of these MMEngine gives the backbone alone
        weights = checkpoint.get('state_dict')
        weights = weights if isinstance(weights, Mapping) else checkpoint
        parts = {key: value for key, value in weights.items() if isinstance(key, str) and key.startswith('backbone.')}
        return dict(state_dict={key[len('backbone.'):]: value for key, value in parts.items()})
    return checkpoint


def look_at_checkpoint(path: str) -> dict:
    """Read a checkpoint that MMEngine is going to read, too, which then takes what was read here.

    Args:
        path: as MMEngine will be given it, see :func:`read_checkpoint`.

    Returns:
        dict: see there; it must not be changed.

    Raises:
        CheckpointError: see there.
    """
    if path not in _LOOKED_AT:
        _LOOKED_AT[path] = read_checkpoint(path)
    return _LOOKED_AT[path]


def use_safe_loading() -> None:
    """Make MMEngine read all checkpoints (``load_from``, ``resume``, ``Pretrained``) by :func:`read_checkpoint`.

    What an earlier command in this process has looked at is forgotten.

    Its maintained line falls back to unpickling anything when the safe way fails, and its older line cannot read its
    own training checkpoints with torch >= 2.6.
    """
    from mmengine.runner import CheckpointLoader

    _LOOKED_AT.clear()

    @CheckpointLoader.register_scheme(prefixes=SCHEMES, force=True)
    def load_from_anywhere(filename: str, map_location: MapLocation = None) -> dict:
        return _LOOKED_AT.pop(filename, None) or read_checkpoint(filename, map_location)
