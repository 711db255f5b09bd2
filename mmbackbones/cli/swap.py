"""``mmbackbones swap``: a backbone in the config of a detector or classifier."""
import argparse
import shutil

from .tables import print_table

__all__ = ['add_parser', 'run']


def run(args: argparse.Namespace) -> None:
    from ..config.files import last_checkpoint, load_config
    from ..swap.backbone import swap_file
    target, changes = swap_file(args.config, args.name, args.output, args.recipe, args.force)
    print_table([('changed', '<'), ('why', '<')], changes, shutil.get_terminal_size((160, 24)).columns // 2 - 1)
    checkpoint = f'work_dirs/{target.stem}/{last_checkpoint(load_config(str(target)))}'
    print(f'\nwritten to {target}\n\npython tools/train.py {target}')
    print(f'python tools/test.py {target} {checkpoint}')


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
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
    command.set_defaults(run=run)
