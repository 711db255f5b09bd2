# YOLOv3 on Swin-T, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_swin_t.py 8 --backbone-weights swin_tiny_patch4_window7_224.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 48.71M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of microsoft/Swin-Transformer, load as they are; they publish them without a norm for the finer maps, which start as
# new.
_base_ = '../_base_/yolov3_adamw.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.SwinTransformer', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[768, 384, 192]))
