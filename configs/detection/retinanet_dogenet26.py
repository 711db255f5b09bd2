# RetinaNet with FPN on DogeNet-26, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_dogenet26.py 8 --backbone-weights none
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.01 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: no result is published. Parameters: 10.51M.
# Everything trains from random weights: no pretrained ones are published.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

# Strides 8 and 16; convolutions behind the neck's last map give strides 32, 64 and 128.
model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.DogeNet', arch='26', out_indices=(1, 3)),
    neck=dict(in_channels=[192, 512], start_level=0, add_extra_convs='on_output'))
