# Mask R-CNN with FPN on Swin-S, 1x, many scales.
#
# tools/dist_train.sh configs/detection/mask_rcnn_swin_s.py 8 --backbone-weights swin_small_patch4_window7_224.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. The published one is that of 36 epochs. Parameters: 69.11M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = './mask_rcnn_swin_t.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.2))
