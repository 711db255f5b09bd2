"""How long a command takes to start beyond Python itself."""
import datetime
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

__all__ = ['time_command']

ROOT = Path(__file__).resolve().parents[1]


def _seconds(code: str) -> float:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    started = time.perf_counter()
    subprocess.run([sys.executable, '-c', code],
                   stdout=subprocess.DEVNULL,
                   check=True,
                   env={
                       **os.environ, 'PYTHONPATH': path
                   })
    return time.perf_counter() - started


def time_command(code: str, pairs: int, report: Callable[[str], None]) -> dict:
    """Seconds that Python takes for ``code`` beyond those for nothing, in turns.

    Args:
        code: of ``python -c``.
        pairs: how often both are started.
        report: is told how far it is.

    Returns:
        dict: ``seconds``, the median of the pairs' differences, ``values``, all of them, and ``date``.
    """
    _seconds(code)  # compiled to bytecode, read from the disk
    values = []
    for pair in range(pairs):
        values.append(_seconds(code) - _seconds('pass'))
        report(f'pair {pair + 1} of {pairs}: {values[-1]:.3f} s')
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    return dict(seconds=statistics.median(values), values=values, pairs=pairs, date=date)
