# Faster R-CNN with FPN on ODConv-MobileNetV2 1.0x, one kernel.
#
# tools/dist_train.sh configs/detection/faster_rcnn_odconv_mobilenetv2.py 8 --backbone-weights odconv_mbv2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: no result is published (static 31.8, four kernels 35.5 box AP). Parameters: 21.29M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "MobileNetV2 (1.0x) + ODConv (1x)"; they load as they are.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.ODConvMobileNetV2'), neck=dict(in_channels=[24, 32, 96, 1280]))
# what --backbone-weights FILE sets besides the weights, as published
pretrained_backbone = dict(frozen_stages=1, norm_eval=True)
