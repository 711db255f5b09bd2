"""The generated data set: valid COCO, true to its pictures, repeatable, and careful with other people's files."""
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmbackbones.datasets import METAINFO, make_shapes
from mmbackbones.datasets.shapes import _segmentation

ARGUMENTS = dict(num_train=24, num_val=8, image_size=96, seed=3)
SPLITS = ('train2017', 'val2017')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes'
    assert make_shapes(root, **ARGUMENTS)
    return root


@pytest.fixture(params=SPLITS)
def coco(request, shapes):
    return COCO(shapes / 'annotations' / f'instances_{request.param}.json')


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_boxes_and_areas_are_those_of_the_masks(coco):
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        x, y, width, height = cv2.boundingRect(mask)
        assert annotation['bbox'] == [x, y, width, height]  # so it lies inside the image as well
        assert annotation['area'] == mask.sum() > 0
    assert set(coco.getCatIds()) == {annotation['category_id'] for annotation in coco.anns.values()}
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(METAINFO['classes'])


def test_masks_share_no_pixel_and_some_objects_are_partly_hidden(coco):
    touching = 0
    for image_id in coco.getImgIds():
        masks = [coco.annToMask(annotation) for annotation in coco.imgToAnns[image_id]]
        assert np.sum(masks, axis=0).max(initial=0) <= 1
        grown = [cv2.dilate(mask, np.ones((3, 3))) for mask in masks]
        touching += np.sum(grown, axis=0).max(initial=0) > 1
    assert touching


def test_every_split_has_crowds_and_images_without_objects(coco, shapes):
    crowds = [annotation for annotation in coco.anns.values() if annotation['iscrowd']]
    assert crowds and all(isinstance(crowd['segmentation'], dict) for crowd in crowds)
    assert all(isinstance(each['segmentation'], list) for each in coco.anns.values() if not each['iscrowd'])
    assert any(not coco.getAnnIds(image_id) for image_id in coco.getImgIds())


def test_a_mask_covers_what_was_drawn(shapes):
    """Inside and outside of a mask the picture differs: across its border more than along it."""
    coco = COCO(shapes / 'annotations' / 'instances_train2017.json')
    differences = []
    for annotation in coco.anns.values():
        if not annotation['iscrowd']:
            file_name = coco.imgs[annotation['image_id']]['file_name']
            image = cv2.imread(str(shapes / 'train2017' / file_name)).astype(float)
            mask = coco.annToMask(annotation)
            rim = cv2.dilate(mask, np.ones((7, 7))) - cv2.dilate(mask, np.ones((3, 3)))
            inside = cv2.erode(mask, np.ones((3, 3)))
            differences.append(np.linalg.norm(image[rim > 0].mean(0) - image[inside > 0].mean(0)))
    assert np.mean(np.array(differences) > 50) > 0.9


def test_images_are_on_disk_in_the_stated_size(coco, shapes, request):
    split = request.node.callspec.params['coco']
    assert len(coco.imgs) == ARGUMENTS[f'num_{split.removesuffix("2017")}']
    for image in coco.imgs.values():
        assert cv2.imread(str(shapes / split / image['file_name'])).shape == (image['height'], image['width'], 3)
        assert image['height'] == image['width'] == ARGUMENTS['image_size']


def test_the_same_seed_gives_the_same_files_and_another_one_does_not(shapes, tmp_path):
    make_shapes(tmp_path / 'same', **ARGUMENTS)
    make_shapes(tmp_path / 'other', **dict(ARGUMENTS, seed=4))
    assert contents(tmp_path / 'same') == contents(shapes)
    first = f'train2017/{1:012d}.jpg'
    assert (tmp_path / 'other' / first).read_bytes() != (shapes / first).read_bytes()


def test_a_complete_data_set_is_kept_and_another_or_broken_one_made_again(tmp_path):
    root = tmp_path / 'shapes'
    assert make_shapes(root, 4, 2, 64)
    whole = contents(root)
    assert not make_shapes(root, 4, 2, 64)

    (root / 'mine.txt').write_text('stays')
    assert make_shapes(root, 2, 1, 64)
    assert len(list((root / 'train2017').iterdir())) == 2
    assert make_shapes(root, 4, 2, 64)
    (root / 'val2017' / f'{1_000_001:012d}.jpg').unlink()
    assert make_shapes(root, 4, 2, 64)
    record = json.loads((root / 'shapes.json').read_text())
    (root / 'shapes.json').write_text(json.dumps(dict(record, complete=False)))  # as after an interruption
    assert make_shapes(root, 4, 2, 64)

    assert (root / 'mine.txt').read_text() == 'stays'
    (root / 'mine.txt').unlink()
    assert contents(root) == whole


@pytest.mark.parametrize('name, content, error', [
    ('photo.jpg', 'mine', FileExistsError),
    ('shapes.json', '[]', ValueError),
    ('shapes.json', '{"num_train": 3', ValueError),
])
def test_a_folder_of_someone_else_is_left_alone(tmp_path, name, content, error):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match='another folder'):
        make_shapes(tmp_path, 1, 1, 64)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize('arguments', [dict(num_train=0), dict(num_val=0), dict(image_size=63), dict(seed=-1)])
def test_arguments_out_of_range_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match=f'{next(iter(arguments))} is .* or more'):
        make_shapes(tmp_path / 'shapes', **arguments)
    assert not (tmp_path / 'shapes').exists()


def test_segmentations_give_back_any_mask():
    """Holes, several parts and pixels that touch at a corner only."""
    rng = np.random.default_rng(0)
    coco = COCO()
    coco.imgs = {1: dict(height=12, width=15)}
    for density in (0.2, 0.5, 0.8):
        for _ in range(20):
            mask = rng.random((12, 15)) < density
            mask[0, 0] = True
            assert np.array_equal(coco.annToMask(dict(image_id=1, segmentation=_segmentation(mask, False))), mask)
