# YOLOv3 on CoAtNet-0, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_coatnet0.py 8 --backbone-weights coatnet0.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 44.87M.
# Without --backbone-weights everything trains from random weights. Its authors have published none; those that
# configs/classification/coatnet0_8xb128_in1k.py trains load as they are.
_base_ = '../_base_/yolov3_adamw.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.CoAtNet', arch='0', drop_path_rate=0.2, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[768, 384, 192]))
# what --backbone-weights FILE sets besides the weights: eight images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
