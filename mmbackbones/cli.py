"""The command ``mmbackbones``: what there is, what it is, weights of others made ours, and how fast it runs."""
import argparse
import itertools
import json
import os
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Iterable, List, Optional, Tuple

from .boundary import Ended, Parser, Situation, command
from .catalogue import NOT_YET, Backbone, find_backbone, load_catalogue, parse_figure
from .errors import InputError, UnknownNameError
from .version import __version__

__all__ = ['main']


def _millions(count: Optional[int]) -> str:
    return '-' if count is None else f'{count / 1e6:.2f}'


def _giga(count: Optional[int]) -> str:
    if count is None:
        return '-'
    return f'{count / 1e9:.3f}G' if count >= 1e9 else f'{count / 1e6:.1f}M'


def _percent(value: Optional[float]) -> str:
    return '-' if value is None else f'{value:.2f}'


def _dashed(values) -> str:
    return '/'.join(map(str, values)) or '-'


def _print_table(columns, rows, cell_width: Optional[int] = None) -> None:
    """Print columns of equal width.

    Args:
        columns: (name, ``'<'`` or ``'>'`` for the side it leans to) of each.
        rows: of strings.
        cell_width: longer cells go on in the next line. Defaults to None: they do not.
    """
    lines = [[name for name, _ in columns]]
    for row in rows:
        cells = [textwrap.wrap(cell, cell_width) if cell_width else [cell] for cell in row]
        lines += itertools.zip_longest(*cells, fillvalue='')
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    for line in lines:
        print('  '.join(f'{cell:{side}{width}}' for cell, width, (_, side) in zip(line, widths, columns)).rstrip())


def _at_most(limit: Optional[float], counted: Optional[int], published: Optional[str]) -> bool:
    """Whether a figure keeps a limit: ours, or the published one where the row is not there yet."""
    if limit is None:
        return True
    if counted is None and published is not None:
        counted = parse_figure(published)
    return counted is not None and counted <= limit


def _refuse_unknown(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UnknownNameError(f'no {what} {value!r} in the catalogue; it has {", ".join(sorted(known))}')


def _select(args) -> List[Backbone]:
    """The rows that all filters let through.

    Raises:
        UnknownNameError: there is none; it says which filter has no such value at all.
    """
    rows = load_catalogue()
    if args.family is not None:
        families = {row.family.lower(): row.family for row in rows}
        wanted = args.family.lower()
        # the whole name of a family, or a part that several share: 'inception' for all four
        chosen = {wanted} if wanted in families else {family for family in families if wanted in family}
        if not chosen:
            raise UnknownNameError(f'no family {args.family!r} in the catalogue; it has {", ".join(families.values())}')
        rows = [row for row in rows if row.family.lower() in chosen]
    if args.document is not None:
        _refuse_unknown('document', args.document, {each for row in rows for each in row.documents})
        rows = [row for row in rows if args.document in row.documents]
    if args.implementation is not None:
        _refuse_unknown('implementation', args.implementation, {row.implementation for row in rows})
        rows = [row for row in rows if row.implementation == args.implementation]
    params = args.max_params and args.max_params * 1e6
    macs = args.max_macs and args.max_macs * 1e9
    rows = [
        row for row in rows
        if _at_most(params, row.params, row.paper_params) and _at_most(macs, row.macs, row.paper_macs)
    ]
    if not rows:
        raise UnknownNameError('no backbone in the catalogue passes all of these filters; `mmbackbones list` shows all')
    return rows


def list_backbones(args) -> None:
    rows = _select(args)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    _print_table([('name', '<'), ('family', '<'), ('params M', '>'), ('paper', '>'), ('MACs', '>'), ('paper', '>'),
                  ('top-1 %', '>'), ('channels', '<'), ('strides', '<'), ('implementation', '<')],
                 [(row.name, row.family, _millions(row.params), row.paper_params or '-', _giga(row.macs), row.paper_macs
                   or '-', _percent(row.top1), _dashed(row.channels), _dashed(row.strides), row.implementation)
                  for row in rows])
    missing = sum(row.config is None for row in rows)
    said = f', {missing} of them {NOT_YET} there' if missing else ''
    print(f"\n{len(rows)} backbones{said}. Counted with the paper's classifier at the paper's input size.")
    print('`mmbackbones info NAME` tells more.')


def _snippet(row: Backbone) -> str:
    arguments = ', '.join(f'{key}={value!r}' for key, value in row.config.items())
    neck = f"neck=dict(type='FPN', in_channels={list(row.channels)}, out_channels=256, num_outs=5)"
    return f'backbone=dict({arguments}),\n{neck}'


def _published_weights(row: Backbone) -> List[str]:
    """Names of the weights that the row's library publishes for it. Loads the library, which takes seconds."""
    if row.implementation == 'torchvision':
        from .models import torchvision_tags
        return torchvision_tags(row.config['model_name'])
    if row.implementation != 'timm' or 'model_args' in row.config:  # other arguments, other weights
        return []
    from .models import pretrained_tags
    model_name = row.config['model_name']
    return [tag for tag in pretrained_tags(model_name) if '.' not in model_name or tag == model_name]


def _find_row(name: str) -> Backbone:
    """A row of the catalogue, or one made for ``timm:NAME`` or ``torchvision:NAME``, which takes seconds."""
    if ':' not in name:
        return find_backbone(name)
    from .library_row import find_row
    return find_row(name)


def _pretrained(row: Backbone, name: str) -> str:
    """How a config asks for published weights, with the pixels that they expect where the row's are others."""
    asked = f"pretrained='{name.rpartition('.')[2]}'"
    if row.implementation != 'timm':
        return asked
    from .models import expected_pixels
    mean, std = expected_pixels(name)
    if all(abs(ours - theirs) < 0.01 for ours, theirs in zip((*row.mean, *row.std), (*mean, *std))):
        return asked
    return f'{asked}, for pixels of mean {_dashed(f"{value:g}" for value in mean)} and deviation ' \
           f'{_dashed(f"{value:g}" for value in std)}'


def show_info(args) -> None:
    row = _find_row(args.name)
    if args.json:
        print(json.dumps({**row._asdict(), 'weights': _published_weights(row)}, indent=1))
        return
    print(f'{row.name} ({row.family}, {row.implementation})\n')
    _print_table([('', '<'), ('measured', '>'), ('published', '>')],
                 [('params, M', _millions(row.params), row.paper_params or '-'),
                  ('MACs', _giga(row.macs), row.paper_macs or '-'), ('top-1, %', '-', _percent(row.top1)),
                  ('channels', _dashed(row.channels), ''), ('strides', _dashed(row.strides), '')])
    print(f'\npaper      {row.title}, {row.year}\n           {row.link}')
    print(f'published  {row.source or "no figures"}')
    print(f'named in   {", ".join(f"document {document}" for document in row.documents) or "no founding document"}')
    print(f'pixels     red, green, blue of mean {_dashed(row.mean)} and deviation {_dashed(row.std)}')
    if row.config is not None:
        print(f'counted    at {row.input_size}x{row.input_size} with {row.num_classes} classes')
    if row.note:
        print(f'note       {row.note}')
    if row.config is None:
        print(f'\n{row.name} is {NOT_YET} there: no config can build it.')
        return
    print(f'\nin a detector config:\n\n{_snippet(row)}', flush=True)
    try:
        weights = _published_weights(row)
    except ImportError as error:
        print(f'\npublished weights: {error}')
        return
    if weights:
        print('\npublished weights, one of these in the backbone:\n')
        print('\n'.join(_pretrained(row, name) for name in weights))


def convert_weights(args) -> None:
    import io

    import torch
    from mmengine.registry import MODELS

    from .files import check_target, write_atomically
    from .weights import extract_state_dict
    target = Path(args.output)
    check_target(target)
    if target.exists() and not args.force:
        raise FileExistsError(f'{target} exists; --force overwrites it')
    row = find_backbone(args.name)
    if row.config is None:
        raise InputError(f'{row.name} is {NOT_YET} there; `mmbackbones info {row.name}` says what is known of it')
    backbone = MODELS.build(dict(row.config))
    backbone.load_pretrained(args.checkpoint)
    weights = backbone.state_dict()
    content = io.BytesIO()  # torch's own writer reports a full disk in several ways
    torch.save(dict(state_dict=weights, meta=dict(backbone=args.name, mmbackbones=__version__)), content)
    write_atomically(target, content.getbuffer())
    print(f'{len(extract_state_dict(dict(state_dict=weights)))} tensors of {args.name} written to {target}; use '
          f"init_cfg=dict(type='Pretrained', checkpoint='{target}')")


def swap_in_config(args) -> None:
    from .config_files import last_checkpoint, load_config
    from .swap import swap_file
    target, changes = swap_file(args.config, args.name, args.output, args.recipe, args.force)
    _print_table([('changed', '<'), ('why', '<')], changes, shutil.get_terminal_size((160, 24)).columns // 2 - 1)
    checkpoint = f'work_dirs/{target.stem}/{last_checkpoint(load_config(str(target)))}'
    print(f'\nwritten to {target}\n\npython tools/train.py {target}')
    print(f'python tools/test.py {target} {checkpoint}')


def check_file(args) -> None:
    from .check import check_run
    from .config_files import load_config
    fit = check_run(load_config(args.config))
    if fit.problems:
        raise InputError('\n'.join(f'{args.config}: {problem}' for problem in fit.problems))
    if fit.maps is None:
        print(f'{args.config}: builds; whether its parts fit is not known, as {fit.unknown}')
        return
    print(f'{args.config}: fits' + (f' as far as it could be followed: {fit.unknown}' if fit.unknown else ''))
    parts = [('backbone', fit.maps)] + ([('heads get', fit.levels)] if fit.levels else [])
    _print_table([('', '<'), ('channels', '<'), ('strides', '<')],
                 [(name, _dashed(maps.channels), _dashed(stride or '-' for stride in maps.strides))
                  for name, maps in parts])


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


def _check_target(path: Optional[str]) -> None:
    """Refuse a file that cannot be written, before what is to be in it takes minutes."""
    if path is None:
        return
    target = Path(path)
    if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f'{path} cannot be written: expected a file in a folder that is there, with leave to write')


def bench_backbones(args) -> None:
    from .bench import Case, chart_formats, compare, describe_machine, draw_chart
    from .files import write_atomically
    for path in (args.json, args.chart):
        _check_target(path)
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
    _print_table([('backbone', '<'), ('against', '<'), ('images', '<'), ('ours', '>'), ('peer', '>'), ('ratio', '>'),
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


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='mmbackbones',
        description='Backbones for MMDetection and MMPretrain.',
        epilog='example: mmbackbones info odconv4x_r50')
    parser.add_argument('--version', action='version', version=f'mmbackbones {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    command = commands.add_parser(
        'list',
        help='a table of all backbones',
        epilog='example: mmbackbones list --max-params 10 --document 001 --implementation timm')
    command.add_argument('--family', help='only this family, or all whose names contain this: inception')
    command.add_argument('--max-params', type=float, metavar='M', help='at most so many million parameters')
    command.add_argument('--max-macs', type=float, metavar='G', help='at most so many billion MACs')
    command.add_argument('--document', metavar='NUMBER', help='only what this founding document names: 000 to 004')
    command.add_argument('--implementation', metavar='WHICH', help="only native, timm, ... or 'not yet'")
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=list_backbones)

    command = commands.add_parser(
        'info', help='figures, paper and config of one backbone', epilog='example: mmbackbones info odconv4x_r50')
    command.add_argument(
        'name', metavar='NAME', help='as in `mmbackbones list`, or timm:NAME for any other network of timm')
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=show_info)

    command = commands.add_parser(
        'convert',
        help="check a checkpoint of the authors against a backbone and write it with our names",
        epilog='example: mmbackbones convert odconv4x_r50 odconv4x_resnet50.pth.tar odconv4x_r50.pth')
    command.add_argument('name', metavar='NAME', help='as in `mmbackbones list`')
    command.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='file to read; FILE::PREFIX names one of several sets of weights in it')
    command.add_argument('output', metavar='OUTPUT', help='file to write')
    command.add_argument('--force', action='store_true', help='overwrite OUTPUT')
    command.set_defaults(run=convert_weights)

    command = commands.add_parser(
        'swap',
        help='put a backbone into the config of a detector or classifier',
        epilog='example: mmbackbones swap mmdet::retinanet/retinanet_r50_fpn_1x_coco.py swin_t')
    command.add_argument('config', metavar='CONFIG', help='a path, or a name such as mmdet::FOLDER/FILE.py')
    command.add_argument(
        'name', metavar='BACKBONE', help='as in `mmbackbones list`, or timm:NAME for any other network of timm')
    command.add_argument('-o', '--output', metavar='FILE', help="file to write (default: CONFIG's name with BACKBONE)")
    command.add_argument('--recipe', action='store_true', help="train as the backbone's authors do, too")
    command.add_argument('--force', action='store_true', help='overwrite FILE')
    command.set_defaults(run=swap_in_config)

    command = commands.add_parser(
        'check',
        help='whether backbone, neck and heads of a config fit each other, without data or weights',
        epilog='example: mmbackbones check configs/detection/faster_rcnn_swin_t.py')
    command.add_argument('config', metavar='CONFIG', help='a path, or a name such as mmdet::FOLDER/FILE.py')
    command.set_defaults(run=check_file)

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
        help="static: with ordinary convolutions; mmdet, timm, torchvision: that library's network; reference: the "
        "dynamic convolution of its authors; plain: itself without the options below")
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
    command.set_defaults(run=bench_backbones)
    return parser


@command
def _run(argv: Optional[List[str]], situation: Situation) -> None:
    args = build_parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    args.run(args)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        _run(argv)
    except Ended as end:
        return end.code
    return 0
