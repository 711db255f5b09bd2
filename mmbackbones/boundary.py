"""Where commands end: every error in one line, and an exit status that programs can rely on. Loads no torch.

Known errors (:class:`~mmbackbones.errors.UserError`, and those of the machine: files, memory, missing packages) are one
line. Any other is one line, too, and a report with the stack of calls in a file.
"""
import argparse
import contextlib
import datetime
import errno
import functools
import logging
import os
import platform
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple, Type

from .compat import installed_stack
from .errors import UserError, one_line
from .version import __version__

__all__ = ['Ended', 'Parser', 'Situation', 'command', 'heed_signals']

MENDABLE, USAGE, UNEXPECTED, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143
TRACEBACK = '--traceback'

# what to do about errors of the file system
REMEDIES = {
    errno.ENOSPC: 'free some space, or choose another disk with --work-dir FOLDER or --output FILE',
    errno.EDQUOT: 'free some of your quota, or choose another disk with --work-dir FOLDER or --output FILE',
    errno.EROFS: 'choose a place that can be written to',
    errno.EACCES: 'look at its permissions, or choose another place',
    errno.EPERM: 'look at its permissions, or choose another place',
    errno.ENOENT: 'look at its spelling, and whether something removes it',
    errno.EMFILE: 'raise the limit (ulimit -n), or lower num_workers',
}

# Seconds that a process of several gives the others. The launcher ends them all when one has ended, so that what all
# meet is said by the first alone, and what comes of another's end is not said at all.
PATIENCE_OF_FIRST, PATIENCE_BEFORE_GROUP, PATIENCE = 2, 10, 6


class Ended(SystemExit):
    """The end of a command: ``code`` is its exit status, ``str()`` what was said."""

    def __init__(self, status: int, said: str = '') -> None:
        super().__init__(status)
        self.said = said

    def __str__(self) -> str:
        return self.said


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which unwinds like Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """Options, of which a wrong one is said in one line; every command has ``--traceback``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.add_argument(
            TRACEBACK, action='store_true', help='show the stack of calls of an error instead of one line')

    def error(self, message: str) -> None:
        """End with status 2."""
        line = f'error: {" ".join(message.split())} (`{self.prog} --help` lists the options)'
        print(line, file=sys.stderr)
        raise Ended(USAGE, line)


class Situation:
    """What is known of a run when it ends.

    Attributes:
        work_dir: the work directory; None before it is known.
        resumable: whether ``--resume`` goes on with what is in it.
    """

    def __init__(self) -> None:
        self.work_dir: Optional[Path] = None
        self.resumable = False
        self._missing: List[Path] = []

    def use(self, work_dir: str, resumable: bool) -> None:
        """Note the work directory before it is made."""
        self.work_dir, self.resumable = Path(os.path.abspath(work_dir)), resumable
        self._missing = [path for path in (self.work_dir, *self.work_dir.parents) if not os.path.lexists(path)]

    def tidy(self) -> None:
        """Remove the folders that were made for this run and hold no file."""
        if not self._missing or not self.work_dir.is_dir():
            return
        for folder, _, _ in os.walk(self.work_dir, topdown=False):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(folder)
        for path in self._missing:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def way_on(self) -> str:
        """How an interrupted run is continued."""
        pointer = self.work_dir / 'last_checkpoint' if self.resumable else None
        if pointer is None or not (pointer.is_file() or any(self.work_dir.glob('*.pth'))):
            return 'interrupted'
        return f'interrupted; go on with --resume (checkpoints are in {self.work_dir})'


def _processes() -> Tuple[int, int]:
    """Number of this process and how many there are, as the launcher says."""
    size = int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1)
    return (int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0) if size > 1 else 0), size


def _group_exists() -> bool:
    distributed = sys.modules.get('torch.distributed')
    return bool(distributed and distributed.is_available() and distributed.is_initialized())


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get('torch')
    return isinstance(error, MemoryError) or bool(torch and isinstance(error, torch.OutOfMemoryError)) or (
        type(error) is RuntimeError and 'DefaultCPUAllocator' in str(error))  # has no type of its own


def _known(error: Exception, situation: Situation) -> Optional[str]:
    """What to say of an error that the user can mend; None for any other."""
    if isinstance(error, UserError):
        # some name several faults, a line each
        return one_line(error) if 'Traceback (most recent call last):' in str(error) else str(error).strip()
    if _is_out_of_memory(error):
        return f'out of memory ({one_line(error)}): lower the batch_size or the size of the images, or use --amp on ' \
               'a GPU'
    if str(error).startswith('DataLoader worker (pid') and ('Killed' in str(error) or 'Bus error' in str(error)):
        return f'{one_line(error)} The memory is used up: lower num_workers or batch_size, or give more shared memory'
    if isinstance(error, OSError):
        if error.strerror is None:
            return one_line(error)
        place = error.filename if error.filename is not None else situation.work_dir
        where = f'{os.fsdecode(place)}: ' if isinstance(place, (str, bytes, Path)) else ''
        remedy = REMEDIES.get(error.errno)
        return f'{where}{error.strerror}' + (f'; {remedy}' if remedy else '')
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith('mmbackbones'):
        package = error.name.partition('.')[0]
        return f'the package {package!r} is not there ({one_line(error)}); install it, for example: pip install ' \
               f'{package}'
    if isinstance(error, ImportError) and not (error.name or '').startswith('mmbackbones'):
        return one_line(error)
    return None


def _write_report(error: BaseException, situation: Situation) -> Optional[Path]:
    """Write all that is needed to find a fault of the program. Returns the file; None where none can be written."""
    lines = [
        ''.join(traceback.format_exception(type(error), error, error.__traceback__)),
        f'command    {shlex.join(sys.argv)}',
        f'folder     {os.getcwd()}',
        f'mmbackbones {__version__}',
        f'python     {platform.python_version()} on {platform.platform()}',
        *(f'{name:10} {" ".join(map(" ".join, found)) or "not installed"}' for name, found in installed_stack().items())
    ]  # yapf: disable
    name = f'error-{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt'
    folders = [situation.work_dir] if situation.work_dir and situation.work_dir.is_dir() else []
    for folder in (*folders, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            path = folder / name
            with open(path, 'x', encoding='utf-8', errors='backslashreplace') as file:
                file.write('\n'.join(lines) + '\n')
            return path
    return None


def _wait_for_others(first: bool) -> None:
    if first:
        time.sleep(PATIENCE_OF_FIRST if _group_exists() else 0)
    else:
        time.sleep(PATIENCE if _group_exists() else PATIENCE_BEFORE_GROUP)


def _end(error: BaseException, situation: Situation, show_stack: bool) -> Ended:
    """Say why a command ends. Returns the exception that ends the interpreter."""
    rank, size = _processes()
    situation.tidy()
    if _Signals.active and _Signals.active.asked:  # whatever else it became on the way
        error = _Signals.active.asked()
    if isinstance(error, KeyboardInterrupt):
        status, said = TERMINATED if isinstance(error, _Terminated) else INTERRUPTED, situation.way_on()
        if rank == 0:
            _say(said)
        return Ended(status, said)
    if size > 1:
        _wait_for_others(rank == 0)
    who = f'error (process {rank} of {size})' if rank else 'error'
    text = _known(error, situation) if isinstance(error, Exception) else None
    status = UNEXPECTED if text is None else MENDABLE
    if text is None:
        said = f'{who}: {type(error).__name__}: {one_line(error)}'
        if not show_stack:
            report = _write_report(error, situation)
            said += f' (unexpected; the report is {report})' if report else \
                f' (unexpected, and no report could be written; {TRACEBACK} shows it)'
    else:
        said = '\n'.join(f'{who}: {line}' for line in text.splitlines())
    if show_stack:
        _say(''.join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
    _say(said)
    return Ended(status, said)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        print(text, file=sys.stderr, flush=True)


class _Signals:
    """Within, Ctrl-C and SIGTERM unwind, so that workers end and the line is said; a second one ends at once.

    Not in one process of several: it may wait in a collective, from which no handler frees it. There both end it, and
    the launcher speaks for all.
    """
    active: Optional['_Signals'] = None

    def __init__(self) -> None:
        self.asked: Optional[Type[KeyboardInterrupt]] = None
        self._before: dict = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> '_Signals':
        if threading.current_thread() is not threading.main_thread() or _Signals.active:
            return self
        alone = _processes()[1] == 1
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) is usual:
                self._before[number] = signal.signal(number, self._ask if alone else signal.SIG_DFL)
        if alone:
            _Signals.active, sys.unraisablehook = self, self._unraisable
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if _Signals.active is self:
            _Signals.active = None
            if not self.asked:  # else the interpreter is about to end, and destroys what was made by half
                sys.unraisablehook = self._hook

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked = _Terminated if number == signal.SIGTERM else KeyboardInterrupt
        raise self.asked

    def _unraisable(self, args) -> None:
        if not self.asked:
            self._hook(args)

    @staticmethod
    def in_child() -> None:
        """Data loading workers end when their parent ends them, by SIGTERM; Ctrl-C is the parent's matter."""
        if _Signals.active:
            _Signals.active = None
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_Signals.in_child)


def heed_signals() -> None:
    """Raise what a signal asked for, if that is not done yet: what is raised in a destructor, Python drops."""
    if _Signals.active and _Signals.active.asked:
        raise _Signals.active.asked


def command(run: Callable[[Optional[List[str]], Situation], None]) -> Callable[[Optional[List[str]]], None]:
    """Make a function the whole of a command: what it raises ends in one line and an exit status.

    Args:
        run: takes the command line without the program's name (None: ``sys.argv``), and the situation, in which it
            notes the work directory.

    Returns:
        Callable: it takes the command line, and raises :class:`Ended` unless all is well.
    """

    @functools.wraps(run)
    def wrapped(argv: Optional[List[str]] = None) -> None:
        situation, show_stack = Situation(), TRACEBACK in (sys.argv[1:] if argv is None else argv)
        raise_of_logging = logging.raiseExceptions
        logging.raiseExceptions = show_stack  # a log file on a full disk is no second error
        try:
            with _Signals():
                try:
                    run(argv, situation)
                    sys.stdout.flush()
                except BrokenPipeError:
                    raise
                except (Exception, KeyboardInterrupt) as error:
                    raise _end(error, situation, show_stack) from None
        except BrokenPipeError:  # `mmbackbones list | head`
            with contextlib.suppress(OSError, ValueError):  # else Python says it again when it flushes at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Ended:
            situation.tidy()
            raise
        finally:
            logging.raiseExceptions = raise_of_logging

    del wrapped.__wrapped__  # its signature is another
    return wrapped
