"""Masks of COCO files: whether they can be drawn, and how large they are."""
import math
from typing import Any, Optional

import numpy as np

__all__ = ['mask_area', 'mask_fault']


def _rle_counts(text: str) -> list:
    """The run lengths in a compressed RLE: 5 bits a character, differences to the run before the last one.

    Raises:
        ValueError: it is no such text.
    """
    counts, position = [], 0
    codes = text.encode('ascii')
    while position < len(codes):
        value = shift = 0
        while True:
            if position >= len(codes) or not 48 <= codes[position] < 112 or shift > 60:
                raise ValueError('no compressed run lengths')
            code = codes[position] - 48
            value |= (code & 31) << shift
            position, shift = position + 1, shift + 5
            if not code & 32:
                break
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def _rle_fault(mask: dict, height: int, width: int) -> Optional[str]:
    counts = mask.get('counts')
    if mask.get('size') != [height, width]:
        return 'run lengths for another size than that of the image'
    if isinstance(counts, str):
        try:
            counts = _rle_counts(counts)
        except ValueError:
            return 'run lengths that cannot be read'
    if not isinstance(counts, list) or any(type(count) is not int or count < 0 for count in counts):
        return 'run lengths that cannot be read'
    if sum(counts) != height * width:
        return 'run lengths that do not add up to the size of the image'
    return None


def mask_fault(mask: Any, height: int, width: int) -> Optional[str]:
    """What is wrong with a ``segmentation``; drawing a bad one may read memory that is not its own.

    Args:
        mask: polygons, as lists of x and y in turn, or an RLE.
        height: of the image.
        width: of the image.

    Returns:
        str | None: a phrase for ``masks with ...``.
    """
    if isinstance(mask, dict):
        return _rle_fault(mask, height, width)
    if not isinstance(mask, list) or not mask:
        return 'neither polygons nor run lengths'
    for polygon in mask:
        if not isinstance(polygon, list):
            return 'neither polygons nor run lengths'
        if len(polygon) < 6 or len(polygon) % 2:
            return 'a polygon that is not three or more pairs of x and y'
        try:
            total = sum(polygon)
        except TypeError:
            return 'a polygon of something else than numbers'
        # points far away make the drawing as slow as they are far
        if not math.isfinite(total) or max(map(abs, polygon)) > 1e6:
            return 'a polygon whose coordinates are not finite or beyond a million'
    return None


def mask_area(mask: Any, height: int, width: int) -> float:
    """Pixels of a mask in which :func:`mask_fault` finds nothing."""
    from pycocotools import mask as drawing
    runs = drawing.frPyObjects(mask, height, width) if isinstance(mask, list) or isinstance(mask['counts'], list) \
        else mask
    return float(np.sum(drawing.area(drawing.merge(runs) if isinstance(runs, list) else runs)))
