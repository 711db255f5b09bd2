# YOLOv3 on BoTNet-50, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_botnet50.py 8 --backbone-weights botnet50.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.001 is for; 273 epochs: MMDetection's recipe for
# YOLOv3. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 40.86M.
# Without --backbone-weights everything trains from random weights. Its authors have published none; those that
# configs/classification/botnet50_8xb128_in1k.py trains load as they are.
_base_ = './yolov3_odconv_r50.py'

model = dict(backbone=dict(_delete_=True, type='mmbackbones.BoTNet', arch='50', out_indices=(1, 2, 3)))
