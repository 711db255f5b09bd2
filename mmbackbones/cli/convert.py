"""``mmbackbones convert``: weights of the authors, checked and written with our names."""
import argparse
from pathlib import Path

from ..catalogue import NOT_YET, find_backbone
from ..errors import InputError
from ..version import __version__

__all__ = ['add_parser', 'run']


def run(args: argparse.Namespace) -> None:
    import io

    import torch
    from mmengine.registry import MODELS

    from ..files import check_target, write_atomically
    from ..weights import extract_state_dict
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


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
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
    command.set_defaults(run=run)
