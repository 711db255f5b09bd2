# RetinaNet with FPN on Swin-T, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_swin_t.py 8 --backbone-weights swin_tiny_patch4_window7_224.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 38.46M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/adamw_1x.py',
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmbackbones.SwinTransformer', arch='tiny', drop_path_rate=0.1, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768], start_level=0))
