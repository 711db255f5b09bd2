# Faster R-CNN with FPN on ODConv-MobileNetV2 1.0x, four kernels.
#
# tools/dist_train.sh configs/detection/faster_rcnn_odconv4x_mobilenetv2.py 8 --backbone-weights odconv4x_mbv2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 35.5 (object_detection/README.md of the release).
# Parameters: 27.86M; the published 29.14M count a classifier of 1.28M that no detector uses.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "MobileNetV2 (1.0x) + ODConv (4x)"; they load as they are.
_base_ = './faster_rcnn_odconv_mobilenetv2.py'

model = dict(backbone=dict(kernel_num=4))
