# Mask R-CNN with FPN on Swin-S, 3x, many scales.
#
# tools/dist_train.sh configs/detection/mask_rcnn_swin_s_ms_3x.py 8 --backbone-weights swin_small_patch4_window7_224.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 36 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 48.5, mask AP 43.3 (README of Swin-Transformer-Object-Detection). Parameters: 69.11M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = './mask_rcnn_swin_t_ms_3x.py'

model = dict(backbone=dict(arch='small'))
