# Mask R-CNN with FPN on Swin-B, 1x, many scales, learning rates that decay towards the input.
#
# tools/dist_train.sh configs/detection/mask_rcnn_swin_b.py 8 --backbone-weights swin_base_patch4_window7_224_22k.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Drop path 0.3 is that of the published Cascade Mask R-CNN; decay 0.9 is a choice.
# Parameters: 107.14M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = './mask_rcnn_swin_t.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.3), neck=dict(in_channels=[128, 256, 512, 1024]))
# the stem has about 0.06 of the full learning rate
optim_wrapper = dict(
    constructor='mmbackbones.LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.9))
