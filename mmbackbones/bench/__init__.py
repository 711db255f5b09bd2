"""Time and memory of a backbone beside its peers, as ratios taken in one run.

The clock of a machine, its other users and its heat change from minute to minute, and a ratio does so less. Both sides
take turns on the same images, which of them begins changes from pair to pair, and the figure is the median of the
pairs' ratios. Memory is the peak during one step above what was held before it, of a process of its own for each side.
"""
from ..machine import describe_machine
from .measure import alternate, compare
from .memory import peak_memory
from .steps import Case, Step, make_inputs
from .summary import chart_formats, draw_chart, summarise

__all__ = [
    'Case', 'Step', 'alternate', 'chart_formats', 'compare', 'describe_machine', 'draw_chart', 'make_inputs',
    'peak_memory', 'summarise'
]
