"""Backbones x detectors: each pair is swapped, checked on the meta device, takes one training step and infers.

    python benchmarks/swap_matrix.py
    python benchmarks/swap_matrix.py --detectors ssd yolox --backbones swin_t

Prints a Markdown table and ends with status 1 where a pair fails. On the CPU, images of noise, 128 pixels; two boxes
and masks each. Everything takes some twenty minutes on one core.
"""
import argparse
import logging
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData

from mmbackbones.check import check_config
from mmbackbones.swap import load_config, swap_backbone

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests'))
from test_configs import build, images, scope_of  # noqa: E402

BACKBONES = ('swin_t', 'odconv_r50', 'pvt_s', 'dogenet26')
DETECTORS = {
    'Cascade R-CNN': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco',
    'FCOS': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco',
    'ATSS': 'atss/atss_r50_fpn_1x_coco',
    'GFL': 'gfl/gfl_r50_fpn_1x_coco',
    'VFNet': 'vfnet/vfnet_r50_fpn_1x_coco',
    'TOOD': 'tood/tood_r50_fpn_1x_coco',
    'PAA': 'paa/paa_r50_fpn_1x_coco',
    'RepPoints': 'reppoints/reppoints-moment_r50_fpn_1x_coco',
    'Sparse R-CNN': 'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco',
    'QueryInst': 'queryinst/queryinst_r50_fpn_1x_coco',
    'Deformable DETR': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
    'DINO': 'dino/dino-4scale_r50_8xb2-12e_coco',
    'Conditional DETR': 'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
    'Mask2Former': 'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
    'SOLOv2': 'solov2/solov2_r50_fpn_1x_coco',
    'CondInst': 'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance',
    'HTC': 'htc/htc_r50_fpn_1x_coco',
    'PointRend': 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco',
    'RTMDet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco',
    'YOLOX': 'yolox/yolox_tiny_8xb8-300e_coco',
    'SSD': 'ssd/ssd300_coco',
    'CenterNet': 'centernet/centernet_r18_8xb16-crop512-140e_coco',
}


def reduce_boxes(node) -> None:
    """Fewer proposals and samples, for speed; the shapes stay."""
    if isinstance(node, dict):
        for key, most in (('max_per_img', 50), ('nms_pre', 200)):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)
        if node.get('type') == 'RandomSampler':
            node['num'] = min(node['num'], 32)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        reduce_boxes(child)


def try_pair(config: str, name: str) -> str:
    """Swap, check, one training step, inference; returns the million parameters of the model."""
    torch.manual_seed(0)
    cfg, _ = swap_backbone(load_config(f'mmdet::{config}.py'), name)
    problems = check_config(cfg)
    if problems:
        raise ValueError(problems[0])
    reduce_boxes(cfg.model)
    size = 300 if config.startswith('ssd') else 128
    data = images(cfg, size)
    for sample in data['data_samples']:  # HTC learns a map of classes, too
        if 'rtmdet' in config:
            del sample.gt_instances.masks  # it takes them for bitmaps, not for MMDetection's masks
        sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, size, size, dtype=torch.long))
    with scope_of(cfg):
        model = revert_sync_batchnorm(build(cfg)).train()  # synchronised ones need a GPU
        for part, module in model.named_children():
            if part != 'backbone' and hasattr(module, 'init_weights'):
                module.init_weights()
        loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
        if not loss.isfinite():
            raise ValueError(f'the loss is {loss.item()}')
        loss.backward()
        idle = [key for key, value in model.backbone.named_parameters() if value.requires_grad and value.grad is None]
        if idle:
            raise ValueError(f'no gradient in the backbone: {idle[:3]}')
        model.eval()
        with torch.no_grad():
            results = model.test_step(images(cfg, size))
        if len(results) != 2:
            raise ValueError(f'{len(results)} results for 2 images')
    return f'{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--detectors', nargs='+', default=[], metavar='TEXT', help='only those whose config has this')
    parser.add_argument('--backbones', nargs='+', default=BACKBONES, metavar='NAME', help='as in `mmbackbones list`')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    print(f'Million parameters of each model that trains one step and infers, on torch {torch.__version__}\n')
    print('| detector | ' + ' | '.join(args.backbones) + ' | s |')
    print('|-|' + '-|' * (len(args.backbones) + 1))
    failures = []
    for title, config in DETECTORS.items():
        if args.detectors and not any(text.lower() in config for text in args.detectors):
            continue
        started, cells = time.perf_counter(), []
        for name in args.backbones:
            try:
                cells.append(try_pair(config, name))
            except Exception:  # each pair gets its turn
                cells.append('fails')
                failures.append(f'{title} on {name}:\n{traceback.format_exc()}')
        print(f'| {title} | ' + ' | '.join(cells) + f' | {time.perf_counter() - started:.0f} |', flush=True)
    print('\n' + '\n'.join(failures))
    return int(bool(failures))


if __name__ == '__main__':
    sys.exit(main())
