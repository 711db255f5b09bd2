# Mask R-CNN with FPN on Conv2Former-N, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_conv2former_n.py 8 --backbone-weights conv2former_n.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 33.21M.
# The authors have released no code for detection: optimizer and schedule are those of Swin's detectors.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of HVision-NKU/Conv2Former, load as they are.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/adamw_1x.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.Conv2Former', arch='nano', drop_path_rate=0.1),
    neck=dict(in_channels=[64, 128, 256, 512]))
# what --backbone-weights FILE sets besides the weights: two images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
