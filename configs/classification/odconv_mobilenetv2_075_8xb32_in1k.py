# ODConv-MobileNetV2 0.75x, one kernel, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv_mobilenetv2_075_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.05 is for; 150 epochs, one cosine to zero. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 72.71, top-5 90.85 % (README.md of the ODConv release); 3.51M parameters, 217.1M MACs as published.
_base_ = './odconv_mobilenetv2_100_8xb32_in1k.py'

model = dict(backbone=dict(widen_factor=0.75), neck=dict(drop_prob=0.1))
