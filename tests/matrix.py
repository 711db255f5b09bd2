"""Which backbones are put into which detectors, and what each pair must do: swap, fit, train a step, infer."""
import numpy as np
import torch
from cases import ROWS
from helpers import build, images, scope_of
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData

from mmbackbones.config.check import check_config
from mmbackbones.config.meta_run import build as build_on_meta
from mmbackbones.swap import load_config, swap_backbone

# every family meets these
COMMON = {
    'Faster R-CNN': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
    'Mask R-CNN': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
    'RetinaNet': 'retinanet/retinanet_r50_fpn_1x_coco',
    'YOLOv3': 'yolo/yolov3_d53_8xb8-ms-608-273e_coco',
}

# BACKBONES meet these: other necks, heads and assigners
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
    'Faster R-CNN, PAFPN': 'pafpn/faster-rcnn_r50_pafpn_1x_coco',
    'RetinaNet, NAS-FPN': 'nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco',
    'ATSS, DyHead': 'dyhead/atss_r50_fpn_dyhead_1x_coco',
    'Libra R-CNN': 'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco',
    'Faster R-CNN, C4': 'faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco',
}
BACKBONES = ('swin_t', 'odconv_r50', 'pvt_s', 'dogenet26', 'mobilenetv3_large_100')

# pixels, where 64 are too few: SSD's last map is one position of the whole image
SIZES = {'SSD': 300}

# what is not asked to infer, because it does not with MMDetection's own backbone either
NO_INFERENCE = {
    'SSD': "MMDetection's `SSDHead` lacks the `loss_cls` that its own inference reads",
    'PointRend': 'where untrained networks find nothing in an image, which some do, its point head fails',
    'QueryInst': 'untrained, its boxes lie beyond the image, and MMDetection cannot paste masks there on the CPU',
}

# pairs that cannot be, and what the refusal says
REFUSED = {('CenterNet', 'dogenet26'): 'CenterNet takes a map at stride 32, and dogenet26 ends at 16'}


def smallest_of_each_family() -> tuple:
    """The cheapest row of each family of the catalogue."""
    rows = sorted(ROWS.values(), key=lambda row: row.macs / row.input_size**2)
    smallest = {}
    for row in rows:
        smallest.setdefault(row.family, row.name)
    return tuple(name for name in ROWS if name in smallest.values())


def reduce(node, key: str = '') -> None:
    """Fewer proposals, queries and samples, shorter transformers and narrower heads, for speed, and no weights from the
    network; what backbone and neck hand on stays.
    """
    if isinstance(node, dict):
        if key in ('encoder', 'decoder', 'transformer_decoder') and 'num_layers' in node:
            node['num_layers'] = 2
        if key == 'bbox_head' and 'fc_out_channels' in node:
            node['fc_out_channels'] = 64
        for part, name, most in (('rpn', 'max_per_img', 20), ('rpn', 'nms_pre', 200), ('rcnn', 'max_per_img', 5)):
            if key.startswith(part) and isinstance(node.get(name), int):
                node[name] = min(node[name], most)
        if key == '' and 'num_queries' in node:
            node['num_queries'] = 50
        if 'num_grids' in node:  # of SOLOv2
            node['num_grids'] = [12, 10, 8, 6, 4]
        if node.get('type') == 'RandomSampler':
            node['num'] = min(node['num'], 32)
        if node.get('batch_augments'):  # Mask2Former pads every image to 1024 pixels
            node['batch_augments'] = None
        if isinstance(node.get('init_cfg'), dict) and node['init_cfg'].get('type') == 'Pretrained':
            node['init_cfg'] = None  # of the last stage of ResNet, which is the head's in Faster R-CNN C4
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, child in items:
        reduce(child, name if isinstance(node, dict) else key)


def detector_images(cfg, detector: str, size: int) -> dict:
    """Two images of noise with what some detectors ask for besides boxes and masks."""
    data = images(cfg, size)
    for sample in data['data_samples']:
        if detector == 'RTMDet':
            del sample.gt_instances.masks  # it takes them for bitmaps, not for MMDetection's masks
        sample.set_metainfo(dict(border=np.zeros(4)))  # CenterNet's test pipeline tells what it has padded
        sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, size, size, dtype=torch.long))  # HTC's third task
    return data


def swapped(detector: str, name: str) -> Config:
    """The config of a detector of :data:`COMMON` or :data:`DETECTORS` with the backbone of a catalogue row."""
    return swap_backbone(load_config(f'mmdet::{(COMMON | DETECTORS)[detector]}.py'), name)[0]


def millions(detector: str, name: str) -> float:
    """Millions of parameters of that model."""
    cfg = swapped(detector, name)
    return sum(parameter.numel() for parameter in build_on_meta(cfg, cfg.model).parameters()) / 1e6


def train_and_infer(detector: str, name: str) -> None:
    """Put a backbone into a detector; follow it on the meta device, train one step, infer. Raises where that fails.

    Args:
        detector: a key of :data:`COMMON` or :data:`DETECTORS`.
        name: of a catalogue row.
    """
    torch.manual_seed(0)
    cfg = swapped(detector, name)
    assert check_config(cfg) == []
    reduce(cfg.model)
    size = SIZES.get(detector, 64)
    MessageHub.get_current_instance().update_info('epoch', 0)  # which TOOD asks for; a training loop tells it
    with scope_of(cfg):
        model = revert_sync_batchnorm(build(cfg)).train()  # synchronised ones need a GPU
        model.init_weights()  # without it YOLOv3's head overflows, and some tables hold whatever was in memory
        data = model.data_preprocessor(detector_images(cfg, detector, size), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        assert loss.isfinite(), f'the loss is {loss.item()}'
        loss.backward()
        idle = [key for key, value in model.backbone.named_parameters() if value.requires_grad and value.grad is None]
        assert not idle, f'no gradient in the backbone: {idle[:3]}'
        if detector not in NO_INFERENCE:
            model.eval()
            with torch.no_grad():
                assert len(model.test_step(detector_images(cfg, detector, size))) == 2
