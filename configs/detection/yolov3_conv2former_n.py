# YOLOv3 on Conv2Former-N, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_conv2former_n.py 8 --backbone-weights conv2former_n.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 34.07M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in the README
# of HVision-NKU/Conv2Former, load as they are.
_base_ = '../_base_/yolov3_adamw.py'

model = dict(
    backbone=dict(
        _delete_=True, type='mmbackbones.Conv2Former', arch='nano', drop_path_rate=0.1, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 256, 128]))
# what --backbone-weights FILE sets besides the weights: eight images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
