# YOLOv3 on DSNet-Small, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_dsnet_s.py 8 --backbone-weights DSNet_small_pretrained.pdparams
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0002 is for; 273 epochs: MMDetection's recipe for
# YOLOv3, with AdamW. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 43.53M.
# Without --backbone-weights everything trains from random weights. PaddleClas' ImageNet weights
# (ppcls/arch/backbone/model_zoo/dsnet.py there has the address) load as they are.
_base_ = './yolov3_dsnet_t.py'

model = dict(backbone=dict(arch='small'))
