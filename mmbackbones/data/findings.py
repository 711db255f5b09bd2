"""What a check found: what is wrong, what is doubtful, what is left out, and how much remains."""
from typing import Dict, Iterable, List, Optional

import numpy as np

__all__ = ['Findings', 'Tally']

SHOWN = 3  # examples of each kind


class Tally:
    """Counts by kind, each with its first examples; a kind of count 0 is a whole sentence.

    Args:
        counts: a tally as :meth:`as_dict` wrote it.
    """

    def __init__(self, counts: Optional[Dict[str, list]] = None) -> None:
        self.counts = {kind: [count, list(examples)] for kind, (count, examples) in (counts or {}).items()}

    def say(self, sentence: str) -> None:
        self.counts[sentence] = [0, []]

    def add(self, kind: str, where: str = '', count: int = 1) -> None:
        entry = self.counts.setdefault(kind, [0, []])
        entry[0] += count
        if where and len(entry[1]) < SHOWN:
            entry[1].append(where)

    def add_all(self, kind: str, places: Iterable[str]) -> None:
        for where in places:
            self.add(kind, where)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def lines(self) -> List[str]:
        """Each kind with its number and examples, such as ``boxes outside of their image: 2 (first: a.jpg, b.jpg)``."""
        said = []
        for kind, (count, examples) in self.counts.items():
            more = 'first: ' if count > len(examples) else ''
            said.append(kind + (f': {count}' if count else '') +
                        (f' ({more}{", ".join(examples)})' if examples else ''))
        return said

    def as_dict(self) -> Dict[str, list]:
        return self.counts


class Findings:
    """What was found in one data set, read in one way.

    Attributes:
        errors: what no run can succeed with, or what would change a result without a word.
        warnings: what is used as it is, and may not be meant.
        left_out: what the reader does not use.
        repairs: what has one right answer, and a copy of the file gets.
        images: that are used.
        empty_images: of these, how many have no object.
        objects: that are used.
        used_classes: that have an object.
        classes: of the data set.
        folders: in which its images lie.
    """
    TALLIES = 'errors', 'warnings', 'left_out', 'repairs'
    NUMBERS = 'images', 'empty_images', 'objects', 'used_classes', 'classes'

    def __init__(self) -> None:
        self.errors, self.warnings, self.left_out, self.repairs = Tally(), Tally(), Tally(), Tally()
        self.images = self.empty_images = self.objects = self.used_classes = self.classes = 0
        self.folders: List[str] = []

    def count_images(self, sides: np.ndarray, annotated: np.ndarray, kept: np.ndarray, filter_empty: bool,
                     min_size: int) -> np.ndarray:
        """Count images as MMDetection's readers filter them: by what is annotated, not by what is kept of it.

        Args:
            sides: the shorter side of each image in pixels, (N, ).
            annotated: whether it has annotations of the classes, bool, (N, ).
            kept: whether any of these is kept, bool, (N, ).
            filter_empty: leave out images without annotations.
            min_size: leave out those with a shorter side below this.

        Returns:
            np.ndarray: which are used, bool, (N, ).
        """
        empty = ~annotated & filter_empty
        small = ~empty & (sides < min_size)
        used = ~empty & ~small
        for chosen, kind in ((empty, 'images without objects'), (small, f'images smaller than {min_size} pixels')):
            if chosen.any():
                self.left_out.add(f'{kind} (filter_cfg)', count=int(chosen.sum()))
        self.images, self.empty_images = int(used.sum()), int((used & ~kept).sum())
        if not self.images:
            self.errors.say(f'no image is left: {"; ".join(self.left_out.lines())}')
        return used

    def summary(self, split: str) -> str:
        """One line: what is used of a split, and what is not."""
        line = f'{split}: {self.images} images'
        if self.empty_images:
            line += f' ({self.empty_images} without objects)'
        if self.classes:
            line += f', {self.objects} objects in {self.used_classes} of {self.classes} classes'
        if self.left_out:
            line += '; left out: ' + '; '.join(self.left_out.lines())
        return line

    def as_dict(self) -> dict:
        """For JSON; findings with errors are not kept."""
        return dict({name: getattr(self, name).as_dict()
                     for name in self.TALLIES}, **{name: getattr(self, name)
                                                   for name in (*self.NUMBERS, 'folders')})

    @classmethod
    def from_dict(cls, content: dict) -> 'Findings':
        """Raises TypeError, ValueError or KeyError where the content is none of :meth:`as_dict`."""
        self = cls()
        for name in cls.TALLIES:
            setattr(self, name, Tally(content[name]))
        for name in cls.NUMBERS:
            setattr(self, name, int(content[name]))
        self.folders = [str(folder) for folder in content['folders']]
        return self
