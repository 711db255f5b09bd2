"""Tables and figures as the commands print them."""
import itertools
import textwrap
from typing import Any, Iterable, Optional, Sequence, Tuple

__all__ = ['dashed', 'giga', 'millions', 'percent', 'print_table']


def millions(count: Optional[int]) -> str:
    return '-' if count is None else f'{count / 1e6:.2f}'


def giga(count: Optional[int]) -> str:
    if count is None:
        return '-'
    return f'{count / 1e9:.3f}G' if count >= 1e9 else f'{count / 1e6:.1f}M'


def percent(value: Optional[float]) -> str:
    return '-' if value is None else f'{value:.2f}'


def dashed(values: Iterable[Any]) -> str:
    return '/'.join(map(str, values)) or '-'


def print_table(columns: Sequence[Tuple[str, str]],
                rows: Iterable[Sequence[str]],
                cell_width: Optional[int] = None) -> None:
    """Print columns of equal width.

    Args:
        columns: (name, ``'<'`` or ``'>'`` for the side it leans to) of each.
        rows: of strings.
        cell_width: longer cells go on in the next line. Defaults to None: they do not.
    """
    lines = [[name for name, _ in columns]]
    for row in rows:
        cells = [textwrap.wrap(cell, cell_width) if cell_width else [cell] for cell in row]
        lines += itertools.zip_longest(*cells, fillvalue='')
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    for line in lines:
        print('  '.join(f'{cell:{side}{width}}' for cell, width, (_, side) in zip(line, widths, columns)).rstrip())
