# YOLOv3 on ODConv-ResNet50, one kernel, at the three strides 8, 16 and 32.
#
# tools/dist_train.sh configs/detection/yolov3_odconv_r50.py 8 --backbone-weights odconv_r50.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.001 is for; 273 epochs: MMDetection's recipe for
# YOLOv3. On another number of GPUs add --auto-scale-lr.
# Expected: no result is published. Parameters: 48.64M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights are linked in the
# README of the ODConv release (OSVAI/ODConv), row "ResNet50 + ODConv (1x)"; they load as they are.
_base_ = 'mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py'

# Darknet's weights expect images scaled to 0..1, these the statistics of ImageNet
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=50, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[2048, 1024, 512]))
# what --backbone-weights FILE sets besides the weights, as published
pretrained_backbone = dict(frozen_stages=1, norm_eval=True)

train_pipeline = _base_.train_pipeline
# Expand fills what it adds with the mean
train_pipeline[2].mean = data_preprocessor['mean']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
