"""Time and memory of a backbone beside its peers, as ratios taken in one run: the command ``mmbackbones bench``.

The clock of a machine, its other users and its heat change from minute to minute, and a ratio does so less. Both sides
take turns on the same images, which of them begins changes from pair to pair, and the figure is the median of the
pairs' ratios. Memory is the peak during one step above what was held before it, of a process of its own for each side.
"""
import contextlib
import datetime
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .catalogue import NOT_YET, find_backbone
from .compat import installed_stack
from .errors import InputError
from .peers import build_peer, find_peers
from .version import __version__

__all__ = ['Case', 'alternate', 'compare', 'describe_machine', 'draw_chart', 'peak_memory', 'summarise']

OURS = 'ours'
NUM_INPUTS = 4  # sets of images that the steps go round
WARM_UP = {'cpu': 2, 'cuda': 10}
MIN_SECONDS = 0.3  # a shorter step is repeated so often that one measurement takes this long
MOST_REPEATS = 200
# For glibc: give freed memory back at once. Otherwise it keeps some by chance, up to half of the peak.
GIVE_BACK = dict(MALLOC_MMAP_THRESHOLD_='65536')


class Case(NamedTuple):
    """What is measured.

    Attributes:
        backbone: name of a row of the catalogue.
        against: kind of the peer, see :data:`mmbackbones.peers.KINDS`.
        shape: of the images, ``(N, 3, H, W)``.
        train: forward and backward in training mode; otherwise forward alone in evaluation mode, without gradients.
        dtype: ``'float32'``, or what autocast computes in.
        compile: by ``torch.compile``, both sides.
        channels_last: weights and images in that memory format, both sides.
        with_cp: recompute blocks in the backward pass, both sides.
        device: ``'cpu'`` or ``'cuda'``.
        threads: of the CPU. None: torch's choice.
        memory: measure memory instead of time.
    """
    backbone: str
    against: str
    shape: Tuple[int, int, int, int]
    train: bool = False
    dtype: str = 'float32'
    compile: bool = False
    channels_last: bool = False
    with_cp: bool = False
    device: str = 'cpu'
    threads: Optional[int] = None
    memory: bool = False

    @property
    def title(self) -> str:
        """In words: ``swin_t against timm, training step, 2 x 384 x 640, float32``."""
        batch, _, height, width = self.shape
        options = [name for name in ('compile', 'channels_last', 'with_cp') if getattr(self, name)]
        return ', '.join([
            f'{self.backbone} against {self.against}',
            'memory of a ' * self.memory + ('training step' if self.train else 'forward pass'),
            f'{batch} x {height} x {width}', self.dtype, *options
        ])


def _lay_out(model: nn.Module) -> None:
    """Weights in channels-last format; ``Module.to`` would refuse those with five dimensions."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


# what rates of random dropping are called: of paths in mmcv and timm, of attention weights in our DSNet
DROP_RATES = ('drop_prob', 'attn_drop_rate')


def _drop_nothing(model: nn.Module) -> None:
    """Turn random dropping off, of single values, attention weights and whole paths."""
    for module in model.modules():
        for name in DROP_RATES:
            if hasattr(module, name):
                setattr(module, name, 0.)
        if type(module).__name__ == 'StochasticDepth' or isinstance(module, nn.Dropout):  # the former is torchvision's
            module.p = 0.


def _build(case: Case, side: str) -> nn.Module:
    """Our backbone or its peer, on its device, in the mode of the case.

    Raises:
        KeyError: no such backbone.
        ValueError: the backbone is not there yet, or it has no such peer.
        ImportError: the library of the peer is not installed.
    """
    row = find_backbone(case.backbone)
    if row.config is None:
        raise InputError(f'{row.name} is {NOT_YET} there: no config can build it')
    if side == OURS:
        torch.manual_seed(0)
        model = MODELS.build({**row.config, 'with_cp': case.with_cp})
    else:
        model = build_peer(row, case.against, case.shape, case.with_cp)
    _drop_nothing(model)
    model.train(case.train)  # not chained: MMDetection's networks return None
    return model.to(case.device)


class Step:
    """One side, ready to run: a call takes a step on one of the sets of images and gives its maps.

    Args:
        case: what is measured.
        side: ``'ours'`` or ``'peer'``.
        inputs: sets of images ``(N, 3, H, W)``.

    Raises:
        KeyError, ValueError, ImportError: there is no such backbone or peer.
    """

    def __init__(self, case: Case, side: str, inputs: Sequence[Tensor]):
        self.case = case
        plain = side != OURS and case.against == 'plain'
        self.model = _build(case, side)
        self.run = self.model
        self.dtype = None if plain or case.dtype == 'float32' else getattr(torch, case.dtype)
        if case.channels_last and not plain:
            _lay_out(self.model)
            inputs = [each.contiguous(memory_format=torch.channels_last) for each in inputs]
        if case.compile and not plain:
            self.run = torch.compile(self.model, fullgraph=side == OURS)  # some peers break the graph
        self.inputs = inputs
        self.gradients = None

    def __call__(self, index: int) -> Tuple[Tensor, ...]:
        images = self.inputs[index % len(self.inputs)]
        self.model.zero_grad(set_to_none=True)
        autocast = torch.autocast(self.case.device, self.dtype) if self.dtype else contextlib.nullcontext()
        with torch.set_grad_enabled(self.case.train), autocast:
            maps = self.run(images)
        if self.case.train:
            if self.gradients is None:  # of a loss that is behind the maps; noise, as ones vanish in a batch norm
                self.gradients = [torch.randn_like(each) for each in maps]
            torch.autograd.backward(maps, self.gradients)
        return maps


def make_inputs(case: Case, count: int = NUM_INPUTS) -> List[Tensor]:
    """Sets of images of noise, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(case.shape, generator=generator).to(case.device) for _ in range(count)]


def _different_maps(case: Case, ours: List[List[int]], peer: List[List[int]]) -> str:
    return (f'{case.title}: the maps are not the same, so a ratio would mean nothing: ours {ours}, '
            f"the peer's {peer}. Some networks round down: give a height and width that 32 divides")


def check_shapes(case: Case, ours: Sequence[Tensor], peer: Sequence[Tensor]) -> None:
    """Both sides must give the same maps.

    Raises:
        ValueError: they do not; it says what each gives.
    """
    shapes = [[list(each.shape) for each in maps] for maps in (ours, peer)]
    if shapes[0] != shapes[1]:
        raise InputError(_different_maps(case, *shapes))


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


def _spread(values: Sequence[float]) -> dict:
    """Median and quartiles; of a single value, itself."""
    lower, median, upper = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else 3 * [values[0]]
    return dict(median=median, lower_quartile=lower, upper_quartile=upper, values=list(values))


def summarise(ours: Sequence[float], peer: Sequence[float]) -> dict:
    """Medians and quartiles of both sides, and of the pairs' ratios, ours by the peer's."""
    ratios = [own / other for own, other in zip(ours, peer)]
    return dict(ours=_spread(ours), peer=_spread(peer), ratio=_spread(ratios))


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
    done = subprocess.run([sys.executable, '-m', 'mmbackbones.bench',
                           json.dumps(case._asdict()), side],
                          capture_output=True,
                          text=True,
                          env=dict(os.environ, **GIVE_BACK))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise InputError(f'{case.title}, {side}: {lines[-1] if lines else f"ended by signal {-done.returncode}"}')
    return json.loads(done.stdout.splitlines()[-1])


def _compare_memory(case: Case, pairs: int, report: Callable[[str], None]) -> dict:
    peaks, before = ([], []), []
    for pair in range(pairs):
        ours, peer = (peak_memory(case, side) for side in (OURS, 'peer'))
        if ours['shapes'] != peer['shapes']:
            raise InputError(_different_maps(case, ours['shapes'], peer['shapes']))
        for bytes_, each in zip(peaks, (ours, peer)):
            bytes_.append(each['peak'] - each['before'])
        before = [ours['before'], peer['before']]
        report(f'pair {pair + 1} of {pairs}: ratio {peaks[0][-1] / peaks[1][-1]:.3f}')
    summary = summarise(*peaks)
    summary['ours']['before'], summary['peer']['before'] = before
    return summary


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
    measured = (_compare_memory if case.memory else _compare_time)(case, pairs, report)
    return dict(
        **case._asdict(),
        title=find_peers(row)[case.against].title,
        pairs=pairs,
        unit='bytes' if case.memory else 's',
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        **measured)


def _cpu_model() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')),
                platform.processor() or platform.machine())


def describe_machine(device: str = 'cpu') -> dict:
    """What figures depend on: the machine and the versions of what runs on it."""
    versions = {name: version for name, found in installed_stack().items() for _, version in found}
    for name in ('torchvision', 'timm'):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return dict(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if device == 'cuda' else None,
        platform=platform.platform(),
        versions=dict(python=platform.python_version(), mmbackbones=__version__, **versions))


def chart_formats() -> List[str]:
    """Endings of the files that :func:`draw_chart` can write."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    return sorted(FigureCanvasAgg.get_supported_filetypes())


def draw_chart(records: Sequence[dict], path: str) -> None:
    """Draw the ratios as bars, with their quartiles, and a line where both sides are equal.

    Args:
        records: of :func:`compare`.
        path: of the picture; its ending says the format.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    names = [Case(**{field: record[field] for field in Case._fields}).title for record in records]
    ratios = [record['ratio'] for record in records]
    spread = [[abs(ratio['median'] - ratio[end]) for ratio in ratios] for end in ('lower_quartile', 'upper_quartile')]
    figure, axes = plt.subplots(figsize=(10, 1 + 0.4 * len(records)), layout='constrained')
    axes.barh(names, [ratio['median'] for ratio in ratios], xerr=spread, height=0.6, capsize=3)
    axes.axvline(1, color='black', linewidth=1)
    axes.invert_yaxis()  # the first on top
    axes.set_xlabel('ours by the peer (under 1: less time or memory than the peer)')
    figure.savefig(path)
    plt.close(figure)


def main(argv: Sequence[str]) -> None:
    """The process of one side: prints its peak of memory as JSON."""
    fields = json.loads(argv[0])
    case = Case(**{**fields, 'shape': tuple(fields['shape'])})
    print(json.dumps(_peak_of_step(case, argv[1])))


if __name__ == '__main__':
    main(sys.argv[1:])
