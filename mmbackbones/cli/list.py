"""``mmbackbones list``: a table of all backbones."""
import argparse
import json
from typing import Iterable, List, Optional

from ..catalogue import DOCUMENTS, NOT_YET, Backbone, load_catalogue, parse_figure
from ..errors import UnknownNameError
from ..messages import did_you_mean, listed
from .tables import dashed, giga, millions, percent, print_table

__all__ = ['add_parser', 'run']


def _at_most(limit: Optional[float], counted: Optional[int], published: Optional[str]) -> bool:
    """Whether a figure keeps a limit: ours, or the published one where the row is not there yet."""
    if limit is None:
        return True
    if counted is None and published is not None:
        counted = parse_figure(published)
    return counted is not None and counted <= limit


def _refuse_unknown(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UnknownNameError(f'no {what} {value!r} in the catalogue; it has {listed(sorted(known))}')


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
            hint = did_you_mean(args.family, families.values(), otherwise=f'it has {listed(families.values())}')
            raise UnknownNameError(f'no family {args.family!r} in the catalogue{hint}')
        rows = [row for row in rows if row.family.lower() in chosen]
    if args.document is not None:
        _refuse_unknown('document', args.document, DOCUMENTS)
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


def run(args: argparse.Namespace) -> None:
    rows = _select(args)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    print_table([('name', '<'), ('family', '<'), ('params M', '>'), ('paper', '>'), ('MACs', '>'), ('paper', '>'),
                 ('top-1 %', '>'), ('channels', '<'), ('strides', '<'), ('implementation', '<')],
                [(row.name, row.family, millions(row.params), row.paper_params or '-', giga(row.macs), row.paper_macs
                  or '-', percent(row.top1), dashed(row.channels), dashed(row.strides), row.implementation)
                 for row in rows])
    missing = sum(row.config is None for row in rows)
    said = f', {missing} of them {NOT_YET} there' if missing else ''
    print(f"\n{len(rows)} backbones{said}. Counted with the paper's classifier at the paper's input size.")
    print('`mmbackbones info NAME` tells more.')


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
    command = commands.add_parser(
        'list',
        help='a table of all backbones',
        epilog='example: mmbackbones list --max-params 10 --document 001 --implementation timm')
    command.add_argument('--family', help='only this family, or all whose names contain this: inception')
    command.add_argument('--max-params', type=float, metavar='M', help='at most so many million parameters')
    command.add_argument('--max-macs', type=float, metavar='G', help='at most so many billion MACs')
    numbered = listed(f'{number} ({title})' for number, title in DOCUMENTS.items())
    command.add_argument(
        '--document',
        metavar='NUMBER',
        help=f'only what one of the documents names that this project began with: {numbered}')
    command.add_argument('--implementation', metavar='WHICH', help="only native, timm, ... or 'not yet'")
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=run)
