"""The list of what exists, read from ``backbones.yaml``. Loads no torch."""
import functools
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

import yaml

from ..errors import UnknownNameError
from ..messages import did_you_mean

__all__ = [
    'DOCUMENTS', 'IMAGENET_MEAN', 'IMAGENET_STD', 'NOT_YET', 'Backbone', 'find_backbone', 'load_catalogue',
    'parse_figure'
]

NOT_YET = 'not yet'
# The five pages that this project began with: the backbones that they name are its subject. Their titles in English.
DOCUMENTS: Dict[str, str] = {
    '000': "PaddleClas's page on DSNet",
    '001': 'Backbones of deep learning frameworks, a survey',
    '002': 'ODConv, notes on the paper',
    '003': 'Conv2Former: extracting features by convolution in the style of transformers',
    '004': 'Swin Transformer as the backbone of Faster R-CNN and YOLOv3',
}
# of the pixels that most published weights expect: red, green, blue, from 0 to 255
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
UNITS = {'G': 1e9, 'M': 1e6}


class Backbone(NamedTuple):
    """One row of the catalogue.

    Attributes:
        name: what a user types.
        family: family of the paper.
        config: the model config; None where it cannot be built yet. Such a row has no channels, strides and counts.
        channels, strides: of the default outputs, finest first.
        mean, std: of the pixels that the published weights expect: red, green, blue, from 0 to 255.
        params, macs: measured, with the paper's classifier at ``input_size``.
        input_size, num_classes: what the counts are for.
        head_params, head_macs: what they contain of the paper's classifier beyond a linear layer on the last map.
        paper_params, paper_macs: as printed, in millions and with their unit; None where none is published.
        top1: published ImageNet accuracy in %.
        source: where the published figures were read.
        title, year, link: of the paper.
        documents: keys of :data:`DOCUMENTS` that name it.
        implementation: ``native``, the library it comes from, or :data:`NOT_YET`.
        note: what differs from the paper, and why.
    """
    name: str
    family: str
    config: Optional[dict]
    channels: Tuple[int, ...]
    strides: Tuple[int, ...]
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    params: Optional[int]
    macs: Optional[int]
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


def parse_figure(printed: str) -> float:
    """A published count as a number: ``'4.1G'`` -> 4.1e9; parameters, ``'25.6'``, are in millions."""
    return float(printed.rstrip('GM')) * UNITS[printed[-1] if printed[-1] in UNITS else 'M']


@functools.lru_cache(maxsize=None)
def load_catalogue() -> Tuple[Backbone, ...]:
    """All rows, in the file's order."""
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    data = yaml.load((Path(__file__).parent / 'backbones.yaml').read_text(), Loader=loader)
    rows = []
    for row in data['backbones']:
        row = {**data['families'][row['family']], **row}  # what a row says goes before what its family says
        config, measured = row.get('config'), row.get('measured', {})
        paper, head = row.get('paper', {}), row.get('head', {})
        rows.append(
            Backbone(
                name=row['name'],
                family=row['family'],
                config=config,
                channels=tuple(row.get('channels', ())),
                strides=tuple(row.get('strides', ())),
                mean=tuple(row.get('mean', IMAGENET_MEAN)),
                std=tuple(row.get('std', IMAGENET_STD)),
                params=measured.get('params'),
                macs=measured.get('macs'),
                input_size=row.get('input', 224),
                num_classes=row.get('classes', 1000),
                head_params=head.get('params', 0),
                head_macs=head.get('macs', 0),
                paper_params=paper.get('params'),
                paper_macs=paper.get('macs'),
                top1=paper.get('top1'),
                source=data['sources'][paper['source']] if paper else None,
                title=row['title'],
                year=row['year'],
                link=row['link'],
                documents=tuple(row['documents']),
                implementation=row['implementation'] if config else NOT_YET,
                note=row.get('note', '')))
    return tuple(rows)


def find_backbone(name: str) -> Backbone:
    """The row with this name.

    Raises:
        UnknownNameError: there is none; it lists the nearest names.
    """
    rows = {row.name: row for row in load_catalogue()}
    if name not in rows:
        hint = did_you_mean(name, rows, 0.4, '`mmbackbones list` shows all')
        raise UnknownNameError(f'no backbone {name!r} in the catalogue{hint}')
    return rows[name]
