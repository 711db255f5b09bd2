"""The list of what exists, read from ``backbones.yaml``. Loads no torch."""
import difflib
import functools
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import yaml

__all__ = ['Backbone', 'find_backbone', 'load_catalogue']


class Backbone(NamedTuple):
    """One row of the catalogue.

    Attributes:
        name: what a user types.
        family: family of the paper.
        config: the model config.
        channels, strides: of the default outputs, finest first.
        params, macs: measured, with the paper's classifier at ``input_size``.
        input_size, num_classes: what the counts are for.
        head_params, head_macs: what they contain of the paper's classifier beyond a linear layer on the last map.
        paper_params, paper_macs: as printed, in millions and with their unit; None where none is published.
        top1: published ImageNet accuracy in %.
        source: where the published figures were read.
        title, year, link: of the paper.
        documents: founding documents that name it.
        implementation: ``native`` or the library it comes from.
        note: what differs from the paper, and why.
    """
    name: str
    family: str
    config: dict
    channels: Tuple[int, ...]
    strides: Tuple[int, ...]
    params: int
    macs: int
    input_size: int
    num_classes: int
    head_params: int
    head_macs: int
    paper_params: Optional[str]
    paper_macs: Optional[str]
    top1: Optional[float]
    source: Optional[str]
    title: str
    year: int
    link: str
    documents: Tuple[str, ...]
    implementation: str
    note: str


@functools.lru_cache(maxsize=None)
def load_catalogue() -> Tuple[Backbone, ...]:
    """All rows, in the file's order."""
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    data = yaml.load((Path(__file__).parent / 'backbones.yaml').read_text(), Loader=loader)
    rows = []
    for row in data['backbones']:
        family, paper, head = data['families'][row['family']], row.get('paper', {}), row.get('head', {})
        rows.append(
            Backbone(
                name=row['name'],
                family=row['family'],
                config=row['config'],
                channels=tuple(row['channels']),
                strides=tuple(row['strides']),
                params=row['measured']['params'],
                macs=row['measured']['macs'],
                input_size=row.get('input', 224),
                num_classes=row.get('classes', 1000),
                head_params=head.get('params', 0),
                head_macs=head.get('macs', 0),
                paper_params=paper.get('params'),
                paper_macs=paper.get('macs'),
                top1=paper.get('top1'),
                source=data['sources'][paper['source']] if paper else None,
                title=family['title'],
                year=family['year'],
                link=family['link'],
                documents=tuple(family['documents']),
                implementation=family['implementation'],
                note=row.get('note', '')))
    return tuple(rows)


def find_backbone(name: str) -> Backbone:
    """The row with this name.

    Raises:
        KeyError: there is none; it lists the nearest names.
    """
    rows = {row.name: row for row in load_catalogue()}
    if name not in rows:
        near = difflib.get_close_matches(name.lower(), rows, n=4, cutoff=0.4)
        hint = f'did you mean {", ".join(near)}?' if near else '`mmbackbones list` shows all'
        raise KeyError(f'no backbone {name!r} in the catalogue; {hint}')
    return rows[name]
