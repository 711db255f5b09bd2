"""Medians, quartiles and a chart of what was measured."""
import statistics
from typing import List, Sequence

from .steps import Case

__all__ = ['chart_formats', 'draw_chart', 'summarise']


def _spread(values: Sequence[float]) -> dict:
    """Median and quartiles; of a single value, itself."""
    lower, median, upper = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else 3 * [values[0]]
    return dict(median=median, lower_quartile=lower, upper_quartile=upper, values=list(values))


def summarise(ours: Sequence[float], peer: Sequence[float]) -> dict:
    """Medians and quartiles of both sides, and of the pairs' ratios, ours by the peer's."""
    ratios = [own / other for own, other in zip(ours, peer)]
    return dict(ours=_spread(ours), peer=_spread(peer), ratio=_spread(ratios))


def chart_formats() -> List[str]:
    """Endings of the files that :func:`draw_chart` can write."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    return sorted(FigureCanvasAgg.get_supported_filetypes())


def draw_chart(records: Sequence[dict], path: str) -> None:
    """Draw the ratios as bars, with their quartiles, and a line where both sides are equal.

    Args:
        records: of :func:`compare`.
        path: of the picture; its ending says the format.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    names = [Case(**{field: record[field] for field in Case._fields}).title for record in records]
    ratios = [record['ratio'] for record in records]
    spread = [[abs(ratio['median'] - ratio[end]) for ratio in ratios] for end in ('lower_quartile', 'upper_quartile')]
    figure, axes = plt.subplots(figsize=(10, 1 + 0.4 * len(records)), layout='constrained')
    axes.barh(names, [ratio['median'] for ratio in ratios], xerr=spread, height=0.6, capsize=3)
    axes.axvline(1, color='black', linewidth=1)
    axes.invert_yaxis()  # the first on top
    axes.set_xlabel('ours by the peer (under 1: less time or memory than the peer)')
    figure.savefig(path)
    plt.close(figure)
