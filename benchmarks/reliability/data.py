"""Attack the data check: annotations and images are spoiled in every way that users managed, and a few more.

A case is good where it is refused in one line, or where a warning says it, or where nothing changes: the objects and
pixels that training sees, and the average precision of detections that do not change. No model is built.

    python benchmarks/reliability/data.py --count 40
"""
import copy
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import cv2
import numpy as np
import torch
from common import OK, Record, Result, forked, main
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image

from mmbackbones.data import check_data
from mmbackbones.datasets.shapes import METAINFO, make_shapes
from mmbackbones.errors import UserError
from mmbackbones.training.options import guard_images

CLASSES, BCCD_CLASSES = METAINFO['classes'], ('RBC', 'WBC', 'Platelets')
SIZE, NUM_TRAIN, NUM_VAL = 96, 8, 5
TIMEOUT = 60  # seconds; a case takes less than one
PACK = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True), PACK
]
# values that appear where a number, a text or a list belongs
STRANGE = [
    None, True, -1, 0, 0.5, 1e9, -1e9,
    float('nan'),
    float('inf'), -float('inf'), 10**400, 2**63, '', '7', 'nan', [], [1], [[]], {}, {
        'a': 1
    }, '\x00', '/dev/zero', '../..'
]


class Mutation(NamedTuple):
    """One way to spoil data.

    Attributes:
        spoil: (random generator, root of the data, split) -> None.
        seen: whether a change must be noticed; there are bytes, such as a digit of a box, of which nobody can tell.
    """
    spoil: Callable[[np.random.Generator, Path, str], None]
    seen: bool = True


# COCO


def _edit(change: Callable[[np.random.Generator, dict], None]) -> Callable:
    """A mutation that changes the parsed annotation file."""

    def spoil(rng: np.random.Generator, root: Path, split: str) -> None:
        path = root / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(path.read_text())
        change(rng, content)
        _replace(path, json.dumps(content).encode())

    return spoil


def _replace(path: Path, data: bytes) -> None:
    """Write anew: files of the cases are links to the same originals."""
    path.unlink()
    path.write_bytes(data)


def _some(rng: np.random.Generator, entries: list) -> list:
    """One entry, some, or all."""
    share = rng.choice([0, 0.3, 1])
    chosen = [entry for entry in entries if rng.random() < share]
    return chosen or [entries[rng.integers(len(entries))]]


def _set(part: str, key: str) -> Callable:
    """Put strange values into a field, the same or different ones, or remove it."""

    def change(rng: np.random.Generator, content: dict) -> None:
        value = STRANGE[rng.integers(len(STRANGE))]
        for entry in _some(rng, content[part]):
            if rng.random() < 0.2:
                entry.pop(key, None)
            else:
                entry[key] = copy.deepcopy(value)

    return change


def _box_value(rng: np.random.Generator, content: dict) -> None:
    value, place = STRANGE[rng.integers(len(STRANGE))], rng.integers(4)
    for entry in _some(rng, content['annotations']):
        entry['bbox'][place] = value


def _boxes(form: Callable[..., list]) -> Callable:
    """Write all boxes, or those of some images, in another form."""

    def change(rng: np.random.Generator, content: dict) -> None:
        images = {image['id'] for image in _some(rng, content['images'])}
        for entry in content['annotations']:
            if entry['image_id'] in images:
                entry['bbox'] = form(*entry['bbox'])

    return change


def _duplicate(part: str) -> Callable:

    def change(rng: np.random.Generator, content: dict) -> None:
        content[part] += copy.deepcopy(_some(rng, content[part]))

    return change


def _same_id(part: str) -> Callable:

    def change(rng: np.random.Generator, content: dict) -> None:
        for entry in _some(rng, content[part]):
            entry['id'] = content[part][0]['id']

    return change


def _from_zero(rng: np.random.Generator, content: dict) -> None:
    for number, entry in enumerate(content['annotations']):
        entry['id'] = number


def _turn_sizes(rng: np.random.Generator, content: dict) -> None:
    for entry in _some(rng, content['images']):
        entry['width'], entry['height'] = entry['width'] // 2, entry['height']


def _drop_part(rng: np.random.Generator, content: dict) -> None:
    part = str(rng.choice(['images', 'annotations', 'categories']))
    value = STRANGE[rng.integers(len(STRANGE))]
    content.pop(part) if rng.random() < 0.3 else content.update({part: value})


def _strange_entry(rng: np.random.Generator, content: dict) -> None:
    part = content[str(rng.choice(['images', 'annotations', 'categories']))]
    part[rng.integers(len(part))] = STRANGE[rng.integers(len(STRANGE))]


def _categories(rng: np.random.Generator, content: dict) -> None:
    entries, way = content['categories'], rng.integers(4)
    if way == 0:
        entries.reverse()
    elif way == 1:
        entries[1]['name'] = entries[0]['name']
    elif way == 2:
        entries[1]['id'] = entries[0]['id']
    else:
        entries[rng.integers(len(entries))]['name'] = 'dog'


def _ignore(rng: np.random.Generator, content: dict) -> None:
    for entry in _some(rng, content['annotations']):
        entry['ignore'] = 1


def _text_of_file(rng: np.random.Generator, root: Path, split: str) -> None:
    path = root / 'annotations' / f'instances_{split}2017.json'
    _replace(path, _spoil_bytes(rng, path.read_bytes()))


def _spoil_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    way, place = rng.integers(5), int(rng.integers(len(data)))
    if way == 0:
        return data[:place]
    if way == 1:
        return data[:place] + bytes(len(data) - place)
    if way == 2:
        return data[:place] + data[place + int(rng.integers(1, 200)):]
    spoiled = bytearray(data)
    for _ in range(int(rng.choice([1, 3, 30]))):
        spoiled[rng.integers(len(data))] = rng.integers(256)
    return bytes(spoiled)


COCO = {
    'annotation.id': Mutation(_edit(_set('annotations', 'id'))),
    'annotation.image_id': Mutation(_edit(_set('annotations', 'image_id'))),
    'annotation.category_id': Mutation(_edit(_set('annotations', 'category_id'))),
    'annotation.bbox': Mutation(_edit(_set('annotations', 'bbox'))),
    'annotation.bbox[i]': Mutation(_edit(_box_value), seen=False),
    'annotation.area': Mutation(_edit(_set('annotations', 'area'))),
    'annotation.iscrowd': Mutation(_edit(_set('annotations', 'iscrowd'))),
    'annotation.segmentation': Mutation(_edit(_set('annotations', 'segmentation'))),
    'annotation.ignore': Mutation(_edit(_ignore)),
    'annotation ids from 0': Mutation(_edit(_from_zero)),
    'annotation ids twice': Mutation(_edit(_same_id('annotations'))),
    'annotations twice': Mutation(_edit(_duplicate('annotations'))),
    'image.id': Mutation(_edit(_set('images', 'id'))),
    'image.file_name': Mutation(_edit(_set('images', 'file_name'))),
    'image.width': Mutation(_edit(_set('images', 'width'))),
    'image.height': Mutation(_edit(_set('images', 'height'))),
    'image ids twice': Mutation(_edit(_same_id('images'))),
    'images twice': Mutation(_edit(_duplicate('images'))),
    'sizes of other images': Mutation(_edit(_turn_sizes)),
    'category.id': Mutation(_edit(_set('categories', 'id'))),
    'category.name': Mutation(_edit(_set('categories', 'name'))),
    'categories': Mutation(_edit(_categories)),
    'parts': Mutation(_edit(_drop_part)),
    'entries': Mutation(_edit(_strange_entry)),
    'boxes normalised': Mutation(_edit(_boxes(lambda x, y, w, h: [x / SIZE, y / SIZE, w / SIZE, h / SIZE]))),
    'boxes as corners': Mutation(_edit(_boxes(lambda x, y, w, h: [x, y, x + w, y + h])), seen=False),
    'boxes from the centre': Mutation(_edit(_boxes(lambda x, y, w, h: [x + w / 2, y + h / 2, w, h])), seen=False),
    'boxes of larger images': Mutation(_edit(_boxes(lambda x, y, w, h: [3 * x, 3 * y, 3 * w, 3 * h])), seen=False),
    'boxes outside': Mutation(_edit(_boxes(lambda x, y, w, h: [x + SIZE, y, w, h]))),
    'boxes upside down': Mutation(_edit(_boxes(lambda x, y, w, h: [x + w, y + h, -w, -h]))),
    'boxes of three numbers': Mutation(_edit(_boxes(lambda x, y, w, h: [x, y, w]))),
    'text': Mutation(_text_of_file, seen=False),
}

# VOC


def _xml(change: Callable[[np.random.Generator, str], str]) -> Callable:
    """A mutation that changes the text of one XML file, or of all."""

    def spoil(rng: np.random.Generator, root: Path, split: str) -> None:
        numbers = (root / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
        for number in _some(rng, numbers):
            path = root / 'Annotations' / f'{number}.xml'
            text = path.read_text()
            _replace(path, change(rng, text).encode('utf-8', 'surrogatepass'))

    return spoil


def _value_of(tag: str) -> Callable:

    def change(rng: np.random.Generator, text: str) -> str:
        value = str(STRANGE[rng.integers(len(STRANGE))])
        count = int(rng.choice([0, 1]))
        if rng.random() < 0.2:
            return re.sub(f'<{tag}>[^<]*</{tag}>', '', text, count=count)
        return re.sub(f'<{tag}>[^<]*</{tag}>', lambda _: f'<{tag}>{value}</{tag}>', text, count=count)

    return change


def _swap_tags(one: str, other: str) -> Callable:

    def change(rng: np.random.Generator, text: str) -> str:
        return text.replace(f'{one}>', 'swap>').replace(f'{other}>', f'{one}>').replace('swap>', f'{other}>')

    return change


def _normalised(rng: np.random.Generator, text: str) -> str:
    sides = dict(
        x=float(re.search('<width>(.*)</width>', text)[1]), y=float(re.search('<height>(.*)</height>', text)[1]))
    return re.sub(r'<([xy])(m\w\w)>([^<]*)<',
                  lambda match: f'<{match[1]}{match[2]}>{float(match[3]) / sides[match[1]]:.4f}<', text)


def _bomb(rng: np.random.Generator, text: str) -> str:
    entities = ''.join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(12))
    return f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]>' + text.replace('<annotation>', '<annotation><x>&e12;</x>')


def _list(change: Callable[[np.random.Generator, List[str]], List[str]]) -> Callable:

    def spoil(rng: np.random.Generator, root: Path, split: str) -> None:
        path = root / 'ImageSets' / 'Main' / f'{split}.txt'
        _replace(path, '\n'.join(change(rng, path.read_text().split())).encode())

    return spoil


def _line(rng: np.random.Generator, lines: List[str]) -> List[str]:
    place = int(rng.integers(len(lines)))
    line = str(rng.choice(['', ' ', 'nothing', f'{lines[place]} -1', f' {lines[place]}', '\x00', '..', lines[0]]))
    return [*lines[:place], line, *lines[place:]]


def _bytes_of_xml(rng: np.random.Generator, root: Path, split: str) -> None:
    number = (root / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()[0]
    path = root / 'Annotations' / f'{number}.xml'
    _replace(path, _spoil_bytes(rng, path.read_bytes()))


VOC = {
    **{
        f'<{tag}>': Mutation(_xml(_value_of(tag)), seen=tag in ('width', 'height', 'name'))
        for tag in ('xmin', 'ymin', 'xmax', 'ymax', 'width', 'height', 'name', 'difficult')
    },
    'xmin and xmax': Mutation(_xml(_swap_tags('xmin', 'xmax'))),
    'width and height': Mutation(_xml(_swap_tags('width', 'height'))),
    'names': Mutation(_xml(lambda rng, text: text.replace('<name>', '<name> '))),
    'no objects': Mutation(_xml(lambda rng, text: text.replace('object>', 'thing>'))),
    'no boxes': Mutation(_xml(lambda rng, text: text.replace('bndbox>', 'box>'))),
    'no size': Mutation(_xml(lambda rng, text: text.replace('size>', 'extent>'))),
    'normalised': Mutation(_xml(_normalised)),
    'entities': Mutation(_xml(_bomb)),
    'other XML': Mutation(_xml(lambda rng, text: '<html/>')),
    'lines of the list': Mutation(_list(_line)),
    'empty list': Mutation(_list(lambda rng, lines: [])),
    'bytes': Mutation(_bytes_of_xml, seen=False),
}

# images


def _image(change: Callable[[np.random.Generator, bytes], Optional[bytes]]) -> Callable:
    """A mutation that changes the files of some images; None: remove them."""

    def spoil(rng: np.random.Generator, root: Path, split: str) -> None:
        for path in _some(rng, sorted((root / f'{split}2017').iterdir())):
            data = change(rng, path.read_bytes())
            path.unlink()
            if data is not None:
                path.write_bytes(data)

    return spoil


def _save(kind: str, mode: str = 'RGB', **options) -> Callable[[np.random.Generator, bytes], bytes]:
    """The same picture in another format."""

    def change(rng: np.random.Generator, data: bytes) -> bytes:
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).convert(mode).save(file, kind, **options)
        return file.getvalue()

    return change


def _cut(form: Callable, mark: bytes = b'') -> Callable:
    """The first part of a file, and what stands in place of the rest."""

    def change(rng: np.random.Generator, data: bytes) -> bytes:
        data = form(rng, data)
        place = int(rng.integers(len(data) // 2, len(data) * 9 // 10))
        if rng.random() < 0.5:
            return data[:place] + mark
        return data[:place] + bytes(len(data) - place - len(mark)) + mark

    return change


def _exif(rng: np.random.Generator, data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data))
    exif, file = image.getexif(), io.BytesIO()
    exif[0x0112] = int(rng.integers(2, 9))
    image.save(file, 'JPEG', exif=exif, quality=95)
    return file.getvalue()


def _resized(rng: np.random.Generator, data: bytes) -> bytes:
    image, file = Image.open(io.BytesIO(data)), io.BytesIO()
    image.resize((int(rng.integers(1, 200)), int(rng.integers(1, 200)))).save(file, 'JPEG')
    return file.getvalue()


def _huge(rng: np.random.Generator, data: bytes) -> bytes:
    """A header that claims more pixels than there is memory."""
    if rng.random() < 0.5:
        place = data.index(b'\xff\xc0')
        return data[:place + 5] + b'\xff\x00\xff\x00' + data[place + 9:]
    png = bytearray(_save('PNG')(rng, data))
    png[16:24] = (100000).to_bytes(4, 'big') * 2
    return bytes(png)


def _upper_byte(rng: np.random.Generator, data: bytes) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode('.png', pixels.astype(np.uint16) * 257)[1].tobytes()


def _special(rng: np.random.Generator, root: Path, split: str) -> None:
    """Something else than a file, under an image's name."""
    path = sorted((root / f'{split}2017').iterdir())[int(rng.integers(3))]
    way = rng.integers(5)
    path.unlink()
    if way == 0:
        os.mkfifo(path)
    elif way == 1:
        path.mkdir()
    elif way == 2:
        path.symlink_to('/dev/zero')
    elif way == 3:
        path.symlink_to(path.name)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            os.chdir(path.parent)  # names of sockets are short
            server.bind(path.name)
            os.chdir(here)


END = b'\xff\xd9'
JPEG, PROGRESSIVE = _save('JPEG', quality=95), _save('JPEG', quality=95, progressive=True)
IMAGES = {
    'half a JPEG with its end': Mutation(_image(_cut(JPEG, END))),
    'half a progressive JPEG with its end': Mutation(_image(_cut(PROGRESSIVE, END))),
    'half a JPEG': Mutation(_image(_cut(JPEG))),
    'half a PNG': Mutation(_image(_cut(_save('PNG')))),
    'half a PNG with its end': Mutation(_image(_cut(_save('PNG'), b'\x00\x00\x00\x00IEND\xaeB`\x82'))),
    'half a WebP': Mutation(_image(_cut(_save('WEBP', quality=95)))),
    'half a GIF': Mutation(_image(_cut(_save('GIF', 'P')))),
    'half a TIFF': Mutation(_image(_cut(_save('TIFF', compression='tiff_lzw')))),
    'bytes of a JPEG': Mutation(_image(_spoil_bytes), seen=False),
    'bytes of a PNG': Mutation(_image(lambda rng, data: _spoil_bytes(rng,
                                                                     _save('PNG')(rng, data)))),
    'PNG': Mutation(_image(_save('PNG'))),
    'RGBA': Mutation(_image(_save('PNG', 'RGBA'))),
    'BMP': Mutation(_image(_save('BMP'))),
    'CMYK': Mutation(_image(_save('JPEG', 'CMYK')), seen=False),
    'grey': Mutation(_image(_save('JPEG', 'L')), seen=False),
    'palette': Mutation(_image(_save('PNG', 'P')), seen=False),
    '16 bits': Mutation(_image(_upper_byte)),
    'EXIF': Mutation(_image(_exif)),
    'another size': Mutation(_image(_resized)),
    'a huge header': Mutation(_image(_huge)),
    'empty': Mutation(_image(lambda rng, data: b'')),
    'missing': Mutation(_image(lambda rng, data: None)),
    'text': Mutation(_image(lambda rng, data: b'<html>404</html>')),
    'no file': Mutation(_special),
}
KINDS = dict(COCO=COCO, VOC=VOC, images=IMAGES)
DATA = dict(COCO='COCO', VOC='VOC', images='COCO')  # kind of mutation -> data that it is done to

# data and what a run makes of it


def _write_voc(root: Path, coco: Path) -> None:
    """The same images and boxes as Pascal VOC's files."""
    (root / 'JPEGImages').mkdir(parents=True)
    (root / 'Annotations').mkdir()
    (root / 'ImageSets' / 'Main').mkdir(parents=True)
    for split in ('train', 'val'):
        content = json.loads((coco / 'annotations' / f'instances_{split}2017.json').read_text())
        numbers = []
        for image in content['images']:
            number = Path(image['file_name']).stem
            numbers.append(number)
            os.link(coco / f'{split}2017' / image['file_name'], root / 'JPEGImages' / f'{number}.jpg')
            objects = ''
            for entry in content['annotations']:
                if entry['image_id'] == image['id'] and not entry['iscrowd']:
                    x, y, w, h = entry['bbox']
                    sides = dict(xmin=x + 1, ymin=y + 1, xmax=x + w + 1, ymax=y + h + 1)
                    box = ''.join(f'<{side}>{value}</{side}>' for side, value in sides.items())
                    name = CLASSES[entry['category_id'] - 1]
                    objects += f'<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>\n'
            size = f'<size><width>{image["width"]}</width><height>{image["height"]}</height><depth>3</depth></size>'
            (root / 'Annotations' / f'{number}.xml').write_text(f'<annotation>{size}\n{objects}</annotation>')
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(numbers) + '\n')


def _take_bccd(root: Path) -> bool:
    """A few photographs with annotations that people made, where this machine has them."""
    source = Path(os.environ.get('MMBACKBONES_SHARED', Path(__file__).parents[3] / 'shared')) / 'data' / 'bccd_voc'
    if not source.is_dir():
        return False
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for split, count in (('train', NUM_TRAIN), ('val', NUM_VAL)):
        numbers = (source / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()[:count]
        for number in numbers:
            shutil.copy(source / 'Annotations' / f'{number}.xml', root / 'Annotations')
            shutil.copy(source / 'JPEGImages' / f'{number}.jpg', root / 'JPEGImages')
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(numbers) + '\n')
    return True


def _config(kind: str, root: Path) -> Config:
    if kind != 'COCO':
        common = dict(type='VOCDataset', data_prefix=dict(sub_data_root=''))
        files = {split: f'ImageSets/Main/{split}.txt' for split in ('train', 'val')}
        evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='area')
    else:
        common = dict(type='CocoDataset')
        files = {split: f'annotations/instances_{split}2017.json' for split in ('train', 'val')}
        evaluator = dict(type='CocoMetric', ann_file=str(root / files['val']))
    loaders = {}
    for split in ('train', 'val'):
        dataset = dict(common, data_root=str(root), ann_file=files[split], pipeline=copy.deepcopy(PIPELINE))
        dataset.update(metainfo=dict(classes=BCCD_CLASSES if kind == 'BCCD' else CLASSES), test_mode=split == 'val')
        if kind == 'COCO':
            dataset.update(data_prefix=dict(img=f'{split}2017/'))
        loaders[f'{split}_dataloader'] = dict(dataset=dataset)
    cfg = Config(dict(default_scope='mmdet', work_dir=str(root / 'work'), val_evaluator=evaluator, **loaders))
    guard_images(cfg, 'error')
    return cfg


class Seen(NamedTuple):
    """What a run sees of its data.

    Attributes:
        said: lines of the check that say more than numbers.
        training: digest of the objects and pixels of each training image.
        ap: of detections that do not change.
    """
    said: Tuple[str, ...]
    training: Dict[str, str]
    ap: float


class Clean(NamedTuple):
    """Data that nothing was done to.

    Attributes:
        detections: of its validation images.
        seen: what a run sees of it.
    """
    detections: Dict[str, list]
    seen: Optional[Seen]


def _check(cfg: Config) -> Tuple[str, ...]:
    report = check_data(cfg, ['train', 'val'])
    # numbers that only who knows the data can judge are no word
    left_out = [line.split('left out:')[1].rsplit('(', 1)[0].strip() for line in report.summaries if 'left out' in line]
    empty = [line.split(',')[0] for line in report.summaries if 'without objects' in line.split(',')[0]]
    return tuple(sorted([*left_out, *empty, *report.warnings]))


def _look(cfg: Config, detections: Dict[str, list]) -> Seen:
    """Check, read the training data, and evaluate the detections."""
    again = copy.deepcopy(cfg)
    said = _check(cfg)
    if _check(again) != said:
        raise AssertionError('what is said from the cache differs')
    training = {}
    for sample in DATASETS.build(cfg.train_dataloader.dataset):
        objects = sample['data_samples'].gt_instances
        boxes = objects.bboxes.tensor.numpy()
        if not np.isfinite(boxes).all():
            raise AssertionError('boxes that are not finite reach the training')
        rows = sorted([label, *box] for label, box in zip(objects.labels.tolist(), boxes.round(2).tolist()))
        digest = hashlib.sha256(json.dumps(rows).encode() + sample['inputs'].numpy().tobytes())
        training[Path(sample['data_samples'].img_path).name] = digest.hexdigest()
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for sample in dataset:
        found = sample['data_samples']
        rows = torch.tensor(detections[Path(found.img_path).name]).reshape(-1, 6)
        found.pred_instances = InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].long())
        metric.process({}, [_as_dict(found)])
    result = metric.evaluate(len(dataset))
    return Seen(said, training, float(result['coco/bbox_mAP' if 'coco/bbox_mAP' in result else 'pascal_voc/mAP']))


def _as_dict(sample: DetDataSample) -> dict:
    result = sample.to_dict()
    for name in ('gt_instances', 'ignored_instances'):
        result[name]['bboxes'] = result[name]['bboxes'].tensor
    return result


def _detections(cfg: Config) -> Dict[str, list]:
    """Boxes near those of the objects, with a few missing and a few too many: x1, y1, x2, y2, score, label."""
    rng, dataset, found = np.random.default_rng(0), DATASETS.build(cfg.val_dataloader.dataset), {}
    for index in range(len(dataset)):
        image = dataset.get_data_info(index)
        boxes = found[Path(image['img_path']).name] = [[5.0, 5.0, 40.0, 50.0, float(rng.uniform(0.1, 0.6)), 0.0]]
        for item in image['instances']:
            if rng.random() < 0.85:
                box = np.array(item['bbox']) + rng.normal(0, 1, 4)
                boxes.append([*box.tolist(), float(rng.uniform(0.3, 1)), float(item['bbox_label'])])
    return found


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)


def run(count: int, seed: int) -> Iterator[Record]:
    warnings.filterwarnings('ignore')
    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        os.environ['MMBACKBONES_CACHE'] = str(base / 'cache')
        make_shapes(base / 'COCO', num_train=NUM_TRAIN, num_val=NUM_VAL, image_size=SIZE)
        _write_voc(base / 'VOC', base / 'COCO')
        sets = {kind: Clean({}, None) for kind in ('COCO', 'VOC', *(['BCCD'] if _take_bccd(base / 'BCCD') else []))}
        for kind in sets:
            detections = json.loads(_in_child(base, lambda: _detections(_config(kind, base / kind)))[1])
            seen = _in_child(base, lambda: _look(_config(kind, base / kind), detections))[1]
            sets[kind] = Clean(detections, Seen(*json.loads(seen)))
        cases = [(kind, name) for kind, mutations in KINDS.items() for name in mutations]
        rng = np.random.default_rng(seed)
        for number in range(count):
            if number % len(cases) == 0:
                rng.shuffle(cases)
            yield _case(base, *map(str, cases[number % len(cases)]), number, seed, sets)


def _in_child(base: Path, look: Callable[[], Any]) -> Tuple[Result, Optional[str]]:
    """Call a function in a child.

    Returns:
        tuple: how the child ended, and what was seen as JSON: what the function returned, an error's text, or None.
    """
    outcome = base / 'outcome.json'
    outcome.unlink(missing_ok=True)

    def child() -> Optional[int]:
        try:
            seen: Any = look()
        except UserError as error:
            seen = str(error)
        outcome.write_text(json.dumps(seen))
        return 0

    result = forked(child, TIMEOUT)
    return result, outcome.read_text() if outcome.exists() else None


def _case(base: Path, kind: str, name: str, number: int, seed: int, sets: Dict[str, Clean]) -> Record:
    """Spoil a copy of the data and see what becomes of it, in a child."""
    rng = np.random.default_rng([seed, number])
    split, data, root = str(rng.choice(['train', 'val'])), DATA[kind], base / 'case'
    if data == 'VOC' and 'BCCD' in sets and rng.random() < 0.5:
        data = 'BCCD'
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base / data, root, copy_function=os.link)

    def look() -> Seen:
        KINDS[kind][name].spoil(rng, root, split)
        return _look(_config(data, root), sets[data].detections)

    result, content = _in_child(base, look)
    title = f'{name} (case {number}, {split} of {data})'
    if result.status is None:
        return Record(kind, title, 'hung', f'after {TIMEOUT} s')
    if result.crashed:
        return Record(kind, title, 'crashed', f'signal {-result.status}')
    if result.status or content is None:
        return Record(kind, title, 'traceback', result.output.strip().splitlines()[-1])
    seen = json.loads(content)
    if isinstance(seen, str):
        return Record(kind, title, OK if len(seen.splitlines()) == 1 else 'many lines')
    silent = KINDS[kind][name].seen and _silent(kind, name, Seen(*seen), sets[data].seen)
    return Record(kind, title, 'silent', silent) if silent else Record(kind, title, OK)


def _silent(kind: str, name: str, seen: Seen, before: Seen) -> str:
    """What changed without a word, if anything."""
    if tuple(seen.said) != tuple(before.said):
        return ''
    # files of images may hold other pixels, as other formats do
    if seen.training != before.training and (kind != 'images' or seen.training.keys() != before.training.keys()):
        return 'training sees other objects or images'
    if abs(seen.ap - before.ap) > 1e-9:
        return f'AP {seen.ap:.4f} instead of {before.ap:.4f}'
    return 'the damage is not noticed' if name.startswith('half') or name == 'EXIF' else ''


if __name__ == '__main__':
    main('Spoiled data', run, 600)
