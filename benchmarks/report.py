"""Write docs/benchmarks.md from benchmarks/results/: python benchmarks/report.py."""
import json
from pathlib import Path
from typing import List, Optional, Tuple

from measured import MEASURED, Measured

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
PAGE = ROOT / 'docs' / 'benchmarks.md'
DEVICES = {'cpu': 'CPU', 'cuda': 'GPU'}
INTRODUCTION = """# Benchmarks

Written by `python benchmarks/report.py` from `benchmarks/results/`.

Each figure is a ratio, ours by the peer, of the time of a step, or of the peak of memory during one above what was held
before it. Both sides take turns in one process on the same images of noise; the figure is the median of the pairs'
ratios, with its quartiles. Peers give maps of the same shapes, and on neither side is anything dropped at random. A
training step is forward and backward with given gradients of the maps, without an optimizer.

`before` is what the form of the authors cost when this work began; `bar` is what the ratio must not exceed. `half the
overhead`: ours may cost half as much more than the static network as the form of the authors does, measured beside it.

One comparison: `mmbackbones bench swin_t --against mmdet timm --shape 2,3,384,640 --train`. All of a machine:
`python benchmarks/run_all.py --out benchmarks/results/NAME.json`, with `--device cuda` on a GPU, where
`benchmarks/gpu.sh` does this and more. [speed.md](speed.md) says what takes the time, and why bars are missed.
"""


def value_of(record: dict) -> float:
    """The figure that a bar is for: a ratio, or seconds."""
    return record['ratio']['median'] if 'ratio' in record else record['seconds']


def bar_of(row: Measured, results: dict) -> Optional[float]:
    """The bar of a row; one that depends on other figures is None as long as these are not there."""
    if row.half_overhead_of is None:
        return row.bar
    if row.key not in results or row.half_overhead_of not in results:
        return None
    authors = value_of(results[row.key]) / value_of(results[row.half_overhead_of])  # by the static network
    return 1 + (authors - 1) / 2


def _amount(value: float, unit: str) -> str:
    return f'{value * 1e3:.0f} ms' if unit == 's' else f'{value / 2**20:.0f} MiB'


def _cells(row: Measured, results: dict) -> Tuple[str, ...]:
    bar, before = bar_of(row, results), row.before
    if row.half_overhead_of is not None and bar is not None:
        before = 2 * bar - 1
    record = results.get(row.key)
    now, verdict, sides = '', '', ('', '')
    if record is not None and 'ratio' in record:
        ratio = record['ratio']
        now = f"{ratio['median']:.2f} ({ratio['lower_quartile']:.2f} to {ratio['upper_quartile']:.2f})"
        sides = tuple(_amount(record[side]['median'], record['unit']) for side in ('ours', 'peer'))
    elif record is not None:
        now = f"{record['seconds']:.3f} s"
    if bar is not None and record is not None:
        verdict = 'met' if value_of(record) <= bar else 'missed'
    shown = 'half the overhead' if bar is None and row.half_overhead_of else '' if bar is None else f'{bar:.3g}'
    pairs = '' if record is None else str(record.get('pairs', ''))
    return row.key, '' if before is None else f'{before:.3g}', now, shown, verdict, *sides, pairs


def table(rows: List[Measured], results: dict) -> str:
    """What, before, now and bar of some rows in Markdown, under the headings of their groups."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        lines += ['', f'### {group}', '', '| what | before | now | bar | | ours | peer | pairs |', '|-|-|-|-|-|-|-|-|']
        lines += [f'| {" | ".join(_cells(row, results))} |' for row in rows if row.group == group]
    return '\n'.join(lines[1:]) + '\n'


def _memory_table(report: dict) -> List[str]:
    lines = [
        '', '## Memory by size', '', f'`{report["command"]}`, on {report["machine"]["cpu"]}.', '',
        '| backbone | step | images | MiB | bytes a pixel |', '|-|-|-|-|-|'
    ]
    for each in report['results']:
        pixels = each['shape'][0] * each['shape'][2] * each['shape'][3]
        lines.append(f"| {each['backbone']} | {'forward and backward' if each['train'] else 'forward'} | "
                     f"{' x '.join(map(str, each['shape']))} | {each['bytes'] / 2**20:.0f} | "
                     f"{each['bytes'] / pixels:.0f} |")
    return lines


def render() -> str:
    """The page as it follows from the results."""
    lines = INTRODUCTION.splitlines()
    reports = {path: json.loads(path.read_text()) for path in sorted(RESULTS.glob('*.json'))}
    for device, name in DEVICES.items():
        found = {path: report for path, report in reports.items() if report.get('device') == device}
        for path, report in found.items():
            machine, dates = report['machine'], sorted(record['date'][:10] for record in report['results'].values())
            versions = ', '.join(f'{key} {value}' for key, value in machine['versions'].items())
            command = f'python benchmarks/run_all.py --out {path.relative_to(ROOT)} --device {device}'
            lines += [
                '', f'## {name}: {machine["gpu"] or machine["cpu"]}', '',
                f'{machine["cores"]} cores, {machine["threads"]} threads; {versions}; {dates[0]} to {dates[-1]}; '
                f'`{command}`, in parts by `--only`, with as many `--pairs` as the last column says.', ''
            ]
            lines += table(MEASURED[device], report['results']).splitlines()
        if not found:
            lines += [
                '', f'## {name}: not measured', '',
                f'None was at hand. `benchmarks/gpu.sh` builds the operators, runs the tests and takes '
                f'{len(MEASURED[device])} measurements, those with a bar first. '
                f'`python benchmarks/run_all.py --out NAME.json --device {device} --list` names them.'
            ]
    for report in reports.values():
        if report.get('what') == 'memory by size':
            lines += _memory_table(report)
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    PAGE.write_text(render())
    print(f'wrote {PAGE}')
