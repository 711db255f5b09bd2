"""Files that are whole at any moment."""
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Union

__all__ = ['TEMPORARY', 'write_atomically']

# name of what is being written: beside its target, hidden, and unique by what mkstemp puts in place of the star
TEMPORARY = '.{}.*.tmp'


def write_atomically(path: Union[str, Path], content: Union[bytes, Callable[[BinaryIO], None]]) -> None:
    """Write a file such that at any moment its path holds the old content or the new one, whole.

    Args:
        path: a file, or a link to one; its folder exists. What else exists there (a device, a pipe, a folder) is left
            alone.
        content: what it is to hold, or a function that writes it into the open file.

    Raises:
        FileExistsError: the path is no regular file.
        OSError: it cannot be written; nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    mode = 0o666 & ~_umask()
    if path.exists():
        if not path.is_file():
            raise FileExistsError(f'{path} is no regular file: it is left as it is')
        mode = stat.S_IMODE(path.stat().st_mode)
    prefix, suffix = TEMPORARY.format(path.name).split('*')
    descriptor, temporary = tempfile.mkstemp(suffix, prefix, path.parent)
    try:
        with open(descriptor, 'wb') as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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
