"""``mmbackbones check``: whether the parts of a config fit each other."""
import argparse

from ..errors import InputError
from .tables import dashed, print_table

__all__ = ['add_parser', 'run']


def run(args: argparse.Namespace) -> None:
    from ..config.check import check_run
    from ..config.files import load_config
    fit = check_run(load_config(args.config))
    if fit.problems:
        raise InputError('\n'.join(f'{args.config}: {problem}' for problem in fit.problems))
    if fit.maps is None:
        print(f'{args.config}: builds; whether its parts fit is not known, as {fit.unknown}')
        return
    print(f'{args.config}: fits' + (f' as far as it could be followed: {fit.unknown}' if fit.unknown else ''))
    parts = [('backbone', fit.maps)] + ([('heads get', fit.levels)] if fit.levels else [])
    print_table([('', '<'), ('channels', '<'), ('strides', '<')],
                [(name, dashed(maps.channels), dashed(stride or '-' for stride in maps.strides))
                 for name, maps in parts])


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
    command = commands.add_parser(
        'check',
        help='whether backbone, neck and heads of a config fit each other, without data or weights',
        epilog='example: mmbackbones check configs/detection/faster_rcnn_swin_t.py')
    command.add_argument('config', metavar='CONFIG', help='a path, or a name such as mmdet::FOLDER/FILE.py')
    command.set_defaults(run=run)
