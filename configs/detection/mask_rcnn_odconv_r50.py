# Mask R-CNN with FPN on ODConv-ResNet50, one kernel.
#
# tools/dist_train.sh configs/detection/mask_rcnn_odconv_r50.py 8 --backbone-weights odconv_r50.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: 1.9 box AP above the static ResNet50, as the paper states; the release lists no detector with one kernel
# (its static one has box AP 38.2, mask AP 34.6). Parameters: 47.47M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "ResNet50 + ODConv (1x)"; they load as they are.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=50),
    neck=dict(in_channels=[256, 512, 1024, 2048]))
# what --backbone-weights FILE sets besides the weights, as published
pretrained_backbone = dict(frozen_stages=1, norm_eval=True)
