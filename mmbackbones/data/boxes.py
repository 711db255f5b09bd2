"""What boxes tell about the format in which they were written, the same for every format of files."""
from typing import NamedTuple, Optional

import numpy as np

__all__ = ['Boxes']

EDGE = 1.0  # pixels over the edge of an image that rounding explains
FAR = 0.1  # of an image's side over its edge: no rounding
MANY = 0.2  # of all boxes: no slips of single boxes, another format
MOST = 0.9


class Boxes(NamedTuple):
    """Boxes in pixels and the images that they belong to; all arrays are float, of shape (N, ).

    Attributes:
        x: left edge.
        y: upper edge.
        w: width.
        h: height.
        width: of the image.
        height: of the image.
    """
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    h: np.ndarray
    width: np.ndarray
    height: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        return np.isfinite(self.x) & np.isfinite(self.y) & np.isfinite(self.w) & np.isfinite(self.h)

    @property
    def empty(self) -> np.ndarray:
        """Boxes of no or negative size."""
        return (self.w <= 0) | (self.h <= 0)

    @property
    def outside(self) -> np.ndarray:
        """Boxes of which nothing lies in their image."""
        inside_w = np.minimum(self.x + self.w, self.width) - np.maximum(self.x, 0)
        inside_h = np.minimum(self.y + self.h, self.height) - np.maximum(self.y, 0)
        return (inside_w <= 0) | (inside_h <= 0)

    def over_the_edge(self, share: float = 0.0) -> np.ndarray:
        """Boxes that reach over the edge of their image, by more than a share of its side and more than rounding."""
        x_edge = np.maximum(EDGE, share * self.width) if share else EDGE
        y_edge = np.maximum(EDGE, share * self.height) if share else EDGE
        return (self.x < -x_edge) | (self.y < -y_edge) | (self.x + self.w > self.width + x_edge) | (
            self.y + self.h > self.height + y_edge)

    @property
    def normalised(self) -> np.ndarray:
        """Boxes within the first pixel: their coordinates are shares of the image."""
        values = np.stack([self.x, self.y, self.w, self.h])
        return (values.min(0) >= 0) & (values.max(0) <= 1) & (values.max(0) > 0) & (np.minimum(self.w, self.h) < 1) & (
            np.maximum(self.width, self.height) > 2)

    def another_format(self) -> Optional[str]:
        """What the boxes together look like, where that is not a position and a size in pixels of their images.

        Returns:
            str | None: a sentence.
        """
        number = len(self.x)
        if not number:
            return None
        normalised = int(self.normalised.sum())
        if normalised > 0.05 * number:
            return f'{normalised} of {number} boxes look normalised, all their numbers lie between 0 and 1'
        far = int(self.over_the_edge(FAR).sum())
        corners = (self.w > self.x) & (self.h > self.y) & (self.w <= self.width + EDGE) & (self.h <= self.height + EDGE)
        if far > 0.05 * number and corners.mean() >= MOST:
            return (
                f'the boxes look like [x1, y1, x2, y2]: {far} of {number} reach far over the edge of their image as '
                f'[x, y, width, height], and {int(corners.sum())} fit as corners')
        if far >= MANY * number and number > 1:
            return (
                f'{far} of {number} boxes reach far over the edge of their image: they are not [x, y, width, height] '
                f'in pixels of these images')
        return None
