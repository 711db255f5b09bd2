"""One run at a time in a work directory."""
import contextlib
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import IO, Iterator

from mmengine.dist import get_rank
from mmengine.logging import print_log

from ..errors import InputError

__all__ = ['lock_work_dir']

NAME = '.lock'
PATIENCE = 20.  # seconds; data loading workers notice within five that the process that started them is gone


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        return f'process {owner["pid"]} on {owner["host"]}, since {owner["since"]}: {owner["command"]}'
    except (OSError, ValueError, KeyError, TypeError):
        return 'a process that did not say which'


@contextlib.contextmanager
def lock_work_dir(work_dir: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the work directory, in the first process of a run, until this is left or the process has ended.

    Args:
        work_dir: it exists.
        patience: seconds to wait for another run to end, as one that was just killed does.

    Raises:
        InputError: another run is in it. The message names its host, process and command.
    """
    if get_rank() != 0:
        yield
        return
    path = Path(work_dir) / NAME
    # the system lets go of the lock when the process and the workers that it started are gone, however they ended
    with open(path, 'a+') as file:
        _lock(file, path, patience)
        file.seek(0)
        file.truncate()
        owner = dict(host=socket.gethostname(), pid=os.getpid(), since=time.strftime('%Y-%m-%d %H:%M:%S'))
        json.dump(dict(owner, command=shlex.join(sys.argv)), file)
        file.flush()
        yield


def _lock(file: IO, path: Path, patience: float) -> None:
    end, waiting = time.monotonic() + patience, False
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise InputError(f'another run is in the work directory {path.parent.absolute()} ({_owner(path)}). '
                                 f'Wait for it to end, stop it, or choose another folder with --work-dir.') from None
        except OSError as error:  # a file system without locks
            print_log(f'Warning: {path} cannot be locked ({error.strerror}); see that no other run uses this folder.')
            return
        if not waiting:
            waiting = True
            print_log(f'Waiting up to {patience:.0f} s for another run in {path.parent} to end ({_owner(path)})')
        time.sleep(0.2)
