"""Stochastic depth, as the families of transformers use it: a rate that grows from block to block."""
from typing import List, Sequence

__all__ = ['drop_path_ramp']


def drop_path_ramp(drop_path_rate: float, depths: Sequence[int]) -> List[List[float]]:
    """Rates from 0 in the first block to ``drop_path_rate`` in the last one, growing linearly (Huang et al., 2016).

    Args:
        drop_path_rate: of the last block, from 0 to below 1.
        depths: blocks in each stage.

    Returns:
        list[list[float]]: for each stage the rates of its blocks.

    Raises:
        ValueError: ``drop_path_rate`` is out of range.
    """
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate={drop_path_rate} must be at least 0 and below 1')
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [[drop_path_rate * (start + block) / last for block in range(depth)] for start, depth in zip(starts, depths)]
