"""The command ``mmbackbones``: what there is, what it is, weights of others made ours, and how fast it runs."""
import argparse
import sys
from typing import List, Optional

from ..boundary import Ended, Parser, Situation, command
from ..version import __version__
from . import bench, check, convert, info, list, swap

__all__ = ['build_parser', 'main']

COMMANDS = (list, info, convert, swap, check, bench)


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``mmbackbones`` and of all its commands."""
    parser = Parser(
        prog='mmbackbones',
        description='Backbones for MMDetection and MMPretrain.',
        epilog='example: mmbackbones info odconv4x_r50')
    parser.add_argument('--version', action='version', version=f'mmbackbones {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for each in COMMANDS:
        each.add_parser(commands)
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
