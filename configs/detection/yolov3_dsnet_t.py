# YOLOv3 on DSNet-Tiny, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_dsnet_t.py 8 --backbone-weights DSNet_tiny_pretrained.pdparams
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 31.06M.
# Without --backbone-weights everything trains from random weights. PaddleClas' ImageNet weights
# (ppcls/arch/backbone/model_zoo/dsnet.py there has the address) load as they are.
_base_ = '../_base_/yolov3_adamw.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.DSNet', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 320, 128]))
# what --backbone-weights FILE sets besides the weights: eight images a GPU are too few for batch statistics
pretrained_backbone = dict(norm_eval=True)
