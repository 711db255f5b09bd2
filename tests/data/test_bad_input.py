"""Every bad input gets an error that says what was wrong, what was expected and what to do, before anything is lost."""
import io
import json
import os
import pickle
import re
import shutil
import struct
import zlib
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from helpers import shared_data, tool
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mmbackbones import training
from mmbackbones.data import check_data
from mmbackbones.errors import InputError
from mmbackbones.training.options import guard_images, move_data_root
from mmbackbones.training.preflight import check_processes
from mmbackbones.transforms import BadImageError, LoadImageFromFile


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    """A copy of the generated data that a test may spoil."""
    return Path(shutil.copytree(shapes, tmp_path / 'data'))


@pytest.fixture
def cfg(tiny_config, data) -> Config:
    cfg = Config.fromfile(tiny_config)
    move_data_root(cfg, str(data))
    return cfg


def _edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _rename(index: int, name: str):

    def change(content):
        content['categories'][index]['name'] = name

    return change


TRAIN, VAL = 'annotations/instances_train2017.json', 'annotations/instances_val2017.json'
# What is done to the data, and what the error must name.
SPOILED = {
    'annotation file missing':
    (lambda root:
     (root / TRAIN).unlink(), [TRAIN, 'train_dataloader.dataset.ann_file', '--data-root', 'Expected layout']),
    'evaluation file missing': (lambda root: (root / VAL).unlink(), [VAL, 'val_dataloader', '--data-root']),
    'image folder missing': (lambda root: shutil.rmtree(root / 'val2017'),
                             ['val2017', 'val_dataloader.dataset.data_prefix', '--data-root', 'Expected layout']),
    'an image missing in training': (lambda root: sorted(
        (root / 'train2017').iterdir())[5].unlink(), ['train2017', 'No such file', 'data_prefix', '--bad-images']),
    'an image missing in evaluation': (lambda root: sorted(
        (root / 'val2017').iterdir())[3].unlink(), ['val2017', 'No such file', 'data_prefix']),
    'image folder of other images': (lambda root:
                                     (root / 'train2017').rename(root / 'other') and (root / 'train2017').mkdir(),
                                     ['do not belong together', 'data_prefix']),
    'annotation file cut off': (lambda root: (root / TRAIN).write_bytes(
        (root / TRAIN).read_bytes()[:-100]), [TRAIN, 'not JSON', 'cut off']),
    'annotation file is a list': (lambda root: (root / TRAIN).write_text('[1, 2]'), [TRAIN, 'not in COCO format']),
    'annotation without a box': (lambda root: _edit(root / TRAIN, lambda c: c['annotations'][3].pop('bbox')),
                                 ['not in COCO format', 'annotations[3]', 'bbox']),
    'other categories': (lambda root: _edit(root / TRAIN, _rename(2, 'dog')), ["'triangle'", "'dog'", 'num_classes']),
    'categories in another order':
    (lambda root: _edit(root / TRAIN, lambda c: c['categories'].reverse()), ['another order', "'cross', 'triangle'"]),
}


@pytest.mark.parametrize('case', SPOILED)
def test_bad_data_is_named_before_a_model_is_built(case, cfg, data):
    assert check_data(cfg, ['train', 'val']).warnings == []
    spoil, expected = SPOILED[case]
    spoil(data)
    with pytest.raises(InputError) as error:
        check_data(cfg, ['train', 'val'])
    for text in expected:
        assert text in str(error.value)


def test_checks_see_through_dataset_wrappers(cfg, data):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset', datasets=[inner, dict(type='MultiImageMixDataset', dataset=inner, pipeline=[])]))
    assert check_data(cfg, ['train']).warnings == []
    inner.data_prefix = dict(img='nowhere/')
    with pytest.raises(InputError, match=r'train_dataloader\.dataset\.dataset\.datasets\[0\]\.data_prefix'):
        check_data(cfg, ['train'])


def test_categories_that_are_no_class_are_a_warning(cfg, data):
    _edit(data / TRAIN, lambda c: c['categories'].append(dict(id=99, name='zebra')))
    warning, = check_data(cfg, ['train']).warnings
    assert 'zebra' in warning and 'ignored' in warning


def test_heads_of_another_number_of_classes_are_named(cfg):
    cfg.model.roi_head.bbox_head.num_classes = 80
    cfg.model.roi_head.mask_head = [dict(num_classes=4), dict(num_classes=7)]
    with pytest.raises(InputError) as error:
        check_data(cfg, ['train'])
    for text in ('4 classes', 'model.roi_head.bbox_head.num_classes=80', 'model.roi_head.mask_head[1].num_classes=7'):
        assert text in str(error.value)
    assert 'mask_head[0]' not in str(error.value) and 'rpn_head' not in str(error.value)


def test_more_processes_than_gpus():
    check_processes(8, 8)
    check_processes(2, 0)  # no GPU at all: they run on the CPU
    with pytest.raises(InputError, match='8 processes .* only 2 GPUs .* at most 2'):
        check_processes(8, 2)


def test_unwritable_work_dir_is_one_line_and_a_failure(shapes, tiny_config, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    done = tool('train.py', tiny_config, '--data-root', shapes, '--work-dir', tmp_path / 'file' / 'work')
    assert done.returncode == 1
    assert 'error: cannot write to the work directory' in done.stdout and '--work-dir' in done.stdout
    assert 'Traceback' not in done.stdout


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path, )


def test_checkpoints_that_cannot_be_used(shapes, tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    common = [str(tiny_config), '--data-root', str(shapes), '--work-dir', str(work_dir)]
    code = tmp_path / 'code.pth'
    with open(code, 'wb') as file:
        pickle.dump(dict(state_dict=Payload(tmp_path / 'ran')), file)
    stranger = tmp_path / 'stranger.pth'
    torch.save(dict(state_dict={'other.weight': torch.ones(1)}), stranger)
    for argv, run, expected in (
        ([common[0], str(code), *common[1:]], training.test, 'refused'),
        ([*common, '--resume', str(code)], training.train, 'refused'),
        ([common[0], str(stranger), *common[1:]], training.test, 'other.weight'),
        ([*common, '--resume', str(stranger)], training.train, 'weights alone'),
        ([*common, '--cfg-options', f'load_from={stranger}'], training.train, 'other.weight'),
        ([*common, '--resume', str(tmp_path / 'none.pth')], training.train, 'no such file'),
        ([*common, '--backbone-weights', str(tmp_path / 'none.pth')], training.train, 'no such file'),
        ([*common, '--backbone-weights', str(stranger)], training.train, 'no key matches ResNet. It has other.weight'),
    ):
        with pytest.raises(SystemExit) as error:
            run(argv)
        assert expected in str(error.value)
    assert not (tmp_path / 'ran').exists()
    assert not list(work_dir.glob('*.pth'))


def _picture(kind: str, mode: str = 'RGB', **options) -> bytes:
    """A 60 x 40 image with texture, as the bytes of a file."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _segment(jpeg: bytes, marker: int, contents: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + (len(contents) + 2).to_bytes(2, 'big') + contents + jpeg[2:]


def _exif(orientation: int, order: str, kind: int = 3, start: bytes = b'Exif\0\0') -> bytes:
    """A segment with one tag; ``kind`` 3 is that of the standard."""
    mark = b'II' if order == '<' else b'MM'
    return start + mark + struct.pack(f'{order}HIHHHIHHI', 42, 8, 1, 0x0112, kind, 1, orientation, 0, 0)


def _claiming(image: bytes, width: int, height: int) -> bytes:
    """An image file whose header names another size."""
    if image.startswith(b'\x89PNG'):
        header = b'IHDR' + struct.pack('>II', width, height) + image[24:29]
        return image[:12] + header + struct.pack('>I', zlib.crc32(header)) + image[33:]
    place = image.index(b'\xff\xc0') + 5
    return image[:place] + struct.pack('>HH', height, width) + image[place + 4:]


def _cut_in_scan(jpeg: bytes, scan: int) -> bytes:
    """A JPEG in several scans without those from a number on, and with an end."""
    place = [match.start() for match in re.finditer(b'\xff\xda', jpeg)][scan]
    return jpeg[:place] + END


def _with_thumbnail(jpeg: bytes) -> bytes:
    """A JPEG with a whole small JPEG in a segment at its start, as cameras write them."""
    return _segment(jpeg, 0xE1, _picture('JPEG', quality=10))


JPEG, PROGRESSIVE, PNG = _picture('JPEG'), _picture('JPEG', progressive=True), _picture('PNG')
END, PNG_END = JPEG[-2:], PNG[-12:]
HALF = len(JPEG) // 2
XMP = b'http://ns.adobe.com/xap/1.0/\0<x/>'
WHOLE = dict(
    jpeg=JPEG,
    progressive=PROGRESSIVE,
    restarts=_picture('JPEG', restart_marker_rows=1),
    rgb=_picture('JPEG', keep_rgb=True),
    cmyk=_picture('JPEG', mode='CMYK'),
    grey=_picture('JPEG', mode='L'),
    png=PNG,
    palette=_picture('PNG', mode='P'),
    transparent=_picture('PNG', mode='RGBA'),
    bmp=_picture('BMP'),
    webp=_picture('WEBP'),
    tiff=_picture('TIFF', compression='tiff_lzw'),
    gif=_picture('GIF', mode='P'),
    thumbnail=_with_thumbnail(JPEG),
    tail=JPEG + b'maker notes',
    padding=JPEG[:-2] + bytes(20) + END,
    revision=JPEG.replace(b'JFIF\0\x01', b'JFIF\0\x07'),
    xmp=_segment(JPEG, 0xE1, XMP),
    exif_before_xmp=_segment(_segment(JPEG, 0xE1, XMP), 0xE1, _exif(6, '<')),
    exif_after_xmp=_segment(_segment(JPEG, 0xE1, _exif(6, '<')), 0xE1, XMP),
    exif_of_another_type=_segment(JPEG, 0xE1, _exif(6, '<', kind=4)),
    exif_cut_off=_segment(JPEG, 0xE1,
                          _exif(6, '<')[:20]),
    **{
        f'exif_{number}_{name}': _segment(JPEG, 0xE1, _exif(number, order))
        for number in range(10)
        for name, order in (('intel', '<'), ('motorola', '>'))
    })
BROKEN = dict(
    empty=b'',
    text=b'not an image',
    half=JPEG[:len(JPEG) // 2],
    last_byte=JPEG[:-1],
    header=JPEG[:20],
    progressive=PROGRESSIVE[:-100],
    thumbnail=_with_thumbnail(JPEG)[:-500],
    png=PNG[:-40],
    half_with_end=JPEG[:HALF] + END,
    half_of_zeros=JPEG[:HALF] + bytes(len(JPEG) - HALF - 2) + END,
    half_of_other_bytes=JPEG[:HALF] + np.random.default_rng(1).bytes(len(JPEG) - HALF) + END,
    a_part_missing=JPEG[:HALF] + JPEG[HALF + 200:],
    revision_and_half=JPEG[:HALF].replace(b'JFIF\0\x01', b'JFIF\0\x07') + END,
    half_and_turned=_segment(JPEG[:HALF] + END, 0xE1, _exif(6, '<')),
    half_of_cmyk=_picture('JPEG', mode='CMYK')[:HALF] + END,
    progressive_with_end=PROGRESSIVE[:-200] + END,
    progressive_without_last_scan=_cut_in_scan(PROGRESSIVE, -1),
    progressive_of_one_scan=_cut_in_scan(PROGRESSIVE, 1),
    png_with_end=PNG[:-400] + PNG_END,
    png_of_other_bytes=PNG[:100] + b'other' + PNG[105:],
    webp=_picture('WEBP')[:-100],
    webp_of_zeros=_picture('WEBP')[:-100] + bytes(100),
    bmp=_picture('BMP')[:-100],
    tiff=_picture('TIFF', compression='tiff_lzw')[:-100],
    gif=_picture('GIF', mode='P')[:-100],
    huge_jpeg=_claiming(JPEG, 65000, 65000),
    huge_png=_claiming(PNG, 100000, 100000),
    flat=_claiming(JPEG, 0, 40),
    pipe=os.mkfifo,
    folder=os.mkdir,
    device=lambda path: os.symlink('/dev/zero', path),
    circle=lambda path: os.symlink(path, path),
    missing=None)

FLAGS = 'color', 'grayscale', 'unchanged', 'color_ignore_orientation', 'grayscale_ignore_orientation'


@pytest.mark.parametrize('kind', WHOLE)
def test_whole_image_has_the_pixels_of_mmcv(kind, tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(WHOLE[kind])
    for flag in FLAGS:
        for backend in ('cv2', 'pillow'):
            load = LoadImageFromFile(color_type=flag, imdecode_backend=backend)
            image, expected = load.transform(dict(img_path=str(path)))['img'], mmcv.imread(
                str(path), flag, backend=backend)
            assert np.array_equal(image, expected) and image.dtype == expected.dtype


@pytest.mark.parametrize('kind', BROKEN)
def test_broken_image_is_named_or_passed_over(kind, tmp_path):
    path = tmp_path / 'image'
    if callable(BROKEN[kind]):
        BROKEN[kind](path)
    elif BROKEN[kind] is not None:
        path.write_bytes(BROKEN[kind])
    given = dict(img_path=str(path), height=40, width=60)
    with pytest.raises(BadImageError) as error:
        LoadImageFromFile().transform(dict(given))
    assert str(path) in str(error.value) and '--bad-images skip' in str(error.value)
    assert len(str(error.value).splitlines()) == 1 and 'Error: ' not in str(error.value)
    assert LoadImageFromFile(on_error='skip').transform(dict(given)) is None
    blank = LoadImageFromFile(on_error='blank').transform(dict(given))
    assert blank['img'].shape == (40, 60, 3) and not blank['img'].any() and blank['ori_shape'] == (40, 60)


@pytest.mark.parametrize('name, pattern, count', [('coco_mini', '*2017/*.jpg', 160), ('bccd_voc', '*/*.jpg', 364),
                                                  ('rbc_roboflow', '*/*.jpg', 240)])
def test_real_images_pass(name, pattern, count):
    paths = sorted(shared_data(name).glob(pattern))
    assert len(paths) == count
    for path in paths:
        image = LoadImageFromFile().transform(dict(img_path=str(path)))['img']
        assert np.array_equal(image, mmcv.imread(str(path)))


def test_bad_image_stops_a_run_with_its_name_alone(tiny_config, data, tmp_path):
    bad = sorted((data / 'train2017').iterdir())[2]
    bad.write_bytes(b'')
    with pytest.raises(SystemExit) as error:
        training.train([str(tiny_config), '--data-root', str(data), '--work-dir', str(tmp_path / 'work')])
    assert str(error.value).startswith('error: ') and f'{bad}: the file is empty' in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_bad_images_skip_trains_without_them_and_counts_them_in_evaluation(cfg, data):
    spoiled = sorted((data / 'train2017').iterdir())[0], sorted((data / 'val2017').iterdir())[0]
    for path in spoiled:
        path.write_bytes(path.read_bytes()[:-300])
    guard_images(cfg, 'skip')
    datasets = [
        DATASETS.build(dict(cfg[f'{loader}_dataloader'].dataset, _scope_='mmdet')) for loader in ('train', 'val')
    ]
    train, val = [[dataset[index] for index in range(len(dataset))] for dataset in datasets]
    assert str(spoiled[0]) not in {item['data_samples'].img_path for item in train}
    black = [item for item in val if item['data_samples'].img_path == str(spoiled[1])]
    assert len(val) == 4 and len(black) == 1 and not black[0]['inputs'].any()
