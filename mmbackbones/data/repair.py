"""Copies of annotation files in which what has one right answer is set right."""
import hashlib
import os
from pathlib import Path
from typing import Callable, Sequence

from ..errors import InputError
from ..files import write_atomically

__all__ = ['write_repaired']


def write_repaired(path: str, digest: str, repairs: Sequence[str], content: Callable[[], bytes], work_dir: str) -> str:
    """Write a repaired copy, unless it is there already.

    Args:
        path: of the file.
        digest: of its contents.
        repairs: what is done to it.
        content: makes the copy's contents.
        work_dir: of the run.

    Returns:
        str: the copy's path, below the work directory; its name tells the contents and the repairs.

    Raises:
        InputError: it cannot be written.
    """
    name = hashlib.sha256('\0'.join([digest, *sorted(repairs)]).encode()).hexdigest()[:12]
    copy = Path(os.path.abspath(work_dir)) / 'data' / f'{Path(path).stem}-{name}.json'
    if not copy.is_file():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(copy, content())
        except OSError as error:
            raise InputError(f'{path} needs repair ({"; ".join(repairs)}), and the copy {copy} cannot be written: '
                             f'{error.strerror or error}') from error
    return str(copy)
