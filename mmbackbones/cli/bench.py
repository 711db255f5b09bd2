"""``mmbackbones bench``: time or memory of backbones beside their peers."""
import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Tuple

from ..errors import InputError
from .tables import print_table

__all__ = ['add_parser', 'run']


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return number


def _image_shape(text: str) -> Tuple[int, ...]:
    """``'2,3,384,640'`` -> (2, 3, 384, 640)."""
    try:
        shape = tuple(int(number) for number in text.split(','))
    except ValueError:
        shape = ()
    if len(shape) != 4 or shape[0] < 1 or shape[1] != 3 or min(shape[2:]) < 32:
        raise argparse.ArgumentTypeError(f'{text!r} is no batch of images; write N,3,H,W with H and W from 32 up, such '
                                         'as 2,3,384,640')
    return shape


def _quantity(value: float, unit: str) -> str:
    """Seconds in milliseconds, bytes in mebibytes."""
    return f'{value * 1e3:.1f} ms' if unit == 's' else f'{value / 2**20:.1f} MiB'


def run(args: argparse.Namespace) -> None:
    from ..bench import Case, chart_formats, compare, describe_machine, draw_chart
    from ..files import check_target, write_atomically
    for path in (args.json, args.chart):
        if path is not None:  # before what is to be in it takes minutes
            check_target(path)
    if args.chart and Path(args.chart).suffix[1:].lower() not in chart_formats():
        raise InputError(f'--chart {args.chart}: expected a name that ends in one of {", ".join(chart_formats())}')
    cases = [
        Case(name, against, shape, args.train, args.dtype, args.compile, args.channels_last, args.with_cp, args.device,
             args.threads, args.memory) for name in args.names for shape in args.shape for against in args.against
    ]
    pairs = args.pairs or (1 if args.memory else 7)
    records = []
    for case in cases:
        records.append(compare(case, pairs, lambda text: print(f'{case.title}: {text}', file=sys.stderr, flush=True)))
        if args.json:  # after each, so that a run that is stopped leaves what it has
            report = dict(command=shlex.join(['mmbackbones', *args.argv]), machine=describe_machine(args.device))
            write_atomically(args.json, (json.dumps(dict(**report, results=records), indent=1) + '\n').encode())
    print_table([('backbone', '<'), ('against', '<'), ('images', '<'), ('ours', '>'), ('peer', '>'), ('ratio', '>'),
                 ('quartiles', '<')],
                [(record['backbone'], record['title'], ' x '.join(map(
                    str, record['shape'])), *(_quantity(record[side]['median'], record['unit'])
                                              for side in ('ours', 'peer')), f"{record['ratio']['median']:.3f}",
                  f"{record['ratio']['lower_quartile']:.3f} to {record['ratio']['upper_quartile']:.3f}")
                 for record in records])
    what = 'Peak of memory during' if args.memory else 'Time of'
    step = 'forward and backward' if args.train else 'forward, without gradients'
    print(f'\n{what} one step ({step}), medians of {pairs}; ratio: ours by the peer, median of the pairs.')
    if args.chart:
        draw_chart(records, args.chart)
        print(f'Chart: {args.chart}')


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
    command = commands.add_parser(
        'bench',
        help='time or memory of backbones beside the same network by others',
        epilog='example: mmbackbones bench swin_t --against mmdet timm --shape 2,3,384,640 --train')
    command.add_argument('names', metavar='BACKBONE', nargs='+', help='as in `mmbackbones list`')
    command.add_argument(
        '--against',
        metavar='PEER',
        nargs='+',
        required=True,
        help="static: with ordinary convolutions; mmdet, timm, torchvision: that library's network; plain: "
        "itself without the options below; FILE.py: what its function build(config, with_cp) gives")
    command.add_argument(
        '--shape',
        metavar='N,3,H,W',
        nargs='+',
        type=_image_shape,
        default=[(2, 3, 384, 640)],
        help='of the images (default: 2,3,384,640)')
    command.add_argument('--train', action='store_true', help='forward and backward (default: forward alone)')
    command.add_argument('--dtype', choices=('float32', 'bfloat16', 'float16'), default='float32', help='by autocast')
    command.add_argument('--compile', action='store_true', help='by torch.compile')
    command.add_argument('--channels-last', action='store_true', help='in that memory format')
    command.add_argument('--with-cp', action='store_true', help='recompute blocks in the backward pass')
    command.add_argument('--memory', action='store_true', help='the peak of memory instead of the time')
    command.add_argument(
        '--pairs', metavar='N', type=_positive, help='how often each side is measured (default: 7; of memory 1)')
    command.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    command.add_argument('--threads', metavar='N', type=_positive, help="of the CPU (default: torch's choice)")
    command.add_argument('--json', metavar='FILE', help='write all figures, the machine and the versions')
    command.add_argument('--chart', metavar='FILE', help='draw the ratios, for example as PNG')
    command.set_defaults(run=run)
