"""Measure all that measured.py lists on this machine, and print it beside the bars.

    python benchmarks/run_all.py --out benchmarks/results/cpu_2core.json
    python benchmarks/run_all.py --out /tmp/try.json --only 'odconv_r50 against static' --pairs 3

One file stands for one kind of machine. What it has already is not measured again, so that a run that was stopped goes
on where it was; --force measures anew. Nothing else should run meanwhile. Then `python benchmarks/report.py` writes
docs/benchmarks.md.
"""
import argparse
import gc
import json
import shlex
import sys
import time
import traceback
from pathlib import Path

import torch
from measured import MEASURED
from report import table

from mmbackbones.machine import describe_machine


def read_results(path: Path, machine: dict) -> dict:
    """What a file has, by key.

    Raises:
        ValueError: it is of another machine or of other versions.
    """
    if not path.exists():
        return {}
    report = json.loads(path.read_text())
    for key in ('cpu', 'cores', 'threads', 'gpu', 'versions'):
        before, now = report['machine'].get(key), machine[key]
        if before != now:
            raise ValueError(f'{path} was measured with {key} {before}, here it is {now}: give another --out')
    return report['results']


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='results, JSON')
    parser.add_argument('--device', choices=sorted(MEASURED), default='cpu', help='default: cpu')
    parser.add_argument('--only', nargs='+', default=[], metavar='TEXT', help='what has one of these in its name')
    parser.add_argument('--pairs', type=int, default=7, help='how often each side is measured (default: 7)')
    parser.add_argument('--force', action='store_true', help='measure again what FILE has')
    parser.add_argument('--list', action='store_true', help='print the names, measure nothing')
    args = parser.parse_args()
    rows = [row for row in MEASURED[args.device] if not args.only or any(text in row.key for text in args.only)]
    if not rows:
        parser.error(f'nothing has {" or ".join(args.only)} in its name; --list shows the names')
    if args.list:
        print('\n'.join(row.key for row in rows))
        return 0
    machine = describe_machine(args.device)
    try:
        results = read_results(args.out, machine)
    except ValueError as error:
        print(f'run_all.py: {error}', file=sys.stderr)
        return 2
    args.out.parent.mkdir(parents=True, exist_ok=True)
    todo = [row for row in rows if args.force or row.key not in results]
    print(f'{len(rows)} in the list, {len(rows) - len(todo)} of them in {args.out} already', flush=True)
    failed, started = [], time.perf_counter()
    for number, row in enumerate(todo):
        seconds = (time.perf_counter() - started) / max(number, 1) * (len(todo) - number)
        left = f', about {seconds / 60:.0f} min left' if number else ''
        print(f'[{number + 1}/{len(todo)}] {row.key}{left}', flush=True)
        try:
            results[row.key] = row.run(args.pairs, lambda text: print(f'    {text}', flush=True))
        except Exception:  # the others get their turn
            failed.append(row.key)
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            continue
        finally:
            gc.collect()
            if args.device == 'cuda':
                torch.cuda.empty_cache()
        report = dict(device=args.device, command=shlex.join(['python', *sys.argv]), machine=machine, results=results)
        part = args.out.with_name(f'{args.out.name}.part')
        part.write_text(json.dumps(report, indent=1) + '\n')
        part.replace(args.out)
    print('\n' + table(rows, results))
    if failed:
        print('failed:', *failed, sep='\n  ', file=sys.stderr)
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
