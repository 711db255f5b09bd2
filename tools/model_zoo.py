"""Write docs/model_zoo.md from the catalogue: python tools/model_zoo.py."""
from pathlib import Path

from mmbackbones.boundary import Parser, command
from mmbackbones.catalogue import load_catalogue

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'model_zoo.md'


def render() -> str:
    """The page as it follows from the catalogue."""
    lines = [
        '# Model zoo', '', 'Written by `python tools/model_zoo.py` from `mmbackbones/catalogue/backbones.yaml`.',
        "Parameters and MACs are with the paper's classifier (1000 classes, 224x224 where the note says nothing else);",
        'ours are counted here. What is not there yet has the published figures alone.'
    ]
    family = None
    for row in load_catalogue():
        if row.family != family:
            family = row.family
            lines += [
                '', f'## {family}', '', f'{row.title}, {row.year}. <{row.link}>', '',
                '| name | params M | paper | MACs | paper | top-1 % (published) | channels | strides | by | note |',
                '|-|-|-|-|-|-|-|-|-|-|'
            ]
        counted = ('', '') if row.config is None else (f'{row.params / 1e6:.2f}', f'{row.macs / 1e9:.3f}G')
        cells = (f'`{row.name}`', counted[0], row.paper_params or '', counted[1], row.paper_macs
                 or '', f'{row.top1:.2f}' if row.top1 else '', '/'.join(map(str, row.channels)),
                 '/'.join(map(str, row.strides)), row.implementation, row.note)
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


@command
def main(argv, situation):
    """Write the page."""
    Parser(description=__doc__).parse_args(argv)
    PAGE.write_text(render())
    print(f'wrote {PAGE}')


if __name__ == '__main__':
    main()
