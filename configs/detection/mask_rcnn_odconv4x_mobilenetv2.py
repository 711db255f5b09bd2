# Mask R-CNN with FPN on ODConv-MobileNetV2 1.0x, four kernels.
#
# tools/dist_train.sh configs/detection/mask_rcnn_odconv4x_mobilenetv2.py 8 --backbone-weights odconv4x_mbv2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 36.0, mask AP 33.0 (object_detection/README.md of the release).
# Parameters: 30.50M; the published 31.80M count a classifier of 1.28M that no detector uses, and 0.02M
# that its code does not have.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "MobileNetV2 (1.0x) + ODConv (4x)"; they load as they are.
_base_ = './mask_rcnn_odconv_mobilenetv2.py'

model = dict(backbone=dict(kernel_num=4))
