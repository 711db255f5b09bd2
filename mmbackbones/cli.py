"""The command ``mmbackbones``: what there is, what it is, and weights of others made ours."""
import argparse
import json
import sys
from pathlib import Path

from .catalogue import Backbone, find_backbone, load_catalogue
from .version import __version__

__all__ = ['main']


def _millions(count: int) -> str:
    return f'{count / 1e6:.2f}'


def _giga(count: int) -> str:
    return f'{count / 1e9:.3f}G' if count >= 1e9 else f'{count / 1e6:.1f}M'


def _dashed(values) -> str:
    return '/'.join(map(str, values))


def _print_table(columns, rows, title=None, wrap=False) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    table = Table(title=title, box=None, pad_edge=False, header_style='bold')
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=not wrap)
    for row in rows:
        table.add_row(*map(escape, row))
    # a pipe has no width of its own: give it room for every column
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def list_backbones(args) -> None:
    rows = [row for row in load_catalogue() if args.family is None or row.family.lower() == args.family.lower()]
    if not rows:
        families = sorted({row.family for row in load_catalogue()})
        raise KeyError(f'no family {args.family!r} in the catalogue; it has {", ".join(families)}')
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    _print_table([('name', 'left'), ('family', 'left'), ('params M', 'right'), ('paper', 'right'), ('MACs', 'right'),
                  ('paper', 'right'), ('top-1 %', 'right'), ('channels', 'left'), ('strides', 'left')],
                 [(row.name, row.family, _millions(row.params), row.paper_params or '-', _giga(row.macs), row.paper_macs
                   or '-', f'{row.top1:.2f}' if row.top1 else '-', _dashed(row.channels), _dashed(row.strides))
                  for row in rows])
    print(f"\n{len(rows)} backbones, counted with the paper's classifier at the paper's input size.")
    print('`mmbackbones info NAME` tells more.')


def _snippet(row: Backbone) -> str:
    arguments = ', '.join(f'{key}={value!r}' for key, value in row.config.items())
    neck = f"neck=dict(type='FPN', in_channels={list(row.channels)}, out_channels=256, num_outs=5)"
    return f'backbone=dict({arguments}),\n{neck}'


def show_info(args) -> None:
    row = find_backbone(args.name)
    if args.json:
        print(json.dumps(row._asdict(), indent=1))
        return
    published = row.source is not None
    _print_table([('', 'left'), ('measured', 'right'), ('published', 'right')],
                 [('params, M', _millions(row.params), row.paper_params or '-'),
                  ('MACs', _giga(row.macs), row.paper_macs or '-'),
                  ('top-1, %', '-', f'{row.top1:.2f}' if row.top1 else '-'), ('channels', _dashed(row.channels), ''),
                  ('strides', _dashed(row.strides), '')],
                 title=f'{row.name} ({row.family}, {row.implementation})')
    print(f'\npaper      {row.title}, {row.year}\n           {row.link}')
    print(f'published  {row.source}' if published else 'published  no figures')
    print(f'counted    at {row.input_size}x{row.input_size} with {row.num_classes} classes')
    if row.note:
        print(f'note       {row.note}')
    print(f'\nin a detector config:\n\n{_snippet(row)}')


def convert_weights(args) -> None:
    import torch
    from mmengine.registry import MODELS

    from .weights import extract_state_dict
    target = Path(args.output)
    if target.exists() and not args.force:
        raise FileExistsError(f'{target} exists; --force overwrites it')
    backbone = MODELS.build(dict(find_backbone(args.name).config))
    backbone.load_pretrained(args.checkpoint)
    weights = backbone.state_dict()
    part = target.with_name(f'{target.name}.part')
    torch.save(dict(state_dict=weights, meta=dict(backbone=args.name, mmbackbones=__version__)), part)
    part.replace(target)
    print(f'{len(extract_state_dict(dict(state_dict=weights)))} tensors of {args.name} written to {target}; use '
          f"init_cfg=dict(type='Pretrained', checkpoint='{target}')")


def swap_in_config(args) -> None:
    from .swap import swap_file
    target, changes = swap_file(args.config, args.name, args.output, args.recipe, args.force)
    _print_table([('changed', 'left'), ('why', 'left')], changes, wrap=True)
    print(f'\nwritten to {target}\n\npython tools/train.py {target}')
    print(f'python tools/test.py {target} work_dirs/{target.stem}/CHECKPOINT')


def check_file(args) -> None:
    from .check import check_fit
    from .swap import load_config
    fit = check_fit(load_config(args.config))
    if fit.problems:
        raise ValueError('\n'.join(f'{args.config}: {problem}' for problem in fit.problems))
    if fit.maps is None:
        print(f'{args.config}: builds; its maps cannot be followed, so nothing more is known')
        return
    print(f'{args.config}: fits')
    parts = [('backbone', fit.maps)] + ([('heads get', fit.levels)] if fit.levels else [])
    _print_table([('', 'left'), ('channels', 'left'), ('strides', 'left')],
                 [(name, _dashed(maps.channels), _dashed(stride or '-' for stride in maps.strides))
                  for name, maps in parts])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mmbackbones',
        description='Backbones for MMDetection and MMPretrain.',
        epilog='example: mmbackbones info odconv4x_r50')
    parser.add_argument('--version', action='version', version=f'mmbackbones {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    command = commands.add_parser(
        'list', help='a table of all backbones', epilog='example: mmbackbones list --family odconv')
    command.add_argument('--family', help='only this family')
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=list_backbones)

    command = commands.add_parser(
        'info', help='figures, paper and config of one backbone', epilog='example: mmbackbones info odconv4x_r50')
    command.add_argument('name', metavar='NAME', help='as in `mmbackbones list`')
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=show_info)

    command = commands.add_parser(
        'convert',
        help="check a checkpoint of the authors against a backbone and write it with our names",
        epilog='example: mmbackbones convert odconv4x_r50 odconv4x_resnet50.pth.tar odconv4x_r50.pth')
    command.add_argument('name', metavar='NAME', help='as in `mmbackbones list`')
    command.add_argument('checkpoint', metavar='CHECKPOINT', help='file to read')
    command.add_argument('output', metavar='OUTPUT', help='file to write')
    command.add_argument('--force', action='store_true', help='overwrite OUTPUT')
    command.set_defaults(run=convert_weights)
    command = commands.add_parser(
        'swap',
        help='put a backbone into the config of a detector or classifier',
        epilog='example: mmbackbones swap mmdet::retinanet/retinanet_r50_fpn_1x_coco.py swin_t')
    command.add_argument('config', metavar='CONFIG', help='a path, or a name such as mmdet::FOLDER/FILE.py')
    command.add_argument('name', metavar='BACKBONE', help='as in `mmbackbones list`')
    command.add_argument('-o', '--output', metavar='FILE', help="file to write (default: CONFIG's name with BACKBONE)")
    command.add_argument('--recipe', action='store_true', help="train with the optimizer of the backbone's family, too")
    command.add_argument('--force', action='store_true', help='overwrite FILE')
    command.set_defaults(run=swap_in_config)

    command = commands.add_parser(
        'check',
        help='whether backbone, neck and heads of a config fit each other, without data or weights',
        epilog='example: mmbackbones check configs/detection/faster_rcnn_swin_t.py')
    command.add_argument('config', metavar='CONFIG', help='a path, or a name such as mmdet::FOLDER/FILE.py')
    command.set_defaults(run=check_file)
    return parser


def main(argv=None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:  # `mmbackbones list | head`
        return 0
    except (KeyError, ValueError, OSError) as error:
        print(f'mmbackbones: {error.args[0] if isinstance(error, KeyError) else error}', file=sys.stderr)
        return 1
    return 0
