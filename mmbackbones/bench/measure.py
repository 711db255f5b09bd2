"""Time and memory of a backbone beside its peers, as ratios taken in one run: the command ``mmbackbones bench``.

The clock of a machine, its other users and its heat change from minute to minute, and a ratio does so less. Both sides
take turns on the same images, which of them begins changes from pair to pair, and the figure is the median of the
pairs' ratios. Memory is the peak during one step above what was held before it, of a process of its own for each side.
"""
import datetime
import gc
import math
import time
from typing import Callable, List, Tuple

import torch

from ..catalogue import find_backbone
from ..errors import InputError
from .memory import compare_memory
from .peers import find_peer
from .steps import OURS, Case, Step, check_shapes, make_inputs
from .summary import summarise

__all__ = ['alternate', 'compare', 'time_steps']

WARM_UP = {'cpu': 2, 'cuda': 10}
MIN_SECONDS = 0.3  # a shorter step is repeated so often that one measurement takes this long
MOST_REPEATS = 200


def time_steps(step: Callable[[int], object], start: int, repeats: int, device: str) -> float:
    """Seconds a step, over ``repeats`` of them; on a GPU by its own events."""
    gc.collect()
    if device == 'cuda':
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        for index in range(start, start + repeats):
            step(index)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / repeats
    started = time.perf_counter()
    for index in range(start, start + repeats):
        step(index)
    return (time.perf_counter() - started) / repeats


def alternate(ours: Callable[[int], object],
              peer: Callable[[int], object],
              pairs: int,
              device: str,
              report: Callable[[str], None] = lambda text: None) -> Tuple[List[float], List[float]]:
    """Let two sides take turns.

    Args:
        ours, peer: take a step on the set of images that the argument counts.
        pairs: how often each is measured.
        device: ``'cpu'`` or ``'cuda'``.
        report: is told how far it is, and how long it takes yet.

    Returns:
        tuple: seconds a step in each pair, ours and the peer's.
    """
    sides = (ours, peer)
    for side in sides:
        time_steps(side, 0, WARM_UP[device], device)
    fastest = min(time_steps(side, 0, 1, device) for side in sides)
    repeats = min(max(1, math.ceil(MIN_SECONDS / fastest)), MOST_REPEATS)
    times, started = ([], []), time.perf_counter()
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            times[which].append(time_steps(sides[which], pair * repeats, repeats, device))
        left = (time.perf_counter() - started) / (pair + 1) * (pairs - pair - 1)
        report(f'pair {pair + 1} of {pairs}: ratio {times[0][-1] / times[1][-1]:.3f}, about {left:.0f} s left')
    return times


def _compare_time(case: Case, pairs: int, report: Callable[[str], None]) -> dict:
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    tuned, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True  # images of one size: let cuDNN choose
    try:
        inputs = make_inputs(case)
        ours, peer = (Step(case, side, inputs) for side in (OURS, 'peer'))
        check_shapes(case, ours(0), peer(0))
        return summarise(*alternate(ours, peer, pairs, case.device, report))
    finally:
        torch.backends.cudnn.benchmark = tuned
        if case.compile:  # the next case has other networks of the same classes
            torch.compiler.reset()


def compare(case: Case, pairs: int, report: Callable[[str], None] = lambda text: None) -> dict:
    """Measure one case.

    Args:
        case: what.
        pairs: how often each side is measured.
        report: is told how far it is.

    Returns:
        dict: the fields of the case; ``title`` of the peer; ``pairs``; ``unit``, seconds a step or bytes; ``ours``,
        ``peer`` and ``ratio`` with ``median``, ``lower_quartile``, ``upper_quartile`` and all ``values``; ``date``.

    Raises:
        KeyError, ValueError, ImportError: no such backbone or peer, another device than there is, other maps.
    """
    if case.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('no CUDA GPU here, or a torch without CUDA: --device cpu')
    row = find_backbone(case.backbone)
    measured = (compare_memory if case.memory else _compare_time)(case, pairs, report)
    return dict(
        **case._asdict(),
        title=find_peer(row, case.against).title,
        pairs=pairs,
        unit='bytes' if case.memory else 's',
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        **measured)
