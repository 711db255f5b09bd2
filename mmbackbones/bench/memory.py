"""The peak of memory during a step, of a process of its own."""
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Sequence

import torch
from torch import nn

from ..errors import InputError
from .steps import OURS, Case, Step, different_maps, make_inputs
from .summary import summarise

__all__ = ['compare_memory', 'main', 'peak_memory']

# For glibc: give freed memory back at once. Otherwise it keeps some by chance, up to half of the peak.
GIVE_BACK = dict(MALLOC_MMAP_THRESHOLD_='65536')


def _resident(field: str) -> int:
    """Bytes of memory that this process has (``VmRSS``), or had at most (``VmHWM``)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024
    raise OSError(f'/proc/self/status of this system has no {field}, which memory on the CPU is read from')


def _wake_libraries(device: str) -> None:
    """Take a step with a few layers, so that what libraries load and set up once is not counted."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(2), nn.Linear(36, 8), nn.GELU()).to(device)
    net(torch.randn(2, 3, 8, 8, device=device)).sum().backward()


def _peak_of_step(case: Case, side: str) -> dict:
    """Bytes that are held before a step, at most during it, and the shapes of the maps."""
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    _wake_libraries(case.device)
    step = Step(case, side, make_inputs(case, 1))
    if case.device == 'cuda':
        step(0)
        step.model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        maps = step(0)
        peak = torch.cuda.max_memory_allocated()
    else:  # the first step: after one, the heap would hold what the next one needs
        gc.collect()
        Path('/proc/self/clear_refs').write_text('5')  # forgets the peak so far
        before = _resident('VmRSS')
        maps = step(0)
        peak = _resident('VmHWM')
    return dict(before=before, peak=peak, shapes=[list(each.shape) for each in maps])


def peak_memory(case: Case, side: str) -> dict:
    """Peak of memory during a step, in a fresh process: what one has held it does not give back, or not all of it.

    Args:
        case: what is measured.
        side: ``'ours'`` or ``'peer'``.

    Returns:
        dict: bytes held ``before`` the step and at the ``peak`` of it, and ``shapes`` of the maps.

    Raises:
        ValueError: this cannot be measured here, or the process failed; with the last line that it wrote.
    """
    if case.compile and case.device == 'cpu':
        raise InputError('memory of a compiled step on the CPU would be that of the compiler; measure it on a GPU')
    if case.device == 'cpu' and not Path('/proc/self/clear_refs').exists():
        raise InputError('memory on the CPU is read from /proc/self, which only Linux has')
    done = subprocess.run([sys.executable, '-m', 'mmbackbones.bench.memory',
                           json.dumps(case._asdict()), side],
                          capture_output=True,
                          text=True,
                          env=dict(os.environ, **GIVE_BACK))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise InputError(f'{case.title}, {side}: {lines[-1] if lines else f"ended by signal {-done.returncode}"}')
    return json.loads(done.stdout.splitlines()[-1])


def compare_memory(case: Case, pairs: int, report: Callable[[str], None]) -> dict:
    peaks, before = ([], []), []
    for pair in range(pairs):
        ours, peer = (peak_memory(case, side) for side in (OURS, 'peer'))
        if ours['shapes'] != peer['shapes']:
            raise InputError(different_maps(case, ours['shapes'], peer['shapes']))
        for bytes_, each in zip(peaks, (ours, peer)):
            bytes_.append(each['peak'] - each['before'])
        before = [ours['before'], peer['before']]
        report(f'pair {pair + 1} of {pairs}: ratio {peaks[0][-1] / peaks[1][-1]:.3f}')
    summary = summarise(*peaks)
    summary['ours']['before'], summary['peer']['before'] = before
    return summary


def main(argv: Sequence[str]) -> None:
    """The process of one side: prints its peak of memory as JSON."""
    fields = json.loads(argv[0])
    case = Case(**{**fields, 'shape': tuple(fields['shape'])})
    print(json.dumps(_peak_of_step(case, argv[1])))


if __name__ == '__main__':
    main(sys.argv[1:])
