"""How well networks fit a few real images: each trains a Faster R-CNN on 16 images of COCO and is tested on the same.

A network that cannot fit what it sees is broken, whatever its speed; a handful of images tells in minutes.
"""
import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / 'configs' / 'detection' / 'faster_rcnn_odconv_r18.py'
NUM_IMAGES = 16
ITERATIONS = 200

NETWORKS = {
    'resnet18': "dict(_delete_=True, type='ResNet', depth=18, norm_eval=False)",
    'odconv_r18': "dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=18)",
    'odconv4x_r18': "dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=18, kernel_num=4)",
}

CONFIG = """
_base_ = {base!r}
# slim heads and few proposals: the same for all networks, for speed
model = dict(
    backbone={backbone},
    neck=dict(out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=128), bbox_head=dict(in_channels=128, fc_out_channels=512)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(max_per_img=300)))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
dataset = dict(ann_file={annotations!r}, data_prefix=dict(img='train2017/'), pipeline=pipeline)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    batch_sampler=None,
    dataset=dataset)
val_dataloader = dict(num_workers=1, dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={annotations!r})
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={iterations}, val_interval={iterations})
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max={iterations}, by_epoch=False, begin=0, end={iterations})
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval={iterations}))
log_processor = dict(by_epoch=False, window_size=10)
custom_hooks = {hooks}
"""

# From random weights the papers of dynamic convolution anneal the temperature; here over the first half, in epochs of
# four iterations.
ANNEALING = [dict(type='mmbackbones.TemperatureAnnealingHook', epochs=ITERATIONS // 2 // 4)]


def take_images(data_root: Path, target: Path) -> None:
    """Write the annotations of the first images that have objects."""
    coco = json.loads((data_root / 'annotations' / 'instances_train2017.json').read_text())
    with_objects = {each['image_id'] for each in coco['annotations'] if not each['iscrowd']}
    coco['images'] = [image for image in coco['images'] if image['id'] in with_objects][:NUM_IMAGES]
    kept = {image['id'] for image in coco['images']}
    coco['annotations'] = [each for each in coco['annotations'] if each['image_id'] in kept]
    target.write_text(json.dumps(coco))


def fit(network: str, data_root: Path, work_dir: Path) -> dict:
    """Train and evaluate one network by ``tools/train.py``.

    Returns:
        dict: first and last loss (means of 10 iterations), AP and AP50 on the training images, minutes.
    """
    annotations = work_dir / 'sixteen.json'
    take_images(data_root, annotations)
    config = work_dir / f'{network}.py'
    config.write_text(
        CONFIG.format(
            base=str(BASE),
            backbone=NETWORKS[network],
            annotations=str(annotations.resolve()),
            iterations=ITERATIONS,
            hooks=ANNEALING if network.startswith('odconv') else []))
    start = time.time()
    with subprocess.Popen([
            sys.executable, ROOT / 'tools' / 'train.py', config, '--work-dir', work_dir / network, '--data-root',
            data_root, '--backbone-weights', 'none'
    ], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # yapf: disable
        log = []
        for line in process.stdout:
            log.append(line)
            if 'Iter(train)' in line:
                print(line.split(' - ')[-1].strip(), flush=True)
    if process.returncode:
        sys.exit(''.join(log[-30:]) + f'error: the training of {network} stopped with status {process.returncode}')
    text = ''.join(log)
    losses = [float(value) for value in re.findall(r'Iter\(train\).*? loss: ([\d.]+)', text)]
    ap, ap50 = (float(re.findall(rf'coco/bbox_{name}: ([\d.]+)', text)[-1]) for name in ('mAP', 'mAP_50'))
    return dict(first=losses[0], last=losses[-1], ap=ap, ap50=ap50, minutes=(time.time() - start) / 60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='Example: python benchmarks/fit_coco_mini.py --data-root ../shared/data/coco_mini resnet18 odconv_r18')
    parser.add_argument('networks', nargs='*', default=['resnet18', 'odconv_r18'], help=f'among {", ".join(NETWORKS)}')
    parser.add_argument('--data-root', type=Path, required=True, help='a COCO data set in its usual layout')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/fit_coco_mini'))
    args = parser.parse_args()
    unknown = set(args.networks) - set(NETWORKS)
    if unknown:
        parser.error(f'no network {", ".join(sorted(unknown))}; choose among {", ".join(NETWORKS)}')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    results = {network: fit(network, args.data_root.resolve(), args.work_dir) for network in args.networks}
    print(f'\n{"network":14}{"first loss":>11}{"last loss":>11}{"AP":>8}{"AP50":>8}{"minutes":>9}')
    for network, result in results.items():
        print('{:14}{first:11.2f}{last:11.2f}{ap:8.3f}{ap50:8.3f}{minutes:9.1f}'.format(network, **result))


if __name__ == '__main__':
    main()
