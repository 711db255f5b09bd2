# Mask R-CNN with FPN on ODConv-ResNet50, four kernels.
#
# tools/dist_train.sh configs/detection/mask_rcnn_odconv4x_r50.py 8 --backbone-weights odconv4x_r50.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 40.2, mask AP 36.1 (object_detection/README.md of the release).
# Parameters: 109.51M; the published 111.56M count a classifier of 2.05M that no detector uses.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "ResNet50 + ODConv (4x)"; they load as they are.
_base_ = './mask_rcnn_odconv_r50.py'

model = dict(backbone=dict(kernel_num=4))
