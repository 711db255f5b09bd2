"""Files that are whole at any moment."""
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Union

__all__ = ['TEMPORARY', 'check_target', 'write_atomically']

# name of what is being written: beside its target, hidden, and unique by what mkstemp puts in place of the star
TEMPORARY = '.{}.*.tmp'


def check_target(path: Union[str, Path]) -> Path:
    """Whether a file can be written where a user says: before the work of which it is to hold the result.

    Args:
        path: a file, or a link to one.

    Returns:
        Path: the file itself.

    Raises:
        FileExistsError: what is there is no regular file (a device, a pipe, a folder): it is left alone.
        FileNotFoundError: there is no such folder.
        PermissionError: nothing can be written to it.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FileExistsError(f'{path} is no regular file: it is left as it is')
    if not target.parent.is_dir():
        raise FileNotFoundError(f'{path} cannot be written: there is no folder {target.parent}')
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(f'{path} cannot be written: the folder {target.parent} is read-only for you')
    return target


def write_atomically(path: Union[str, Path], content: Union[bytes, Callable[[BinaryIO], None]]) -> None:
    """Write a file such that at any moment its path holds the old content or the new one, whole.

    Args:
        path: see :func:`check_target`.
        content: what it is to hold, or a function that writes it into the open file.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path = check_target(path)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    prefix, suffix = TEMPORARY.format(path.name).split('*')
    descriptor, temporary = tempfile.mkstemp(suffix, prefix, path.parent)
    try:
        with open(descriptor, 'wb') as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # it names the temporary file, or none
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    # the rename itself reaches the disk with the folder
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _umask() -> int:
    """The mode bits that new files do not get; mkstemp gives them none for others."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
