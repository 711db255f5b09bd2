# Faster R-CNN with FPN on the static MobileNetV2 1.0x: the baseline of the ODConv detectors.
#
# tools/dist_train.sh configs/detection/faster_rcnn_mobilenetv2.py 8 --backbone-weights open-mmlab://mmdet/mobilenet_v2
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 31.8 (object_detection/README.md of the release).
# Parameters: 19.85M; the published 21.13M count a classifier of 1.28M that no detector uses.
# Without --backbone-weights everything trains from random weights. open-mmlab://mmdet/mobilenet_v2 are MMDetection's
# ImageNet weights, which MMEngine downloads; the authors' own have other names for the layers.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV2', out_indices=(1, 2, 4, 7)),
    neck=dict(in_channels=[24, 32, 96, 1280]))
# what --backbone-weights sets besides the weights; 2 freezes what 1 does in the release: all up to the first map
pretrained_backbone = dict(frozen_stages=2, norm_eval=True)
