# RetinaNet with FPN on DSNet-Tiny, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_dsnet_t.py 8 --backbone-weights DSNet_tiny_pretrained.pdparams
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 20.27M.
# The authors have released no code for detection: optimizer and schedule are those of Swin's detectors, and the neck is
# an FPN, not the paper's of two streams.
# Without --backbone-weights everything trains from random weights. PaddleClas' ImageNet weights
# (ppcls/arch/backbone/model_zoo/dsnet.py there has the address) load as they are.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/adamw_1x.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.DSNet', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 320, 512], start_level=0))
# what --backbone-weights FILE sets besides the weights: two images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
