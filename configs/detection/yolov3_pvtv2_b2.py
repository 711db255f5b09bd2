# YOLOv3 on PVTv2-B2, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_pvtv2_b2.py 8 --backbone-weights pvt_v2_b2.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 45.89M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = '../_base_/yolov3_adamw.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.PyramidVisionTransformerV2', arch='b2', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 320, 128]))
