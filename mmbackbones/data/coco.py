"""COCO's detection format, judged by what MMDetection's reader and pycocotools' evaluation do with it.

The reader drops objects without a word (no area, smaller than a pixel, outside, of another category); the evaluation
counts what the reader drops, takes the id 0 for 'unmatched', and compares with NaN as if it were a number.
"""
import json
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from ..errors import InputError
from ..messages import some_of
from .boxes import Boxes
from .findings import Findings, Tally
from .masks import mask_area, mask_fault
from .pictures import Picture

__all__ = ['CocoFile', 'CocoUse', 'TRAIN', 'TRUTH', 'INPUT']

# What a run uses the annotations of a data set for: to train, to compare with, or not at all.
TRAIN, TRUTH, INPUT = 'train', 'truth', 'input'
LARGE_FILE = 50 * 2**20  # bytes; parsing takes seconds from here on
MAX_AREA = 1e10  # pycocotools leaves out larger ones
MAX_ID = 2**53  # beyond, numbers are no longer exact in the evaluation
REQUIRED = dict(
    images=('id', 'file_name', 'height', 'width'),
    categories=('id', 'name'),
    annotations=('image_id', 'category_id', 'bbox'))
RENUMBERED = 'annotation ids missing, zero, used twice or no integers, numbered anew'
NO_CROWD = "annotations without iscrowd, set to 0"
NO_AREA = 'annotations without area, set to that of their mask or box'


class CocoUse(NamedTuple):
    """How a run reads a file.

    Attributes:
        role: ``TRAIN``, ``TRUTH`` or ``INPUT``.
        classes: of the data set.
        masks: whether the masks are drawn.
        polygons_only: whether masks that are no polygons are passed over.
        filter_empty: whether images without objects are left out.
        min_size: images with a shorter side are left out.
    """
    role: str
    classes: Sequence[str]
    masks: bool = False
    polygons_only: bool = False
    filter_empty: bool = False
    min_size: int = 0


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int and abs(value) < 2**63


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int and abs(value) <= MAX_ID


class CocoFile:
    """A parsed annotation file.

    Args:
        path: the JSON file.

    Raises:
        InputError: if it is not in COCO's detection format.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if os.path.getsize(path) > LARGE_FILE:
            print(f'Reading {path} ({os.path.getsize(path) / 2**20:.0f} MiB) ...', flush=True)
        try:
            with open(path, encoding='utf-8') as file:
                content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise InputError(f'{path} is not JSON: {error}. It may be cut off: fetch or write it again.') from error
        except OSError as error:
            raise InputError(f'cannot read {path}: {error.strerror}') from error
        if not isinstance(content, dict):
            raise InputError(f'{path} is not in COCO format: expected an object with the lists '
                             f'{", ".join(REQUIRED)}.')
        self.content = content
        self.images = self._entries('images')
        self.categories = self._entries('categories')
        # a test set comes without
        self.annotations = self._entries('annotations') if 'annotations' in content else []
        self._check_entries()

    def _entries(self, part: str) -> List[dict]:
        """One of the lists, each entry with the fields that all readers need."""
        entries = self.content.get(part)
        if not isinstance(entries, list):
            raise InputError(f'{self.path} is not in COCO format: expected an object with the lists '
                             f'{", ".join(REQUIRED)}; {part} is missing or no list.')
        lacking = Tally()
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                lacking.add(f'entries of {part} that are no objects', f'{part}[{index}]')
                continue
            for key in REQUIRED[part]:
                if key not in entry:
                    lacking.add(f'{part} without {key}', f'{part}[{index}]')
        self._refuse(lacking)
        return entries

    def _refuse(self, wrong: Tally) -> None:
        if wrong:
            raise InputError(f'{self.path} is not in COCO format: {"; ".join(wrong.lines())}.')

    def _check_entries(self) -> None:
        """Types of the fields, and ids that are unique and all of one kind."""
        if not self.images:
            raise InputError(f'{self.path} lists no images.')
        wrong = Tally()
        self._check_ids(wrong)
        self._check_categories(wrong)
        self._check_images(wrong)
        self._check_annotations(wrong)
        self._refuse(wrong)

    def _check_ids(self, wrong: Tally) -> None:
        for part, entries in (('images', self.images), ('categories', self.categories)):
            seen = set()
            for index, entry in enumerate(entries):
                where, number = f'{part}[{index}]', entry['id']
                if not _is_id(number):
                    wrong.add(f'{part} whose id is no integer or text', f'{where}.id={number!r:.40}')
                elif number in seen:
                    wrong.add(f'{part} whose id another has', f'{where}.id={number!r:.40}')
                else:
                    seen.add(number)
            if len({type(number) for number in seen}) > 1:
                wrong.add(f'ids of {part} that are integers among texts', count=sum(type(x) is int for x in seen))

    def _check_categories(self, wrong: Tally) -> None:
        names = set()
        for index, entry in enumerate(self.categories):
            if not isinstance(entry['name'], str):
                wrong.add('categories whose name is no text', f'categories[{index}].name={entry["name"]!r:.40}')
            elif entry['name'] in names:
                wrong.add('categories whose name another has', f'categories[{index}].name={entry["name"]!r:.40}')
            else:
                names.add(entry['name'])

    def _check_images(self, wrong: Tally) -> None:
        for index, entry in enumerate(self.images):
            if not isinstance(entry['file_name'], str) or not entry['file_name'].strip():
                wrong.add('images whose file_name is no text', f'images[{index}].file_name={entry["file_name"]!r:.40}')
            for side in ('height', 'width'):
                if type(entry[side]) is not int or not 0 < entry[side] < 2**31:
                    wrong.add(f'images whose {side} is no positive integer',
                              f'images[{index}].{side}={entry[side]!r:.40}')

    def _check_annotations(self, wrong: Tally) -> None:
        for index, entry in enumerate(self.annotations):
            box = entry['bbox']
            if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)):
                wrong.add('annotations whose bbox is not [x, y, width, height], four numbers',
                          f'annotations[{index}].bbox={box!r:.60}')
            for key in ('image_id', 'category_id'):
                if not isinstance(entry[key], (int, str, float)):
                    wrong.add(f'annotations whose {key} is no integer or text', f'annotations[{index}]')
            crowd, area = entry.get('iscrowd'), entry.get('area')
            if crowd is not None and not (isinstance(crowd, (int, float)) and crowd in (0, 1)):
                wrong.add('annotations whose iscrowd is not 0 or 1', f'annotations[{index}].iscrowd={crowd!r:.40}')
            if area is not None and not (_is_number(area) and math.isfinite(area)):
                wrong.add('annotations whose area is no finite number', f'annotations[{index}].area={area!r:.40}')

    @property
    def category_names(self) -> List[str]:
        return [category['name'] for category in self.categories]

    def check_classes(self, classes: Sequence[str], key: str) -> Optional[str]:
        """Compare with the classes of the data set.

        Returns:
            str | None: a warning about categories that are left out.

        Raises:
            InputError: if a class is not in the file, or the order differs: labels follow the file's order.
        """
        names = self.category_names
        if not isinstance(classes, (list, tuple)) or len(set(classes)) < len(classes):
            raise InputError(f'the classes of {key} are {classes!r}, expected a tuple of different names, for example '
                             f'{key}.metainfo=dict(classes=({names[0]!r}, )).')
        absent = [name for name in classes if name not in names]
        unused = [name for name in names if name not in classes]
        remedy = (f"Set the classes of this file, and num_classes of the model's heads to their number: "
                  f"{key}.metainfo=dict(classes=(...)).")
        if absent:
            raise InputError(f'{self.path} does not match the classes of {key}. Classes that the file lacks: '
                             f'{shown(absent)}. Categories of the file that are no class: {shown(unused) or "none"}. '
                             f'{remedy}')
        used = [name for name in names if name in classes]
        if used != list(classes):
            raise InputError(f'{self.path} lists the classes of {key} in another order, and labels follow the file: '
                             f'{shown(used)}. Expected by the config: {shown(classes)}. {remedy}')
        if unused:
            return (f'annotations of these categories are ignored, they are no classes of {key}: {shown(unused)}')
        return None

    def pictures(self, folder: str) -> List[Picture]:
        return [
            Picture(os.path.join(folder, entry['file_name']), entry['width'], entry['height']) for entry in self.images
        ]

    def judge(self, use: CocoUse) -> Findings:
        """Say what a use of the file takes, what it leaves out, and what would be wrong without a word."""
        return _Judge(self, use).findings

    def repaired(self, repairs: Sequence[str]) -> bytes:
        """The file with what has one right answer set right.

        Args:
            repairs: kinds, as :meth:`judge` tallies them.
        """
        sizes = {entry['id']: (entry['height'], entry['width']) for entry in self.images}
        annotations = []
        for number, entry in enumerate(self.annotations, 1):
            entry = dict(entry)
            if RENUMBERED in repairs:
                entry['id'] = number
            if NO_CROWD in repairs and entry.get('iscrowd') is None:
                entry['iscrowd'] = 0
            if NO_AREA in repairs and entry.get('area') is None:
                entry['area'] = _area(entry, sizes.get(entry['image_id']))
            annotations.append(entry)
        return json.dumps(dict(self.content, annotations=annotations)).encode()


def _area(annotation: dict, size: Optional[Sequence[int]]) -> float:
    """Pixels of the mask, or of the box where there is no mask that can be drawn."""
    mask = annotation.get('segmentation')
    area = mask_area(mask, *size) if mask and size and mask_fault(mask, *size) is None else 0
    return area or annotation['bbox'][2] * annotation['bbox'][3]


def shown(names: Sequence[str], most: int = 10) -> str:
    """The first names of a list, quoted."""
    return some_of(names, most, lambda name: repr(str(name)))


class _Objects(NamedTuple):
    """The annotations of a file as arrays of shape (N, ).

    Attributes:
        image: index of the image; -1 where there is no such image.
        label: index of the class; -1 for a category that is no class.
        unknown: whether there is no such category.
        boxes: of objects whose numbers are not finite, any.
        finite: whether the numbers of the box are.
        area: of the mask, or of the box where none is annotated.
        crowd: whether it is a region of many objects.
        ignored: whether it is marked so.
    """
    image: np.ndarray
    label: np.ndarray
    unknown: np.ndarray
    boxes: Boxes
    finite: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Those of an image and a class, with a box: no others are read or compared with."""
        return (self.image >= 0) & (self.label >= 0) & self.finite


class _Judge:
    """Judges one use of a file: all that needs several annotations at once, as arrays over the annotations."""

    def __init__(self, file: CocoFile, use: CocoUse) -> None:
        self.file, self.use, self.findings = file, use, Findings()
        # where the annotations are not read to be compared with, the evaluation's demands on them do not hold
        self.strict = use.role == TRUTH
        self._find_repairs()
        if use.role == INPUT:  # read, and not used
            self.findings.images = len(file.images)
        else:
            self._count()

    def _names(self, chosen: np.ndarray) -> List[str]:
        """Where the first of the chosen annotations stand."""
        names = []
        for index in np.flatnonzero(chosen)[:3]:
            image = self.image_of.get(self.file.annotations[index]['image_id'])
            names.append(f'annotations[{index}]' +
                         (f' of {self.file.images[image]["file_name"]}' if image is not None else ''))
        return names

    def _find_repairs(self) -> None:
        repairs, annotations = self.findings.repairs, self.file.annotations
        numbers = [entry.get('id') for entry in annotations]
        hashable = [number for number in numbers if isinstance(number, (int, str, float))]
        bad = len(numbers) - len(set(hashable))
        if self.strict:
            bad = max(bad, sum(type(number) is not int or not 0 < abs(number) <= MAX_ID for number in numbers))
        if bad:
            repairs.add(RENUMBERED, count=bad)
        if self.strict:
            lacking = sum(entry.get('iscrowd') is None for entry in annotations)
            if lacking:
                repairs.add(NO_CROWD, count=lacking)
        lacking = sum(entry.get('area') is None for entry in annotations)
        if lacking:
            repairs.add(NO_AREA, count=lacking)

    def _flag(self, chosen: np.ndarray, kind: str, tally: str) -> None:
        count = int(chosen.sum())
        if count:
            names = self._names(chosen)
            getattr(self.findings, tally).add(kind, count=count - len(names))
            getattr(self.findings, tally).add_all(kind, names)

    def _objects(self) -> _Objects:
        file, use = self.file, self.use
        label_of = {
            entry['id']: use.classes.index(entry['name'])
            for entry in file.categories if entry['name'] in use.classes
        }
        known = {entry['id'] for entry in file.categories}
        image = np.array([self.image_of.get(entry['image_id'], -1) for entry in file.annotations], int)
        values = np.array([entry['bbox'] for entry in file.annotations], float).reshape(len(file.annotations), 4)
        sizes = np.array([(entry['width'], entry['height']) for entry in file.images], float)[image]
        finite = np.isfinite(values).all(1)
        return _Objects(
            image=image,
            label=np.array([label_of.get(entry['category_id'], -1) for entry in file.annotations], int),
            unknown=np.array([entry['category_id'] not in known for entry in file.annotations], bool),
            boxes=Boxes(*np.where(finite[:, None], values, 1).T, *sizes.T),
            finite=finite,
            area=np.array([
                entry['area'] if entry.get('area') is not None else entry['bbox'][2] * entry['bbox'][3]
                for entry in file.annotations
            ], float),
            crowd=np.array([bool(entry.get('iscrowd')) for entry in file.annotations], bool),
            ignored=np.array([bool(entry.get('ignore', False)) for entry in file.annotations], bool))

    def _count(self) -> None:
        """Tally what is wrong with the objects and what is left out, and count what remains."""
        findings = self.findings
        self.image_of: Dict[Any, int] = {entry['id']: index for index, entry in enumerate(self.file.images)}
        objects = self._objects()
        self._flag(~objects.finite, 'boxes with NaN or infinite numbers', 'errors')
        looks = Boxes(*(column[objects.usable] for column in objects.boxes)).another_format()
        if looks:
            findings.errors.say(looks)
        kept = self._left_out(objects)
        if self.use.masks:
            kept &= ~self._check_masks(kept)
        if (kept & objects.crowd).any():
            findings.left_out.add('crowd regions', count=int((kept & objects.crowd).sum()))
        kept &= ~objects.crowd
        edge = objects.usable & objects.boxes.over_the_edge()
        cut = 'where detections end' if self.strict else 'cut off there'
        self._flag(edge, f'boxes that reach over the edge of their image, {cut}', 'warnings')
        self._check_copies(objects)
        kept &= self._used_images(objects, kept)[objects.image]
        findings.objects = int(kept.sum())
        self._count_classes(set(objects.label[kept].tolist()))

    def _used_images(self, objects: _Objects, kept: np.ndarray) -> np.ndarray:
        """Which images the reader takes, bool, one for each; they are counted."""
        numbers = np.arange(len(self.file.images))
        sides = np.array([min(entry['width'], entry['height']) for entry in self.file.images])
        annotated = objects.image[(objects.image >= 0) & (objects.label >= 0)]
        return self.findings.count_images(sides, np.isin(numbers, annotated), np.isin(numbers, objects.image[kept]),
                                          self.use.filter_empty, self.use.min_size)

    def _count_classes(self, found: Set[int]) -> None:
        """Count the classes, and say which have no object, or that there is none at all.

        Args:
            found: labels of the objects that remain.
        """
        use, findings = self.use, self.findings
        findings.classes, findings.used_classes = len(use.classes), len(found)
        if not findings.objects and not findings.errors:
            why = '; '.join(findings.left_out.lines()) or 'there are none'
            purpose = 'train on' if use.role == TRAIN else 'compare with'
            findings.errors.say(
                f'nothing to {purpose}: no object is left of {len(self.file.annotations)} annotations ({why})')
        empty = [name for index, name in enumerate(use.classes) if index not in found]
        if use.role == TRAIN and findings.objects and empty:
            findings.warnings.say(f'{len(empty)} of {len(use.classes)} classes have no object: {shown(empty)}')

    def _left_out(self, objects: _Objects) -> np.ndarray:
        """Tally what the reader drops, each object under the first reason that holds.

        Returns:
            np.ndarray: bool, what it keeps.
        """
        boxes, area, strict = objects.boxes, objects.area, self.strict
        left = np.ones(len(area), bool)

        def drop(chosen: np.ndarray, kind: str, tally: str = 'left_out') -> None:
            self._flag(left & chosen, kind, tally)
            left[chosen] = False

        fatal = 'errors' if strict else 'left_out'
        drop(objects.image < 0, 'objects of an image_id that no image has', fatal)
        drop(objects.unknown, 'objects of a category_id that no category has', fatal)
        drop(objects.label < 0, 'objects of other categories')
        left &= objects.usable  # the rest is an error of its own
        drop(boxes.empty, 'boxes whose width or height is zero or negative', fatal)
        drop(boxes.outside, 'boxes outside of their image', fatal)
        drop(area <= 0, 'objects whose area is zero or negative', fatal)
        if strict:
            drop(area > MAX_AREA, 'objects whose area is beyond 10^10, which the evaluation ignores', 'errors')
            drop(boxes.normalised, 'boxes whose numbers are all between 0 and 1, as if normalised', 'errors')
            # the evaluation has no such mark: pycocotools overwrites it
            self._flag(left & objects.ignored, "objects marked 'ignore', which the evaluation counts", 'warnings')
            self._flag(left & ((boxes.w < 1) | (boxes.h < 1)), 'boxes smaller than a pixel', 'warnings')
            share = area / (boxes.w * boxes.h).clip(1e-9)
            self._flag(left & ((share > 1.1) & (area > boxes.w * boxes.h + 2) | (share < 1e-3)),
                       'objects whose area does not fit their box, counted as small, medium or large by it', 'warnings')
        else:
            drop(objects.ignored, "objects marked 'ignore'")
            drop((boxes.w < 1) | (boxes.h < 1), 'boxes smaller than a pixel')
        return left

    def _check_masks(self, kept: np.ndarray) -> np.ndarray:
        """Judge the masks of the objects that are kept.

        Returns:
            np.ndarray: bool, whose masks the pipeline passes over.
        """
        dropped = np.zeros(len(kept), bool)
        for index in np.flatnonzero(kept):
            entry = self.file.annotations[index]
            image = self.file.images[self.image_of[entry['image_id']]]
            mask = entry.get('segmentation')
            if not mask:
                self.findings.errors.add('objects without a segmentation, while the run draws masks',
                                         f'annotations[{index}] of {image["file_name"]}')
                continue
            fault = mask_fault(mask, image['height'], image['width'])
            if fault:
                self.findings.errors.add(f'masks with {fault}', f'annotations[{index}] of {image["file_name"]}')
            elif self.use.polygons_only and isinstance(mask, dict) and not entry.get('iscrowd'):
                self.findings.left_out.add('masks of run lengths, with poly2mask=False')
                dropped[index] = True
        return dropped

    def _check_copies(self, objects: _Objects) -> None:
        boxes = objects.boxes
        rows = np.stack([objects.image, objects.label, boxes.x, boxes.y, boxes.w, boxes.h], 1)[objects.usable]
        copies = len(rows) - len(np.unique(rows, axis=0)) if len(rows) else 0
        if copies:
            self.findings.warnings.add('objects listed twice, with the same image, category and box', count=copies)
        names = [entry['file_name'] for entry in self.file.images]
        if len(set(names)) < len(names):
            self.findings.warnings.add('images listed twice, under several ids', count=len(names) - len(set(names)))
