# Mask R-CNN with FPN on DogeNet-26, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_dogenet26.py 8 --backbone-weights none
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: no result is published. Parameters: 21.62M.
# Everything trains from random weights: no pretrained ones are published.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

# Strides 4, 8 and 16: the last stage has the stride of the one before it, and takes its place. Two convolutions behind
# the neck's last map give strides 32 and 64.
model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.DogeNet', arch='26', out_indices=(0, 1, 3)),
    neck=dict(in_channels=[128, 192, 512], add_extra_convs='on_output'))
