"""Pascal VOC's format, judged by what MMDetection's XMLDataset does with it.

The reader takes every box as it is, of whatever size and place, and drops objects of names that are no class.
"""
import collections
import os
import xml.etree.ElementTree as ElementTree
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import InputError
from .boxes import Boxes
from .coco import INPUT, TRAIN, shown
from .findings import Findings, Tally
from .images import check_regular
from .pictures import Picture

__all__ = ['VocSet', 'VocUse']

SIDES = 'xmin', 'ymin', 'xmax', 'ymax'


class VocUse(NamedTuple):
    """How a run reads a data set.

    Attributes:
        role: ``TRAIN``, ``TRUTH`` or ``INPUT``.
        classes: of the data set.
        filter_empty: whether images without objects are left out.
        min_size: images with a shorter side are left out.
        min_box: smaller boxes are passed over; None where there is no such limit.
    """
    role: str
    classes: Sequence[str]
    filter_empty: bool = False
    min_size: int = 0
    min_box: Optional[int] = None


class _Image(NamedTuple):
    """An XML file.

    Attributes:
        number: its name in the list.
        size: width and height, or None where it does not say.
        objects: name, box as read (xmin, ymin, xmax, ymax) and whether it is difficult.
    """
    number: str
    size: Optional[Tuple[int, int]]
    objects: List[Tuple[str, Tuple[float, ...], bool]]


def _text(node: ElementTree.Element, name: str) -> str:
    child = node.find(name)
    if child is None or child.text is None:
        raise ValueError(f'<{node.tag}> has no <{name}>')
    return child.text


def _read(path: str, number: str) -> _Image:
    """Read an XML file as MMDetection does.

    Raises:
        ValueError: the reason.
    """
    check_regular(path)
    with open(path, 'rb') as file:
        data = file.read()
    # entities can grow a small file beyond all memory, and MMDetection's parser follows them; zeros: UTF-16
    if b'<!ENTITY' in data.replace(b'\x00', b''):
        raise ValueError('it declares entities, which no annotation needs')
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: unknown encoding
        raise ValueError(f'no XML: {error}') from error
    size, found = root.find('size'), None
    if size is not None:
        found = int(_text(size, 'width')), int(_text(size, 'height'))
        if min(found) <= 0 or max(found) > 1e9:
            raise ValueError(f'its size is {found[0]} x {found[1]}')
    objects = []
    if root.tag != 'annotation' and size is None and root.find('object') is None:
        raise ValueError(f'its root is <{root.tag}>, expected <annotation>')
    for node in root.findall('object'):
        name, box = _text(node, 'name'), node.find('bndbox')
        if box is None:
            raise ValueError(f'an object {name!r} has no <bndbox>')
        sides = tuple(float(_text(box, side)) for side in SIDES)
        if not np.isfinite(sides).all() or max(map(abs, sides)) > 1e9:
            raise ValueError(f'a box of {name!r} is {sides}')
        difficult = node.find('difficult')
        objects.append((name, sides, bool(int(difficult.text or '')) if difficult is not None else False))
    return _Image(number, found, objects)


class _Objects(NamedTuple):
    """The objects of some classes as arrays of shape (N, ).

    Attributes:
        boxes: of an image without a size the edge is infinitely far.
        label: index of the class.
        difficult: whether it is marked so.
        image: index of the image.
        places: names of the files, for messages.
    """
    boxes: Boxes
    label: np.ndarray
    difficult: np.ndarray
    image: np.ndarray
    places: List[str]

    def flag(self, chosen: np.ndarray, kind: str, tally: Tally) -> None:
        """Add some of them to a tally."""
        for index in np.flatnonzero(chosen):
            tally.add(kind, self.places[index])


def _judge_boxes(objects: _Objects, findings: Findings) -> None:
    """Tally boxes that are wrong, or that the reader changes."""
    boxes = objects.boxes
    looks = boxes.another_format()
    if looks:
        findings.errors.say(looks.replace('[x, y, width, height]', '[xmin, ymin, xmax, ymax]'))
    objects.flag((boxes.w < 0) | (boxes.h < 0), 'boxes whose xmax is below xmin, or ymax below ymin', findings.errors)
    objects.flag(boxes.outside & ~boxes.empty, 'boxes outside of their image', findings.errors)
    objects.flag((boxes.w == 0) | (boxes.h == 0),
                 'boxes of zero width or height, which MMDetection takes as they are (FilterAnnotations in the '
                 'pipeline leaves them out of training)', findings.warnings)
    objects.flag(boxes.over_the_edge(), 'boxes that reach over the edge of their image, cut off there',
                 findings.warnings)


def _left_out(objects: _Objects, use: VocUse, findings: Findings) -> np.ndarray:
    """Tally the objects of the classes that the reader drops; returns which it keeps, bool, (N, )."""
    boxes, difficult = objects.boxes, objects.difficult
    if difficult.any():
        findings.left_out.add("objects marked 'difficult'", count=int(difficult.sum()))
    small = np.zeros(len(difficult), bool)
    if use.min_box is not None:
        small = ~difficult & ((boxes.w < use.min_box) | (boxes.h < use.min_box))
        objects.flag(small, f'boxes smaller than {use.min_box} pixels (filter_cfg)', findings.left_out)
    return ~difficult & ~small


class VocSet:
    """The files of a data set.

    Args:
        list_file: names of the images, one a line.
        folder: of the annotations and images.
        ann_subdir: folder of the annotations in it.
        img_subdir: folder of the images in it.

    Raises:
        InputError: the list is no list of names, or annotations are missing or no VOC.
    """

    def __init__(self, list_file: str, folder: str, ann_subdir: str, img_subdir: str) -> None:
        self.path, self.annotations = list_file, os.path.join(folder, ann_subdir)
        self.image_folder = os.path.join(folder, img_subdir)
        try:
            with open(list_file, encoding='utf-8') as file:
                self.numbers = [line.rstrip('\n\r') for line in file]
        except (OSError, ValueError) as error:
            raise InputError(f'cannot read the list {list_file}: {error}') from error
        for index, number in enumerate(self.numbers, 1):
            if not number.strip() or number != number.strip() or len(
                    number.split()) > 1 and not os.path.exists(self._xml(number)):
                raise InputError(f'{list_file} is no list of images, one name a line: line {index} is {number!r}.')
        if not self.numbers:
            raise InputError(f'{list_file} lists no images.')
        self.images, bad = [], []
        for number in self.numbers:
            try:
                self.images.append(_read(self._xml(number), number))
            except (ValueError, OSError) as error:  # ValueError: BadImageError among them
                bad.append(f'{self._xml(number)}: {error}')
        if bad:
            missing = sum(not os.path.exists(self._xml(number)) for number in self.numbers)
            more = f' {len(bad)} of {len(self.numbers)} files of {list_file} are bad' + (
                f', {missing} of them are not there.' if missing else '.') if len(bad) > 1 else ''
            raise InputError(f'{bad[0]}.{more} Expected: XML of Pascal VOC, with <size> and <object>s of <name> and '
                             f'<bndbox> of {", ".join(SIDES)}.')

    def _xml(self, number: str) -> str:
        return os.path.join(self.annotations, f'{number}.xml')

    def pictures(self) -> List[Picture]:
        return [
            Picture(os.path.join(self.image_folder, f'{image.number}.jpg'), *(image.size or (None, None)))
            for image in self.images
        ]

    def judge(self, use: VocUse) -> Findings:
        """Say what a use takes, what it leaves out, and what would be wrong without a word."""
        findings = Findings()
        findings.folders = [self.annotations]
        if use.role == INPUT:
            findings.images = len(self.images)
            return findings
        objects = self._objects(use.classes)
        _judge_boxes(objects, findings)
        names = collections.Counter(name for image in self.images for name, _, _ in image.objects)
        for name, count in names.items():
            if name not in use.classes:
                findings.left_out.add(f'objects named {name!r}, which is no class', count=count)
        kept = _left_out(objects, use, findings)
        kept &= self._used_images(objects, kept, use, findings)[objects.image]
        double = len(self.numbers) - len(set(self.numbers))
        if double:
            findings.warnings.add('images listed twice, which count twice', count=double)
        found = set(objects.label[kept].tolist())
        findings.objects, findings.classes, findings.used_classes = int(kept.sum()), len(use.classes), len(found)
        self._judge_classes(use, findings, [name for index, name in enumerate(use.classes) if index not in found],
                            names)
        return findings

    def _objects(self, classes: Sequence[str]) -> _Objects:
        """The objects of these classes."""
        rows, places = [], []
        for index, image in enumerate(self.images):
            for name, (xmin, ymin, xmax, ymax), difficult in image.objects:
                if name in classes:
                    rows.append([
                        xmin, ymin, xmax - xmin, ymax - ymin, *(image.size or (np.inf, np.inf)),
                        classes.index(name), difficult, index
                    ])
                    places.append(f'{image.number}.xml')
        columns = np.array(rows, float).reshape(len(rows), 9).T
        return _Objects(
            Boxes(*columns[:6]), columns[6].astype(int), columns[7].astype(bool), columns[8].astype(int), places)

    def _used_images(self, objects: _Objects, kept: np.ndarray, use: VocUse, findings: Findings) -> np.ndarray:
        """Which images the reader takes, bool, one for each; they are counted."""
        numbers = np.arange(len(self.images))
        sides = np.array([min(image.size) if image.size else np.inf for image in self.images])
        return findings.count_images(sides, np.isin(numbers, objects.image), np.isin(numbers, objects.image[kept]),
                                     use.filter_empty, use.min_size)

    def _judge_classes(self, use: VocUse, findings: Findings, absent: List[str], names: collections.Counter) -> None:
        there = ', '.join(f'{name!r} ({count})' for name, count in names.most_common(10)) or 'none'
        if not findings.objects:
            findings.errors.say(f'no object of a class of the config. Names that are there: {there}; classes: '
                                f'{shown(use.classes)}')
        elif absent and use.role == TRAIN:
            findings.errors.say(
                f'classes of the config that no object has: {shown(absent)}. Names that are there: {there}')
        elif absent:
            findings.warnings.say(f'{len(absent)} of {len(use.classes)} classes have no object: {shown(absent)}')
