# Mask R-CNN with FPN on Conv2Former-S, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_conv2former_s.py 8 --backbone-weights conv2former_s.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 68.19M.
# The authors have released no code for detection: optimizer and schedule are those of Swin's detectors.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of HVision-NKU/Conv2Former, load as they are.
_base_ = './mask_rcnn_conv2former_n.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.3), neck=dict(in_channels=[72, 144, 288, 576]))
