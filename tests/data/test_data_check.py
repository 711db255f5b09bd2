"""The data check: what it refuses, says, mends and counts, for every way in which data is known to be wrong."""
import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import shared_data
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image

from mmbackbones import training
from mmbackbones.data import apply_changes, check_data
from mmbackbones.data.masks import mask_fault
from mmbackbones.errors import InputError
from mmbackbones.training import preflight
from mmbackbones.training.options import guard_images, move_data_root

TRAIN, VAL = 'annotations/instances_train2017.json', 'annotations/instances_val2017.json'


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    """A copy of the generated data that a test may spoil."""
    return Path(shutil.copytree(shapes, tmp_path / 'data'))


@pytest.fixture(scope='module')
def parsed(tiny_config) -> Config:
    return Config.fromfile(tiny_config)


@pytest.fixture
def cfg(parsed, data, tmp_path) -> Config:
    cfg = copy.deepcopy(parsed)
    move_data_root(cfg, str(data))
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def each(key, value, part='annotations', first=None):
    """A change of a field in all entries, or the first few; ``value`` is a function of the entry or a constant."""

    def change(content):
        for entry in content[part][:first]:
            entry[key] = value(entry) if callable(value) else value

    return change


def without(key, part='annotations', first=None):

    def change(content):
        for entry in content[part][:first]:
            del entry[key]

    return change


def ids_from_0(content):
    for number, entry in enumerate(content['annotations']):
        entry['id'] = number


def boxes(form, first=None):
    return each('bbox', lambda entry: form(*entry['bbox']), first=first)


def said(report) -> str:
    return '\n'.join([*report.summaries, *report.warnings])


# What is done to the annotations, what is said where they train and where they are compared with: an error in capitals.
ERROR, SAID = 'ERROR', 'said'
NONE = None, ''
SPOILED = {
    'a box of NaN': (boxes(lambda *_: [float('nan')] * 4, 1), (ERROR, 'NaN'), (ERROR, 'NaN')),
    'a box that is infinite': (boxes(lambda x, y, w, h: [x, y, float('inf'), h],
                                     1), (ERROR, 'infinite'), (ERROR, 'infinite')),
    'a box of three numbers': (boxes(lambda x, y, w, h: [x, y, w],
                                     1), (ERROR, 'four numbers'), (ERROR, 'annotations[0]')),
    'a box of texts': (boxes(lambda x, y, w, h: [str(x), y, w, h],
                             1), (ERROR, 'four numbers'), (ERROR, 'annotations[0]')),
    'a box that is null': (each('bbox', None, first=1), (ERROR, 'four numbers'), (ERROR, 'four numbers')),
    'a negative width': (boxes(lambda x, y, w, h: [x + w, y, -w, h],
                               1), (SAID, 'zero or negative: 1'), (ERROR, 'zero or negative')),
    'a box outside': (boxes(lambda x, y, w, h: [x + 200, y, w, h],
                            1), (SAID, 'outside of their image: 1'), (ERROR, 'outside')),
    'a box over the edge': (boxes(lambda x, y, w, h: [90, y, w, h],
                                  1), (SAID, 'over the edge of their image'), (SAID, 'over the edge of their image')),
    'normalised boxes':
    (boxes(lambda *box: [value / 96 for value in box]), (ERROR, 'look normalised'), (ERROR, 'look normalised')),
    'boxes as corners':
    (boxes(lambda x, y, w, h: [x, y, x + w, y + h]), (ERROR, '[x1, y1, x2, y2]'), (ERROR, '[x1, y1, x2, y2]')),
    'boxes of larger images': (boxes(lambda x, y, w, h: [2 * x, 2 * y, 2 * w, 2 * h]), (ERROR, 'far over the edge'),
                               (ERROR, 'far over the edge')),
    'area 0': (each('area', 0), (ERROR, 'no object is left'), (ERROR, 'area is zero or negative')),
    'one area 0': (each('area', 0, first=1), (SAID, 'area is zero or negative: 1'), (ERROR, 'annotations[0]')),
    'area negative': (each('area', -5, first=2), (SAID, 'area is zero or negative: 2'), (ERROR, 'zero or negative: 2')),
    'area infinite': (each('area', float('inf'), first=1), (ERROR, 'no finite number'), (ERROR, 'no finite number')),
    'area a text': (each('area', '7', first=1), (ERROR, 'no finite number'), (ERROR, 'no finite number')),
    'area missing': (without('area'), (SAID, 'without area'), (SAID, 'without area')),
    'iscrowd missing': (without('iscrowd', first=1), NONE, (SAID, 'without iscrowd, set to 0: 1')),
    'iscrowd a text': (each('iscrowd', '0', first=1), (ERROR, 'not 0 or 1'), (ERROR, 'not 0 or 1')),
    'ids from 0': (ids_from_0, NONE, (SAID, 'numbered anew: 1')),
    'ids twice': (each('id', 3), (SAID, 'numbered anew'), (SAID, 'numbered anew')),
    'ids missing': (without('id'), (SAID, 'numbered anew'), (SAID, 'numbered anew')),
    'ids as texts': (each('id', lambda entry: f'a{entry["id"]}'), NONE, (SAID, 'numbered anew')),
    'unknown category': (each('category_id', 99, first=1), (SAID, 'no category has: 1'), (ERROR, 'no category has')),
    'unknown image': (each('image_id', 10**6, first=1), (SAID, 'no image has: 1'), (ERROR, 'no image has')),
    'image ids as texts in annotations':
    (each('image_id', lambda entry: str(entry['image_id'])), (ERROR, 'no image has'), (ERROR, 'no image has')),
    'image ids twice': (each('id', 4, 'images', 2), (ERROR, 'whose id another has'), (ERROR, 'whose id another has')),
    'image id null': (each('id', None, 'images', 1), (ERROR, 'no integer or text'), (ERROR, 'images[0]')),
    'category ids twice': (each('id', 1, 'categories'), (ERROR, 'another has: 3'), (ERROR, 'another has: 3')),
    'category names twice': (each('name', 'circle', 'categories'), (ERROR, 'another has'), (ERROR, 'another has')),
    'file name a number': (each('file_name', 7, 'images', 1), (ERROR, 'file_name is no text'), (ERROR, 'file_name')),
    'width missing': (without('width', 'images', 1), (ERROR, 'without width'), (ERROR, 'images[0]')),
    'width a text': (each('width', '96', 'images', 1), (ERROR, 'no positive integer'), (ERROR, 'no positive integer')),
    'a size that no number holds': (each('height', 10**400, 'images',
                                         1), (ERROR, 'no positive integer'), (ERROR, 'images[0].height')),
    'another size': (each('width', 97, 'images',
                          1), (ERROR, 'annotated 97 x 96, loaded 96 x 96'), (ERROR, 'annotated 97 x 96')),
    'objects twice': (lambda content: content['annotations'].append(dict(content['annotations'][0], id=10**6)),
                      (SAID, 'listed twice'), (SAID, 'listed twice')),
    'ignored objects': (each('ignore', 1,
                             first=2), (SAID, "marked 'ignore': 2"), (SAID, 'which the evaluation counts')),
    'no annotations':
    (lambda content: content.pop('annotations'), (ERROR, 'no image is left'), (ERROR, 'nothing to compare with')),
    'annotations an object': (lambda content: content.update(annotations={}), (ERROR, 'missing or no list'),
                              (ERROR, 'missing or no list')),
    'an entry that is null': (lambda content: content['images'].append(None), (ERROR, 'no objects'), (ERROR,
                                                                                                      'images[')),
}


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('case', SPOILED)
def test_what_is_wrong_with_a_coco_file_is_refused_or_said(case, split, cfg, data):
    assert not check_data(cfg, [split]).warnings
    change, *expected = SPOILED[case]
    edit(data / (TRAIN if split == 'train' else VAL), change)
    kind, text = expected[split == 'val']
    if kind == ERROR:
        with pytest.raises(InputError) as error:
            check_data(cfg, [split])
        assert text in str(error.value) and len(str(error.value).splitlines()) == 1
        assert f'instances_{split}2017.json' in str(error.value)
    else:
        report = check_data(cfg, [split])
        assert text in said(report)
        assert kind or not report.warnings


def test_the_summary_counts_what_the_reader_keeps(cfg, data):
    """MMDetection's own reader, on files with all kinds of objects that it drops, agrees with the summary."""
    rng = np.random.default_rng(0)
    ways = [
        dict(area=0),
        dict(area=-1),
        dict(category_id=77),
        dict(image_id=10**6),
        dict(iscrowd=1),
        dict(ignore=1),
        dict(bbox=[5, 5, 0.5, 20]),
        dict(bbox=[5, 5, 0, 20]),
        dict(bbox=[-30, 5, 20, 20]),
        dict(bbox=[-5, -5, 20, 20]), *[dict()] * 5
    ]
    for _ in range(8):
        shutil.copy(data / TRAIN, data / 'copy.json')
        edit(data / 'copy.json',
             lambda content: [entry.update(ways[rng.integers(len(ways))]) for entry in content['annotations']])
        for filters in (None, dict(filter_empty_gt=True, min_size=32), dict(min_size=97)):
            leaf = cfg.train_dataloader.dataset
            leaf.update(ann_file='copy.json', filter_cfg=filters)
            dataset = DATASETS.build(dict(leaf, _scope_='mmdet', serialize_data=False))
            objects = [item for image in dataset.data_list for item in image['instances'] if not item['ignore_flag']]
            if not objects:
                with pytest.raises(InputError, match='no image is left'):
                    check_data(cfg, ['train'])
                continue
            summary, = check_data(cfg, ['train']).summaries
            classes = len({item['bbox_label'] for item in objects})
            empty = sum(not any(not item['ignore_flag'] for item in image['instances']) for image in dataset.data_list)
            said_empty = f' ({empty} without objects)' if empty else ''
            assert summary.startswith(
                f'train: {len(dataset)} images{said_empty}, {len(objects)} objects in {classes} of ')


def average_precision(cfg: Config, noise: float = 1.0) -> float:
    """AP of detections near the objects of the file that the data set reads, by the evaluator of the config."""
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        info, rng = dataset.get_data_info(index), np.random.default_rng(index)
        rows = torch.tensor([[*item['bbox'], item['bbox_label']] for item in info['instances']]).float().reshape(-1, 5)
        predicted = InstanceData(
            bboxes=rows[:, :4] + torch.from_numpy(rng.normal(0, noise, (len(rows), 4))).float(),
            scores=torch.linspace(0.9, 0.3, len(rows)),
            labels=rows[:, 4].long())
        metric.process({}, [
            dict(img_id=info['img_id'], ori_shape=(info['height'], info['width']), pred_instances=predicted.to_dict())
        ])
    return metric.evaluate(len(dataset))['coco/bbox_mAP']


@pytest.mark.parametrize('case',
                         ['ids from 0', 'ids twice', 'ids missing', 'ids as texts', 'iscrowd missing', 'area missing'])
def test_a_mended_file_has_the_ap_of_the_right_one(case, cfg, data):
    right = average_precision(cfg)
    assert 0.3 < right < 0.95
    edit(data / VAL, SPOILED[case][0])
    before = (data / VAL).read_bytes()
    report = check_data(cfg, ['val'])
    copy_path = cfg.val_evaluator.ann_file
    assert copy_path == cfg.val_dataloader.dataset.ann_file and copy_path in said(report)
    assert Path(copy_path).parent == Path(cfg.work_dir) / 'data' and (data / VAL).read_bytes() == before
    assert average_precision(cfg) == right


def test_masks_are_judged_where_they_are_drawn(cfg, data):
    bad = dict(
        zigzag=([[1, 2, 3, 4]], 'three or more pairs'),
        odd=([[1, 2, 3, 4, 5, 6, 7]], 'three or more pairs'),
        nan=([[1, 2, 3, 4, 5, float('nan')]], 'not finite'),
        texts=([['a'] * 6], 'something else than numbers'),
        size=(dict(size=[95, 96], counts=[95 * 96]), 'another size'),
        short=(dict(size=[96, 96], counts=[5, 5]), 'do not add up'),
        compressed=(dict(size=[96, 96], counts='PPYo1'), 'run lengths'),
        nothing=(None, 'without a segmentation'))
    for mask, text in bad.values():
        edit(data / TRAIN, each('segmentation', mask, first=1))
        check_data(cfg, ['train'])
        cfg.train_dataloader.dataset.pipeline[1].with_mask = True
        with pytest.raises(InputError, match=text):
            check_data(cfg, ['train'])
        cfg.train_dataloader.dataset.pipeline[1].with_mask = False


def test_run_lengths_are_read_as_pycocotools_reads_them():
    from pycocotools import mask as drawing
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 70, 2).tolist()
        pixels = np.asfortranarray(rng.random((height, width)) < rng.random(), np.uint8)
        coded = drawing.encode(pixels)['counts'].decode()
        assert mask_fault(dict(size=[height, width], counts=coded), height, width) is None
        assert mask_fault(dict(size=[height, width], counts=coded[:-1]), height, width)
        assert mask_fault(dict(size=[height + 1, width], counts=coded), height + 1, width)


def exif(path: Path, orientation: int) -> None:
    image = Image.open(path)
    tags = image.getexif()
    tags[0x0112] = orientation
    image.save(path, exif=tags)


def test_images_that_are_turned_when_loaded(cfg, data):
    picture = sorted((data / 'train2017').iterdir())[0]
    load = cfg.train_dataloader.dataset.pipeline[0]
    exif(picture, 6)
    assert 'orientation does not show in their size' in said(check_data(cfg, ['train']))  # square
    Image.open(picture).resize((96, 64)).save(picture)
    exif(picture, 6)
    edit(data / TRAIN, each('height', 64, 'images', 1))
    with pytest.raises(InputError, match="annotated 96 x 64, loaded 64 x 96.*"):
        check_data(cfg, ['train'])
    load.color_type = 'color_ignore_orientation'
    assert 'EXIF' not in said(check_data(cfg, ['train']))
    edit(data / TRAIN, each('height', 96, 'images', 1))
    edit(data / TRAIN, each('width', 64, 'images', 1))
    with pytest.raises(InputError, match="set color_type='color'"):
        check_data(cfg, ['train'])
    load.color_type = 'color'
    assert 'EXIF' not in said(check_data(cfg, ['train']))
    edit(data / TRAIN, each('width', 96, 'images', 1))
    Image.open(picture).resize((96, 96)).save(picture)
    exif(picture, 3)
    assert 'orientation does not show in their size' in said(check_data(cfg, ['train']))


def test_channels_and_bits_are_compared_with_what_is_loaded(cfg, data):
    picture = sorted((data / 'train2017').iterdir())[0]
    load = cfg.train_dataloader.dataset.pipeline[0]
    for mode in ('L', 'CMYK', 'RGB'):
        Image.open(picture).convert(mode).save(picture)
        assert not check_data(cfg, ['train']).warnings
    rgba = Image.open(picture).convert('RGBA')
    rgba.save(picture, 'PNG')
    assert not check_data(cfg, ['train']).warnings
    load.color_type = 'unchanged'
    with pytest.raises(InputError, match='4 channels'):
        check_data(cfg, ['train'])
    load.color_type = 'color'
    Image.fromarray(np.zeros((96, 96), np.uint16)).save(picture, 'PNG')
    assert 'images of 16 bits, which lose their lower 8 when loaded: 1' in said(check_data(cfg, ['train']))


def test_bad_images_are_a_warning_where_the_run_passes_over_them(cfg, data):
    pictures = sorted((data / 'train2017').iterdir())
    pictures[0].unlink()
    os.mkfifo(pictures[0])
    pictures[1].write_bytes(b'')
    pictures[2].unlink()
    with pytest.raises(InputError, match='it is a pipe.*the file is empty.*No such file'):
        check_data(cfg, ['train'])
    guard_images(cfg, 'skip')
    assert 'cannot be read: 3' in said(check_data(cfg, ['train']))
    for picture in pictures[3:]:
        picture.unlink()
    with pytest.raises(InputError, match='none of the images'):
        check_data(cfg, ['train'])


def test_a_second_check_reads_nothing_until_something_changes(cfg, data, monkeypatch, tmp_path):
    monkeypatch.setenv('MMBACKBONES_CACHE', str(tmp_path / 'cache'))
    edit(data / VAL, each('id', 0))
    first = check_data(copy.deepcopy(cfg), ['train', 'val'])
    again = copy.deepcopy(cfg)
    second = check_data(again, ['train', 'val'])
    assert all('as checked before' in line for line in second.summaries)
    assert second.warnings == first.warnings and second.changes == first.changes
    assert again.val_evaluator.ann_file == first.changes['val_evaluator.ann_file']
    sorted((data / 'val2017').iterdir())[2].unlink()
    with pytest.raises(InputError, match='No such file'):
        check_data(copy.deepcopy(cfg), ['train', 'val'])
    for entry in (tmp_path / 'cache' / 'data').iterdir():
        entry.write_text('{"findings": [1]}')
    assert 'checked in' in check_data(copy.deepcopy(cfg), ['train']).summaries[0]
    monkeypatch.setenv('MMBACKBONES_CACHE', '/dev/null/nowhere')
    assert 'checked in' in check_data(cfg, ['train']).summaries[0]


def test_evaluators_read_the_file_of_the_data_set(cfg, data, monkeypatch):
    cfg.val_evaluator.ann_file = VAL
    report = check_data(cfg, ['val'])
    assert cfg.val_evaluator.ann_file == str(data / VAL) and 'below the data root' in said(report)
    monkeypatch.chdir(data)
    cfg.val_evaluator.ann_file = f'./annotations/../{VAL}'
    assert not check_data(cfg, ['val']).warnings
    for change, text in ((lambda content: content['images'].pop(), '1 of 4 images are not in it'),
                         (each('file_name', lambda entry: f'other{entry["id"]}.jpg',
                               'images'), 'another file name'), (each('name', 'dog', 'categories',
                                                                      1), "lacks: 'circle'")):
        shutil.copy(data / VAL, data / 'other.json')
        edit(data / 'other.json', change)
        cfg.val_evaluator.ann_file = 'other.json'
        with pytest.raises(InputError) as error:
            check_data(cfg, ['val'])
        assert text in str(error.value)
    cfg.val_evaluator.ann_file = 'nowhere.json'
    with pytest.raises(InputError, match=r'nowhere\.json \(config key val_evaluator\.ann_file\)'):
        check_data(cfg, ['val'])
    del cfg.val_evaluator['ann_file']
    with pytest.raises(InputError, match='does not hand on the annotations'):
        check_data(cfg, ['val'])


def test_results_without_annotations_need_a_place(cfg, data):
    edit(data / VAL, lambda content: content.pop('annotations'))
    cfg.test_dataloader.dataset.ann_file = str(data / VAL)
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=str(data / VAL), format_only=True)
    with pytest.raises(InputError, match='no outfile_prefix'):
        check_data(cfg, ['test'])
    cfg.test_evaluator.outfile_prefix = str(data / VAL / 'out')
    with pytest.raises(InputError, match='cannot write into'):
        check_data(cfg, ['test'])
    cfg.test_evaluator.outfile_prefix = str(data / 'new' / 'out')
    summary, = check_data(cfg, ['test']).summaries
    assert summary.startswith('test: 4 images')


# Pascal VOC

XML = """<annotation><size><width>96</width><height>96</height><depth>3</depth></size>
<object><name>cell</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>blood cell</name><bndbox><xmin>40.0</xmin><ymin>50</ymin><xmax>96</xmax><ymax>90</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for name in ('a', 'b', 'c'):
        (root / 'Annotations' / f'{name}.xml').write_text(XML)
        Image.new('RGB', (96, 96)).save(root / 'JPEGImages' / f'{name}.jpg')
    (root / 'ImageSets' / 'Main' / 'train.txt').write_text('a\nb\nc\n')
    return root


@pytest.fixture
def voc_cfg(voc) -> Config:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 96)),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs')
    ]
    leaf = dict(
        type='VOCDataset',
        data_root=str(voc),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('cell', 'blood cell')),
        pipeline=pipeline)
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=leaf)),
            val_dataloader=dict(dataset=dict(leaf, test_mode=True)),
            val_evaluator=dict(type='VOCMetric', metric='mAP')))


def xml(old, new, name='b'):
    return lambda root: (root / 'Annotations' / f'{name}.xml').write_text(XML.replace(old, new))


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation>&b;'
VOC = {
    'no XML': (lambda root: (root / 'Annotations' / 'b.xml').unlink(), ERROR, 'b.xml: No such file'),
    'cut off': (lambda root: (root / 'Annotations' / 'b.xml').write_text(XML[:80]), ERROR, 'b.xml: no XML'),
    'a pipe': (lambda root:
               (root / 'Annotations' / 'b.xml').unlink() or os.mkfifo(root / 'Annotations' / 'b.xml'), ERROR, 'a pipe'),
    'entities': (xml('<annotation>', BOMB), ERROR, 'declares entities'),
    'entities in UTF-16':
    (lambda root: (root / 'Annotations' / 'b.xml').write_bytes(XML.replace('<annotation>', BOMB).encode('utf-16')),
     ERROR, 'declares entities'),
    'other XML': (lambda root: (root / 'Annotations' / 'b.xml').write_text('<html/>'), ERROR, 'expected <annotation>'),
    'no box': (xml('bndbox', 'box'), ERROR, 'no <bndbox>'),
    'no xmin': (xml('<xmin>1</xmin>', ''), ERROR, 'no <xmin>'),
    'xmin a word': (xml('<xmin>1<', '<xmin>left<'), ERROR, 'left'),
    'xmin NaN': (xml('<xmin>1<', '<xmin>nan<'), ERROR, 'nan'),
    'corners exchanged': (xml('<xmin>1<', '<xmin>50<'), ERROR, 'xmax is below xmin'),
    'zero size': (xml('<xmin>1<', '<xmin>30<'), SAID, 'zero width or height'),
    'outside': (xml('<xmin>40.0</xmin><ymin>50</ymin><xmax>96<',
                    '<xmin>140</xmin><ymin>50</ymin><xmax>196<'), ERROR, 'outside'),
    'over the edge': (xml('<xmax>96<', '<xmax>99<'), SAID, 'over the edge'),
    'another size': (xml('<width>96<', '<width>100<'), ERROR, 'annotated 100 x 96, loaded 96 x 96'),
    'no size': (xml('size>', 'extent>'), SAID, '6 objects'),
    'other names': (xml('>cell<', '> cell<'), SAID, "named ' cell', which is no class: 1"),
    'difficult': (xml('<difficult>0', '<difficult>1'), SAID, "marked 'difficult': 1"),
    'no image': (lambda root: (root / 'JPEGImages' / 'b.jpg').unlink(), ERROR, 'b.jpg: No such file'),
    'blank line': (lambda root: (root / 'ImageSets' / 'Main' / 'train.txt').write_text('a\n\nb\n'), ERROR, 'line 2'),
    'labels in the list': (lambda root:
                           (root / 'ImageSets' / 'Main' / 'train.txt').write_text('a -1\n'), ERROR, "'a -1'"),
    'empty list': (lambda root: (root / 'ImageSets' / 'Main' / 'train.txt').write_text(''), ERROR, 'lists no images'),
    'twice': (lambda root: (root / 'ImageSets' / 'Main' / 'train.txt').write_text('a\na\nb\n'), SAID, 'listed twice'),
}


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('case', VOC)
def test_what_is_wrong_with_voc_files_is_refused_or_said(case, split, voc, voc_cfg):
    right = check_data(voc_cfg, [split])
    assert right.summaries[0].startswith(f'{split}: 3 images, 6 objects in 2 of 2 classes')
    spoil, kind, text = VOC[case]
    spoil(voc)
    if kind == ERROR:
        with pytest.raises(InputError) as error:
            check_data(voc_cfg, [split])
        assert text in str(error.value) and len(str(error.value).splitlines()) == 1
    else:
        report = check_data(voc_cfg, [split])
        assert text in said(report)
        if split == 'val':
            assert 'the names of the 20 classes' in said(report)  # the folder is named VOC2007


def test_voc_classes_must_occur_in_training(voc, voc_cfg):
    voc_cfg.train_dataloader.dataset.dataset.metainfo.classes = ('cell', 'dog')
    with pytest.raises(InputError, match=r"no object has: 'dog'.*'cell' \(3\), 'blood cell' \(3\)"):
        check_data(voc_cfg, ['train'])
    voc_cfg.val_dataloader.dataset.metainfo.classes = ('cell', 'dog')
    assert "1 of 2 classes have no object: 'dog'" in said(check_data(voc_cfg, ['val']))
    voc_cfg.val_dataloader.dataset.metainfo.classes = ('cat', 'dog')
    with pytest.raises(InputError, match="no object of a class.*'blood cell'"):
        check_data(voc_cfg, ['val'])


def test_voc_compares_boxes_that_nothing_has_moved(voc, voc_cfg):
    pipeline = voc_cfg.val_dataloader.dataset.pipeline
    pipeline[1], pipeline[2] = pipeline[2], pipeline[1]
    with pytest.raises(InputError, match='Resize comes after LoadAnnotations'):
        check_data(voc_cfg, ['val'])
    del pipeline[1]
    with pytest.raises(InputError, match='loads none'):
        check_data(voc_cfg, ['val'])


# real data, and the cases of the issue


def test_right_data_is_accepted(coco_mini, tmp_path):
    """Real data sets, with crowds, a parent category, ids from 0 and a box of zero width, are no errors."""
    rbc, bccd = shared_data('rbc_roboflow'), shared_data('bccd_voc')
    voc = dict(type='VOCDataset', data_root=str(bccd), data_prefix=dict(sub_data_root=''))
    voc.update(metainfo=dict(classes=('RBC', 'WBC', 'Platelets')), pipeline=[])
    coco = dict(type='CocoDataset', pipeline=[dict(type='LoadAnnotations', with_mask=True)])
    sets = [
        (dict(coco, data_root=str(coco_mini), ann_file=TRAIN,
              data_prefix=dict(img='train2017/')), '100 images (2 without objects), 740 objects in 69 of 80 classes'),
        (dict(
            coco,
            data_root=str(rbc),
            ann_file='train/_annotations.coco.json',
            data_prefix=dict(img='train/'),
            metainfo=dict(classes=('rbc', 'wbc')),
            pipeline=[]), '210 images, 4947 objects in 2 of 2 classes'),
        (dict(voc, ann_file='ImageSets/Main/trainval.txt'), '292 images, 3943 objects in 3 of 3 classes'),
    ]
    for leaf, expected in sets:
        cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=leaf), work_dir=str(tmp_path)))
        summary, = check_data(cfg, ['train']).summaries
        assert summary.startswith(f'train: {expected}')


@pytest.fixture
def case(case_folder):
    """Gives the config of a case."""

    def load(name: str) -> Config:
        case_folder(name)
        cfg = Config.fromfile('config.py')
        cfg.work_dir = 'work_dirs/config'
        return cfg

    return load


def test_cases_are_accepted_mended_or_refused(case):
    summary, = check_data(case('04-test-dev-no-annotations'), ['test']).summaries
    assert summary.startswith('test: 4 images (')
    for name, text in (('09-exif-boxes', "color_type='color_ignore_orientation'"), ('11-area-zero',
                                                                                    'no object is left')):
        with pytest.raises(InputError) as error:
            check_data(case(name), ['train', 'val'])
        assert text in str(error.value)
    for name, text in (('10-bad-bbox', 'train: 8 images, 15 objects in 2 of 2 classes; left out: boxes whose width'),
                       ('10-no-area', 'without area, set to that of their mask or box: 8'),
                       ('10-no-iscrowd', 'without iscrowd, set to 0: 8'),
                       ('11-unknown-category', '10 objects in 2 of 2 classes; left out: objects of a category_id')):
        assert text in said(check_data(case(name), ['train', 'val']))
    cfg = case('18-evaluator-other-file')
    assert not check_data(cfg, ['train', 'val']).warnings
    cfg.val_evaluator.ann_file = 'data/annotations/train.json'
    with pytest.raises(InputError, match='is not about the images of val_dataloader'):
        check_data(cfg, ['train', 'val'])


def test_annotation_ids_from_0_have_the_ap_of_those_from_1(case):
    cfg = case('12-annotation-id-0')
    right = average_precision(cfg)
    cfg.val_dataloader.dataset.ann_file = 'annotations/val_from0.json'
    cfg.val_evaluator.ann_file = 'data/annotations/val_from0.json'
    assert average_precision(cfg) < right
    check_data(cfg, ['val'])
    assert average_precision(cfg) == right


# in a run


@pytest.mark.slow
def test_mended_files_train_and_test_sets_without_annotations_are_written(case, capfd):
    case('10-no-iscrowd')
    training.train(['config.py', '--backbone-weights', 'none', '--cfg-options', 'train_dataloader.dataset.indices=2'])
    assert 'iscrowd, set to 0: 8' in ''.join(capfd.readouterr())
    checkpoint = Path('work_dirs/config/epoch_1.pth').resolve()
    assert checkpoint.is_file()
    case('04-test-dev-no-annotations')
    training.test(['config.py', str(checkpoint)])
    assert 'test: 4 images (' in ''.join(capfd.readouterr())
    assert isinstance(json.loads(Path('out/test.bbox.json').read_text()), list)


def test_a_run_says_what_it_reads_and_hands_on_the_copies(cfg, data, capfd):
    edit(data / VAL, each('id', 0))
    cfg.launcher = 'none'
    other = copy.deepcopy(cfg)
    preflight.prepare(cfg, ['train', 'val'])
    output = ''.join(capfd.readouterr())
    assert 'train: 11 images' in output and 'numbered anew' in output
    changes = {key: cfg.val_evaluator.ann_file for key in ('val_evaluator.ann_file', 'val_dataloader.dataset.ann_file')}
    apply_changes(other, changes)  # as the other processes do
    assert other.val_dataloader == cfg.val_dataloader and other.val_evaluator == cfg.val_evaluator
    (data / TRAIN).write_text('nonsense')
    with pytest.raises(InputError):
        preflight.prepare(cfg, ['train'])
    preflight.prepare(cfg, ['train'], skip_data_check=True)
    assert 'not checked (--skip-data-check)' in ''.join(capfd.readouterr())


def test_changes_reach_data_sets_in_wrappers():
    cfg = Config(dict(loader=dict(dataset=dict(datasets=[dict(a=1), dict(dataset=dict(ann_file='x'))]))))
    apply_changes(cfg, {'loader.dataset.datasets[1].dataset.ann_file': 'y'})
    assert cfg.loader.dataset.datasets[1].dataset.ann_file == 'y'
