# Mask R-CNN with FPN on Swin-L, 1x, many scales, learning rates that decay towards the input.
#
# tools/dist_train.sh configs/detection/mask_rcnn_swin_l.py 8 --backbone-weights swin_large_patch4_window7_224_22k.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 215.64M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = './mask_rcnn_swin_b.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=[192, 384, 768, 1536]))
