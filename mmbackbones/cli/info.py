"""``mmbackbones info``: figures, paper and config of one backbone."""
import argparse
import json
from typing import List

from ..catalogue import DOCUMENTS, NOT_YET, Backbone, find_backbone
from .tables import dashed, giga, millions, percent, print_table

__all__ = ['add_parser', 'published_weights', 'run']


def _snippet(row: Backbone) -> str:
    arguments = ', '.join(f'{key}={value!r}' for key, value in row.config.items())
    neck = f"neck=dict(type='FPN', in_channels={list(row.channels)}, out_channels=256, num_outs=5)"
    return f'backbone=dict({arguments}),\n{neck}'


def published_weights(row: Backbone) -> List[str]:
    """Names of the weights that the row's library publishes for it. Loads the library, which takes seconds."""
    if row.implementation == 'torchvision':
        from ..models import torchvision_tags
        return torchvision_tags(row.config['model_name'])
    if row.implementation != 'timm' or 'model_args' in row.config:  # other arguments, other weights
        return []
    from ..models import pretrained_tags
    model_name = row.config['model_name']
    return [tag for tag in pretrained_tags(model_name) if '.' not in model_name or tag == model_name]


def _find_row(name: str) -> Backbone:
    """A row of the catalogue, or one made for ``timm:NAME`` or ``torchvision:NAME``, which takes seconds."""
    if ':' not in name:
        return find_backbone(name)
    from ..catalogue.libraries import find_row
    return find_row(name)


def _pretrained(row: Backbone, name: str) -> str:
    """How a config asks for published weights, with the pixels that they expect where the row's are others."""
    asked = f"pretrained='{name.rpartition('.')[2]}'"
    if row.implementation != 'timm':
        return asked
    from ..models import expected_pixels
    mean, std = expected_pixels(name)
    if all(abs(ours - theirs) < 0.01 for ours, theirs in zip((*row.mean, *row.std), (*mean, *std))):
        return asked
    return f'{asked}, for pixels of mean {dashed(f"{value:g}" for value in mean)} and deviation ' \
           f'{dashed(f"{value:g}" for value in std)}'


def run(args: argparse.Namespace) -> None:
    row = _find_row(args.name)
    if args.json:
        print(json.dumps({**row._asdict(), 'weights': published_weights(row)}, indent=1))
        return
    print(f'{row.name} ({row.family}, {row.implementation})\n')
    print_table([('', '<'), ('measured', '>'), ('published', '>')],
                [('params, M', millions(row.params), row.paper_params or '-'),
                 ('MACs', giga(row.macs), row.paper_macs or '-'), ('top-1, %', '-', percent(row.top1)),
                 ('channels', dashed(row.channels), ''), ('strides', dashed(row.strides), '')])
    print(f'\npaper      {row.title}, {row.year}\n           {row.link}')
    print(f'published  {row.source or "no figures"}')
    named = [f'document {number}: {DOCUMENTS[number]}' for number in row.documents]
    print('named in   ' + ('\n           '.join(named) or 'none of the documents that this project began with'))
    print(f'pixels     red, green, blue of mean {dashed(row.mean)} and deviation {dashed(row.std)}')
    if row.config is not None:
        print(f'counted    at {row.input_size}x{row.input_size} with {row.num_classes} classes')
    if row.note:
        print(f'note       {row.note}')
    if row.config is None:
        print(f'\n{row.name} is {NOT_YET} there: no config can build it.')
        return
    print(f'\nin a detector config:\n\n{_snippet(row)}', flush=True)
    try:
        weights = published_weights(row)
    except ImportError as error:
        print(f'\npublished weights: {error}')
        return
    if weights:
        print('\npublished weights, one of these in the backbone:\n')
        print('\n'.join(_pretrained(row, name) for name in weights))


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``mmbackbones``."""
    command = commands.add_parser(
        'info', help='figures, paper and config of one backbone', epilog='example: mmbackbones info odconv4x_r50')
    command.add_argument(
        'name', metavar='NAME', help='as in `mmbackbones list`, or timm:NAME for any other network of timm')
    command.add_argument('--json', action='store_true', help='all fields, for programs')
    command.set_defaults(run=run)
