"""Backbones x detectors: each pair is swapped, checked on the meta device, takes one training step and infers.

    python benchmarks/swap_matrix.py -o docs/swap_matrix.md
    python benchmarks/swap_matrix.py --detectors ssd yolox --backbones swin_t

Two tables: the smallest variant of every family in four detectors, and five backbones in all detectors. Writes them as
Markdown as it goes, and ends with status 1 where a pair fails. On the CPU, images of noise, 128 pixels; two boxes and
masks each. Everything takes some forty minutes on one core.
"""
import argparse
import contextlib
import logging
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

from mmbackbones.swap import SwapError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests'))
import matrix  # noqa: E402

HEAD = """# What was put into what

Millions of parameters of each model that `mmbackbones swap` made, that fits on the meta device, trained one step on two
images of noise with a finite loss and a gradient in every trained parameter of the backbone, and inferred. Not asked to
infer are, with any backbone:

""" + '\n'.join(f'- {detector}: {reason}' for detector, reason in matrix.NO_INFERENCE.items())
HEAD += '\n\nRefused, with a message that says so:\n\n' + '\n'.join(f'- {said}'
                                                                    for said in matrix.REFUSED.values()) + '\n'


class Tables:
    """Results as Markdown, shown and written row by row."""

    def __init__(self, file) -> None:
        self.file, self.failures = file, []

    def write(self, line: str = '') -> None:
        tqdm.write(line)
        if self.file:
            print(line, file=self.file, flush=True)

    def add(self, rows, columns, corner: str, pair_of) -> None:
        """One cell for each row and column; ``pair_of(row, column)`` is the detector and the backbone."""
        self.write(f'| {corner} | ' + ' | '.join(columns) + ' |')
        self.write('|-|' + '-|' * len(columns))
        for row in tqdm(rows, corner):
            cells = []
            for column in columns:
                detector, name = pair_of(row, column)
                try:
                    matrix.train_and_infer(detector, name)
                    cells.append(f'{matrix.millions(detector, name):.1f}')
                except SwapError:
                    cells.append('refused')
                    if (detector, name) not in matrix.REFUSED:
                        self.failures.append(f'{detector} refuses {name}:\n{traceback.format_exc()}')
                except Exception:  # each pair gets its turn
                    cells.append('fails')
                    self.failures.append(f'{detector} on {name}:\n{traceback.format_exc()}')
            self.write(f'| {row} | ' + ' | '.join(cells) + ' |')
        self.write()


def chosen(names, parts) -> list:
    return [name for name in names if not parts or any(part.lower() in name.lower() for part in parts)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--detectors', nargs='+', default=[], metavar='TEXT', help='only those whose name has this')
    parser.add_argument('--backbones', nargs='+', default=[], metavar='TEXT', help='only those whose name has this')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='write the tables to this file, too')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    started = time.perf_counter()
    with args.output.open('w') if args.output else contextlib.nullcontext() as file:
        tables = Tables(file)
        tables.write(HEAD)
        tables.write('## Every family\n')
        tables.add(
            chosen(matrix.smallest_of_each_family(), args.backbones), chosen(matrix.COMMON, args.detectors),
            'smallest variant', lambda name, detector: (detector, name))
        tables.write('## Every kind of detector\n')
        tables.add(
            chosen(matrix.DETECTORS, args.detectors), chosen(matrix.BACKBONES, args.backbones), 'detector',
            lambda detector, name: (detector, name))
        minutes = (time.perf_counter() - started) / 60
        tables.write(f'Written by `python benchmarks/swap_matrix.py` on torch {torch.__version__} in {minutes:.0f} '
                     f'minutes; {len(tables.failures) or "no"} failures.')
    print('\n'.join(tables.failures), file=sys.stderr)
    return int(bool(tables.failures))


if __name__ == '__main__':
    sys.exit(main())
