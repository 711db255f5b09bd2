"""A small data set in COCO format, generated: coloured shapes on noisy grounds.

It serves the first run and the tests, so that neither needs a download. It has
what makes COCO more than a toy: objects that hide each other, objects cut off
by the border, crowd regions, and images without any object. Colour and texture
are drawn independently of the category, so only the form tells it.
"""
import json
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..files import write_atomically

__all__ = ['METAINFO', 'make_shapes']

METAINFO = dict(
    classes=('circle', 'rectangle', 'triangle', 'cross'),
    palette=[(230, 80, 70), (60, 130, 230), (60, 180, 90), (240, 180, 40)])

# Of every EVERY images one holds no object and one a crowd region besides its objects.
EVERY = 8
EMPTY, CROWD = 7, 3
# Bump it when other images come out of the same arguments, so that nobody keeps the old ones.
VERSION = 1
RECORD = 'shapes.json'
SPLITS = ('train2017', 'val2017')


def make_shapes(root: Union[str, Path],
                num_train: int = 240,
                num_val: int = 80,
                image_size: int = 160,
                seed: int = 0) -> bool:
    """Writes the data set in the folder layout that MMDetection expects.

    The files are ``annotations/instances_{train,val}2017.json``,
    ``{train,val}2017/*.jpg`` and, complete only when all others are there,
    ``shapes.json`` with the arguments. An image depends on the seed, the size
    and its own number only, so a larger data set begins with a smaller one.

    Args:
        root (str | Path): The folder; made if it does not exist.
        num_train (int): Training images.
        num_val (int): Held-out images.
        image_size (int): Height and width in pixels, 64 at least.
        seed (int): Zero or more; the same seed gives the same files.

    Returns:
        bool: True if the data set was written, False if a complete one with
        the same arguments was there already.

    Raises:
        ValueError: If an argument is out of range or the record unreadable.
        FileExistsError: If ``root`` holds files that this function did not
            write. Nothing is deleted then.
    """
    for name, value, least in (('num_train', num_train, 1), ('num_val', num_val, 1), ('image_size', image_size, 64),
                               ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'{name} is {value}, but must be {least} or more.')
    root = Path(root)
    wanted = dict(version=VERSION, num_train=num_train, num_val=num_val, image_size=image_size, seed=seed)
    found = _read_record(root)
    if found == dict(wanted, complete=True) and all(path.is_file() for path in _files(root, found)):
        return False
    if found is not None:
        for path in _files(root, found):
            path.unlink(missing_ok=True)

    root.mkdir(parents=True, exist_ok=True)
    # From here on the folder is known as ours, so an interrupted run can be made again.
    _write_json(root / RECORD, dict(wanted, complete=False))
    (root / 'annotations').mkdir(exist_ok=True)
    for split, number in zip(SPLITS, (num_train, num_val)):
        (root / split).mkdir(exist_ok=True)
        _write_json(root / 'annotations' / f'instances_{split}.json', _write_split(root, split, number, wanted))
    _write_json(root / RECORD, dict(wanted, complete=True))
    return True


def _read_record(root):
    """The record of an earlier call, or None where the folder is empty."""
    path = root / RECORD
    if not path.is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise FileExistsError(
                f'{root} exists and was not made by make_shapes (it has no {RECORD}), so it is left as '
                'it is. Give another folder, or move this one away.')
        return None
    try:
        record = json.loads(path.read_text())
        int(record['num_train']), int(record['num_val'])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is not a record that make_shapes wrote ({error}). Give another folder, or delete this '
            'one.') from error
    return record


def _files(root, record):
    """Every file of a data set but the record itself."""
    for split, number in zip(SPLITS, (record['num_train'], record['num_val'])):
        yield root / 'annotations' / f'instances_{split}.json'
        for index in range(number):
            yield root / split / _file_name(_image_id(split, index))


def _image_id(split, index):
    return SPLITS.index(split) * 1_000_000 + index + 1


def _file_name(image_id):
    return f'{image_id:012d}.jpg'


def _write_json(path, content):
    write_atomically(path, json.dumps(content, separators=(',', ':')).encode())


def _write_split(root, split, number, arguments):
    """Writes the images of a split and returns its COCO dictionary."""
    size = arguments['image_size']
    images, annotations = [], []
    for index in range(number):
        image_id = _image_id(split, index)
        rng = np.random.default_rng([arguments['seed'], image_id])
        image, objects = _draw_image(rng, size, empty=index % EVERY == EMPTY, crowd=index % EVERY == CROWD)
        path = root / split / _file_name(image_id)
        # cv2.imwrite returns False instead of raising, and says nothing on a full disk.
        path.write_bytes(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
        images.append(dict(id=image_id, file_name=path.name, width=size, height=size))
        for seen in objects:
            annotations.append(
                dict(
                    id=_image_id(split, len(annotations)),
                    image_id=image_id,
                    **_annotate(seen['category'], seen['mask'], seen['is_crowd'])))
    return dict(
        info=dict(description='mmbackbones shapes', **arguments),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=number, name=name, supercategory='shape') for number, name in enumerate(METAINFO['classes'], 1)
        ])


def _annotate(category, mask, is_crowd):
    """COCO fields of a visible region; mask: bool, (H, W)."""
    y, x, height, width = _window(mask)
    return dict(
        category_id=category + 1,
        bbox=[x, y, width, height],
        area=int(mask.sum()),
        iscrowd=int(is_crowd),
        segmentation=_segmentation(mask, is_crowd))


def _window(mask):
    """The smallest window around a mask: y, x, height, width."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def _segmentation(mask, is_crowd):
    """COCO's own convention: run lengths for crowds, polygons for all else. Only run lengths can have a hole."""
    polygons = [] if is_crowd else _polygons(mask)
    if polygons and np.array_equal(
            coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))), mask):
        return polygons
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=encoded['size'], counts=encoded['counts'].decode())


def _polygons(mask):
    """Outlines of the regions of a mask: of each polygon x and y in turn."""
    # of twice the size, so that a region one pixel wide has two sides; its pixels' middles are inside
    doubled = mask.astype(np.uint8).repeat(2, 0).repeat(2, 1)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((outline.ravel() + 0.5) / 2).tolist() for outline in outlines]


def _draw_image(rng, size, empty, crowd):
    """Draws one image.

    Returns:
        tuple: The image, uint8 BGR (H, W, 3), and its objects, the hindmost
        first: dictionaries of ``category`` (index), ``mask`` (what is visible),
        ``drawn`` (area in pixels before others hid some) and ``is_crowd``.
    """
    image = _ground(rng, size)
    objects = []
    if crowd:
        _add_crowd(rng, image, objects)
    for _ in range(0 if empty else rng.integers(2, 6)):
        category = int(rng.integers(len(METAINFO['classes'])))
        # A shape that finds no place in a few tries is left out.
        for _ in range(10):
            radius = size * rng.uniform(0.14, 0.23)
            centre = rng.uniform(0.75 * radius, size - 0.75 * radius, 2)
            if _add_shapes(rng, image, objects, category, [(centre, radius)]):
                break
    return image.clip(0, 255).astype(np.uint8), objects


def _add_crowd(rng, image, objects):
    size = len(image)
    middle = rng.uniform(0.25 * size, 0.75 * size, 2)
    places = [(middle + size * rng.uniform(-0.16, 0.16, 2), size * rng.uniform(0.025, 0.04)) for _ in range(24)]
    _add_shapes(rng, image, objects, int(rng.integers(len(METAINFO['classes']))), places, is_crowd=True)


def _add_shapes(rng, image, objects, category, places, is_crowd=False):
    """Draws shapes as one object in front of all others, unless they hide one.

    Returns:
        bool: False if of an object behind less than 0.7 would have stayed
        visible; ``image`` and ``objects`` are as before then.
    """
    size = len(image)
    alphas = [_coverage(_vertices(rng, category) * radius + centre, size) for centre, radius in places]
    mask = np.max(alphas, axis=0) >= 0.5
    if any((seen['mask'] & ~mask).sum() < 0.7 * seen['drawn'] for seen in objects):
        return False
    for seen in objects:
        seen['mask'] &= ~mask
    objects.append(dict(category=category, mask=mask, drawn=mask.sum(), is_crowd=is_crowd))
    for alpha in alphas:
        y, x, height, width = _window(alpha > 0)
        behind = image[y:y + height, x:x + width]
        cover = alpha[y:y + height, x:x + width, None]
        colour = _colour_unlike(rng, (behind * cover).sum((0, 1)) / cover.sum())
        filling = colour + _noise(rng, height, width, cell=12, strength=6) + rng.normal(0, 2, behind.shape)
        behind += cover * (filling - behind)
    return True


def _ground(rng, size):
    """A background, float (H, W, 3): blotches, stripes and grain."""
    image = rng.uniform(60, 195) + _noise(rng, size, size, size // 4, 10) + _noise(rng, size, size, 8, 4)
    direction = rng.normal(size=2)
    across = np.tensordot(direction / np.linalg.norm(direction), np.indices((size, size)), 1)
    stripes = np.sin(across * rng.uniform(0.1, 0.6))[..., None] * rng.normal(0, 3, 3)
    return (image + stripes + rng.normal(0, 3, image.shape)).clip(0, 255)


def _noise(rng, height, width, cell, strength):
    """Smooth colour noise, (height, width, 3), with blotches of about ``cell`` pixels."""
    coarse = rng.normal(0, strength, (height // cell + 2, width // cell + 2, 3))
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _colour_unlike(rng, other):
    """A random colour that can be told from another one."""
    while True:
        colour = rng.uniform(10, 245, 3)
        if np.linalg.norm(colour - other) > 90:
            return colour


def _coverage(vertices, size, fineness=4):
    """How much of each pixel a polygon covers, float (size, size)."""
    canvas = np.zeros((size * fineness, size * fineness), np.uint8)
    cv2.fillPoly(canvas, [np.rint(vertices * fineness).astype(np.int32)], 255)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / 255


def _vertices(rng, category):
    """Outline of a shape of radius 1, turned a little at random."""
    name = METAINFO['classes'][category]
    if name == 'rectangle':
        half = np.deg2rad(rng.uniform(28, 45))
        angles, radii = np.array([half, np.pi - half, np.pi + half, -half]), 1
    elif name == 'cross':
        # Each arm ends in two corners; between the arms lies one corner near the middle.
        arm = np.arctan(0.33)
        angles = np.concatenate([k * np.pi / 2 + np.array([-arm, arm, np.pi / 4]) for k in range(4)])
        radii = np.tile([1, 1, np.sqrt(2) * np.sin(arm)], 4)
    else:
        corners = dict(circle=48, triangle=3)[name]
        angles = np.arange(corners) * 2 * np.pi / corners
        radii = 1
    # nearly upright, as most things in photographs are
    angles = angles + np.deg2rad(rng.uniform(-20, 20)) - (np.pi / 2 if name == 'triangle' else 0)
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)
