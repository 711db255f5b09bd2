# Faster R-CNN with FPN on ODConv-ResNet18, one kernel.
#
# tools/dist_train.sh configs/detection/faster_rcnn_odconv_r18.py 8 --backbone-weights odconv_r18.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: no result is published. Parameters: 28.94M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "ResNet18 + ODConv (1x)"; they load as they are.
_base_ = './faster_rcnn_odconv_r50.py'

model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
