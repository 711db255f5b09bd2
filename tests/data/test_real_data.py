"""Real images, run where they are.

COCO: training in two processes, evaluation, and the evaluation itself. CIFAR-10: reading class folders, training.
"""
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, tool
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmbackbones import training
from mmbackbones.cli import main
from mmbackbones.training.options import move_data_root

# The smallest that shows it: images at 128 pixels, a ResNet-18 with masks on narrow heads.
CONFIG = f"""
_base_ = '{ROOT / 'configs' / 'detection' / 'mask_rcnn_odconv_r50.py'}'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='PackDetInputs')
]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(indices=24, pipeline=train_pipeline))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(indices=8, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3), clip_grad=dict(max_norm=10))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5)]
default_hooks = dict(logger=dict(interval=1))
# norm_eval: from random weights, batch norms over two images amplify the last bit of float32 into another run
model = dict(
    backbone=dict(depth=18, norm_eval=True),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=128),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(in_channels=32, conv_out_channels=32)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=300, max_per_img=100), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(score_thr=0., max_per_img=20)))
"""


@pytest.fixture
def annotations(coco_mini):
    return coco_mini / 'annotations' / 'instances_val2017.json'


def metric_of(annotations, predictions) -> dict:
    """MMDetection's evaluation of ``image id -> list of (category id, box as x y w h, RLE, score)``."""
    truth = COCO(annotations)
    classes = [category['name'] for category in truth.loadCats(sorted(truth.cats))]
    label_of = {category: label for label, category in enumerate(sorted(truth.cats))}
    metric = CocoMetric(ann_file=str(annotations), metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=classes)
    for image_id, found in predictions.items():
        boxes = np.array([box for _, box, _, _ in found], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = dict(
            bboxes=torch.from_numpy(boxes),
            labels=torch.tensor([label_of[category] for category, _, _, _ in found], dtype=torch.long),
            scores=torch.tensor([score for _, _, _, score in found], dtype=torch.float64),
            masks=[mask for _, _, mask, _ in found])
        image = truth.imgs[image_id]
        metric.process({}, [
            dict(pred_instances=instances, img_id=image_id, ori_shape=(image['height'], image['width']))
        ])  # yapf: disable
    return metric.evaluate(size=len(predictions))


def run_lengths(truth, annotation) -> dict:
    """A mask as JSON can hold it."""
    mask = truth.annToRLE(annotation)
    return dict(mask, counts=mask['counts'].decode() if isinstance(mask['counts'], bytes) else mask['counts'])


def in_process(program, *args, work_dir: Path) -> str:
    """Run ``training.train`` or ``training.test`` here, where what it imports is there already; gives its log."""
    program([*map(str, args), '--work-dir', str(work_dir)])
    return max(work_dir.glob('*/*.log'), key=os.path.getmtime).read_text()


def losses_of(log: str) -> list:
    return [float(value) for value in re.findall(r'Epoch\(train\).*? loss: ([\d.]+)', log)]


def truth_as_predictions(annotations):
    truth = COCO(annotations)
    return {
        image_id: [(each['category_id'], each['bbox'], run_lengths(truth, each), 1.0)
                   for each in truth.imgToAnns[image_id] if not each['iscrowd']]
        for image_id in truth.imgs
    }


def test_ground_truth_as_detections_has_an_ap_of_one(annotations):
    scores = metric_of(annotations, truth_as_predictions(annotations))
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == 1.0


def test_ap_of_fixed_detections_is_that_of_pycocotools(annotations, tmp_path):
    rng = np.random.default_rng(0)
    categories = sorted(COCO(annotations).cats)
    predictions = {}
    for image_id, found in truth_as_predictions(annotations).items():
        predictions[image_id] = []
        for category, box, mask, _ in found:
            if rng.random() < 0.2:  # missed
                continue
            if rng.random() < 0.2:  # confused
                category = int(rng.choice(categories))
            box = [float(value) for value in np.array(box) * rng.uniform(0.85, 1.15, 4)]
            predictions[image_id].append((category, box, mask, float(rng.random())))
    ours = metric_of(annotations, predictions)
    truth = COCO(annotations)
    for kind in ('bbox', 'segm'):
        results = []
        for image_id, found in predictions.items():
            for category, box, mask, score in found:
                shape = dict(bbox=box) if kind == 'bbox' else dict(segmentation=mask)
                results.append(dict(image_id=image_id, category_id=category, score=score, **shape))
        (tmp_path / 'results.json').write_text(json.dumps(results))
        direct = COCOeval(truth, truth.loadRes(str(tmp_path / 'results.json')), kind)
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
        assert 0.05 < direct.stats[0] < 0.95
        for name, value in zip(('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'), direct.stats):
            assert ours[f'coco/{kind}_{name}'] == pytest.approx(value, abs=5.1e-4)


@pytest.mark.slow
def test_two_processes_train_on_real_images_and_evaluate_as_one_does(coco_mini, tmp_path):
    config, checkpoint = tmp_path / 'small.py', tmp_path / 'work' / 'epoch_2.pth'
    config.write_text(CONFIG)
    two, one = tmp_path / 'two', tmp_path / 'one'
    run = tool('dist_train.sh', config, 2, '--data-root', coco_mini, '--work-dir', checkpoint.parent, '--cfg-options',
               f'val_evaluator.outfile_prefix={two}')
    assert run.returncode == 0, run.stdout[-3000:]
    losses = losses_of(run.stdout)
    assert len(losses) == 12 and np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4]), losses

    options = ('--data-root', coco_mini, '--cfg-options', f'test_evaluator.outfile_prefix={one}')
    in_process(training.test, config, checkpoint, *options, work_dir=tmp_path / 'test')
    for kind in ('bbox', 'segm'):
        assert 0 <= float(re.findall(rf'coco/{kind}_mAP: ([\d.]+)', run.stdout)[-1]) <= 1
        found = [json.loads(Path(f'{prefix}.{kind}.json').read_text()) for prefix in (one, two)]
        assert found[0] == found[1] and len({each['image_id'] for each in found[0]}) == 8


@pytest.mark.slow
def test_a_swapped_detector_trains_and_evaluates_by_the_commands_that_swap_prints(coco_mini, tmp_path, monkeypatch,
                                                                                  capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['swap', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'mobilenetv3_large_100']) == 0
    commands = re.findall(r'^python tools/(train|test)\.py (.+)$', capsys.readouterr().out, re.M)
    assert [name for name, _ in commands] == ['train', 'test']
    size = []
    for kind, resize, images in (('train', 2, 16), ('val', 1, 4), ('test', 1, 4)):
        size += [f'{kind}_dataloader.dataset.pipeline.{resize}.scale=(128,128)',
                 f'{kind}_dataloader.dataset.indices={images}', f'{kind}_dataloader.num_workers=0',
                 f'{kind}_dataloader.persistent_workers=False']  # yapf: disable
    short = ('default_hooks.logger.interval=1', 'train_cfg.max_epochs=1', 'param_scheduler.0.end=5',
             'optim_wrapper.clip_grad.max_norm=10', 'model.test_cfg.score_thr=0.001')
    (_, training_), (_, testing) = commands
    work_dir = tmp_path / 'work'
    log = in_process(
        training.train, *training_.split(), '--data-root', coco_mini, '--cfg-options', *size, *short, work_dir=work_dir)
    losses = losses_of(log)
    assert len(losses) == 8 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3]), losses
    config, checkpoint = testing.split()
    checkpoint = work_dir / re.sub(r'epoch_\d+', 'epoch_1', Path(checkpoint).name)  # of the one that was trained here
    log = in_process(
        training.test,
        config,
        checkpoint,
        '--data-root',
        coco_mini,
        '--cfg-options',
        *size,
        short[-1],
        work_dir=tmp_path / 'test')
    assert 0 <= float(re.findall(r'coco/bbox_mAP: ([\d.]+)', log)[-1]) <= 1


@pytest.mark.parametrize('split, augmented', [('train', True), ('val', False)])
def test_class_folders_are_read_with_their_labels_and_the_documents_augmentation(split, augmented, cifar10):
    cfg = Config.fromfile(ROOT / 'configs/classification/conv2former_n_cifar10.py')
    move_data_root(cfg, str(cifar10))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    assert len(dataset) == 40 and dataset.metainfo['classes'] == tuple(sorted(dataset.metainfo['classes']))
    np.random.seed(0)
    for index in range(len(dataset)):
        first, second = dataset[index], dataset[index]
        sample = first['data_samples']
        assert Path(sample.img_path).parent.name == dataset.metainfo['classes'][sample.gt_label.item()]
        assert Path(sample.img_path).parents[1].name == ('train' if augmented else 'test')
        assert first['inputs'].shape == (3, 32, 32) and first['inputs'].dtype == torch.uint8
        assert torch.equal(first['inputs'], second['inputs']) != augmented


@pytest.mark.slow
def test_a_classifier_trains_on_class_folders_and_evaluates(cifar10, tmp_path):
    config = tmp_path / 'small.py'
    config.write_text(f"""
_base_ = '{ROOT / 'configs/classification/conv2former_n_cifar10.py'}'
model = dict(backbone=dict(out_indices=(0, ), drop_path_rate=0.), head=dict(in_channels=64))
train_dataloader = dict(batch_size=10, num_workers=0)
val_dataloader = dict(batch_size=20, num_workers=0)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1))
""")
    work_dir = tmp_path / 'work'
    log = in_process(training.train, config, '--data-root', cifar10, work_dir=work_dir)
    assert len(losses_of(log)) == 8
    options = ('--data-root', cifar10)
    tested = in_process(training.test, config, work_dir / 'epoch_2.pth', *options, work_dir=tmp_path / 'test')
    found, again = (re.findall(r'accuracy/top1: ([\d.]+)', each)[-1] for each in (log, tested))
    assert found == again
