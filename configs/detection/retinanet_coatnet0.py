# RetinaNet with FPN on CoAtNet-0, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_coatnet0.py 8 --backbone-weights coatnet0.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 34.61M.
# The bias of an attention at 800 x 1333 takes 0.8 GB in float32: blocks are recomputed in the backward pass (with_cp),
# and --amp halves it.
# Without --backbone-weights everything trains from random weights. Its authors have published none; those that
# configs/classification/coatnet0_8xb128_in1k.py trains load as they are.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/adamw_1x.py',
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmbackbones.CoAtNet', arch='0', drop_path_rate=0.2, with_cp=True, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 768], start_level=0))
# what --backbone-weights FILE sets besides the weights: two images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
