# Mask R-CNN with FPN on CoAtNet-2, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_coatnet2.py 8 --backbone-weights coatnet2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 93.00M.
# The bias of an attention at 800 x 1333 takes 0.8 GB in float32: blocks are recomputed in the backward pass (with_cp),
# and --amp halves it.
# Without --backbone-weights everything trains from random weights. Its authors have published none; those that
# configs/classification/coatnet2_8xb128_in1k.py trains load as they are.
_base_ = './mask_rcnn_coatnet0.py'

model = dict(backbone=dict(arch='2', drop_path_rate=0.5), neck=dict(in_channels=[128, 256, 512, 1024]))
