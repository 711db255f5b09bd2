"""What is measured on a machine, what it was before, and the bars: data for run_all.py and report.py."""
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detector_step import compare_detectors  # noqa: E402
from startup import time_command  # noqa: E402

from mmbackbones.bench import Case, compare  # noqa: E402

__all__ = ['MEASURED', 'Measured']

# ODConv as its authors compute it
REFERENCE = str(Path(__file__).with_name('reference.py'))


class Measured(NamedTuple):
    """Something to measure, with what is expected of it.

    Attributes:
        group: heading that it stands under.
        key: what it is, in words; the key of its result.
        run: measures it, from the number of pairs and a function that is told how far it is.
        before: the ratio of the authors' form when this work began; None where it was not measured.
        bar: what the ratio, or the seconds, must not exceed; None where there is no bar.
        half_overhead_of: instead of ``bar``, the key of the ratio of ours to the authors' form: ours may cost half as
            much more than the static network as that form does.
    """
    group: str
    key: str
    run: Callable[[int, Callable[[str], None]], dict]
    before: Optional[float] = None
    bar: Optional[float] = None
    half_overhead_of: Optional[str] = None


def _of_case(group: str, case: Case, **kwargs) -> Measured:
    return Measured(group, f'{case.title}, {case.device}', partial(compare, case), **kwargs)


def _dynamic_cpu() -> List[Measured]:
    rows = []

    def add(name, against, shape, train, before=None, bar=None, **kwargs):
        case = Case(name, against, shape, train, **kwargs)
        rows.append(_of_case('Dynamic convolution', case, before=before, bar=bar))

    small, detector, single = (16, 3, 224, 224), (2, 3, 384, 640), (1, 3, 224, 224)
    one, four = 'odconv_r50', 'odconv4x_r50'
    for name, shape, train, before, bar in (
        (one, small, True, 3.55, 1.5),
        (four, small, True, 7.2, 2.7),
        (one, detector, True, 1.26, 1.1),
        (four, detector, True, 1.51, 1.25),
        (one, single, False, 1.35, 1.15),
        (four, single, False, 2.1, 1.6),
        (one, small, False, 1.72, None),
        (four, small, False, 4.6, None),
        ('dyconv4x_r50', small, True, None, None),
        ('condconv8x_r50', small, True, None, None),
    ):
        add(name, 'static', shape, train, before, bar)
    for name in (one, four):
        add(name, REFERENCE, small, True)
    add(one, 'static', small, True, bar=1.15, memory=True)
    add(one, 'static', detector, True, bar=1.15, memory=True)
    add(four, 'static', small, True, memory=True)
    for name in ('odconv_mobilenetv2_100', 'odconv4x_mobilenetv2_100'):
        for shape, train in ((small, True), (detector, True), (single, False)):
            add(name, REFERENCE, shape, train)
            case = Case(name, 'static', shape, train)
            rows.append(_of_case('Dynamic convolution', case, half_overhead_of=rows[-1].key))
    for name in (one, 'odconv_mobilenetv2_100'):
        add(name, 'static', single, False, compile=True)
    return rows


def _attention_cpu() -> List[Measured]:
    # an image of 800 x 1333 comes to the backbone as 800 x 1344: detectors pad to a multiple of 32
    return [
        _of_case('Attention', Case(name, against, shape, train), bar=1.) for name, peers in {
            'swin_t': ('mmdet', 'timm', 'torchvision'),
            'pvt_s': ('mmdet', ),
            'pvtv2_b2': ('mmdet', 'timm'),
            'dsnet_t': ('mmdet', ),
        }.items() for shape in ((2, 3, 384, 640), (1, 3, 800, 1344)) for train in (False, True) for against in peers
    ]


def _options_cpu() -> List[Measured]:
    # small images for bfloat16: most CPUs only emulate it, and a step at the other size takes minutes
    options = (dict(channels_last=True), dict(dtype='bfloat16', shape=(2, 3, 64, 96)), dict(compile=True),
               dict(with_cp=True), dict(with_cp=True, memory=True))
    cases = [Case(name, 'plain', (2, 3, 384, 640), True) for name in ('odconv_r50', 'swin_t')]
    return [
        _of_case('Options, against the same network without them', case._replace(**each)) for case in cases
        for each in options
    ]


def _cuda() -> List[Measured]:
    rows = []
    for dtype in ('bfloat16', 'float32'):
        for shape in ((2, 3, 800, 1344), (64, 3, 224, 224)):
            for name, bar in (('odconv_r50', 1.2), ('odconv4x_r50', 1.4)):
                case = Case(name, 'static', shape, True, dtype, device='cuda')
                rows.append(_of_case('Dynamic convolution', case, bar=bar))
                rows.append(_of_case('Dynamic convolution', case._replace(against=REFERENCE)))
            rows.append(_of_case('Attention', Case('swin_t', 'mmdet', shape, True, dtype, device='cuda'), bar=1 / 1.5))
            for name, against in (('swin_t', 'timm'), ('swin_t', 'torchvision'), ('pvt_s', 'mmdet'),
                                  ('pvtv2_b2', 'mmdet'), ('pvtv2_b2', 'timm'), ('dsnet_t', 'mmdet')):
                rows.append(_of_case('Attention', Case(name, against, shape, True, dtype, device='cuda'), bar=1.))
    for shape in ((2, 3, 800, 1344), (64, 3, 224, 224)):
        case = Case('odconv_r50', 'static', shape, True, 'bfloat16', device='cuda', memory=True)
        rows.append(_of_case('Dynamic convolution', case, bar=1.15))
    for name in ('odconv_r50', 'swin_t'):
        for options in (dict(channels_last=True), dict(compile=True), dict(with_cp=True)):
            case = Case(name, 'plain', (2, 3, 800, 1344), True, device='cuda', **options)
            rows.append(_of_case('Options, against the same network without them', case))
    for dtype in ('bfloat16', 'float32'):
        for name, bar in (('odconv_r50', 1.2), ('odconv4x_r50', 1.4)):
            key = f'faster_rcnn_{name} against faster_rcnn_r50, training step, 2 x 800 x 1344, {dtype}, cuda'
            run = partial(compare_detectors, f'faster_rcnn_{name}', 'faster_rcnn_r50', (800, 1344), dtype, 'cuda')
            rows.append(Measured('Detectors', key, run, bar=bar))
    # what has a bar comes first, should the time on the machine be over before the end
    return sorted(rows, key=lambda row: row.bar is None)


def _startup() -> List[Measured]:
    group = "Start, in seconds beyond Python's own"
    return [
        Measured(group, 'import mmbackbones', partial(time_command, 'import mmbackbones'), bar=0.05),
        Measured(
            group,
            'mmbackbones list',
            partial(time_command, 'from mmbackbones.cli import main; main(["list"])'),
            bar=0.5)
    ]


# by device
MEASURED: Dict[str, List[Measured]] = {
    'cpu': _startup() + _dynamic_cpu() + _attention_cpu() + _options_cpu(),
    'cuda': _cuda()
}
