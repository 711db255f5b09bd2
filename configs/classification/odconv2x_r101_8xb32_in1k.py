# ODConv-ResNet101, two kernels, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv2x_r101_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.1 is for; 100 epochs, divided by 10 every 30. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 79.15, top-5 94.34 % (README.md of the ODConv release); 90.44M parameters, 7.802G MACs as published.
_base_ = './odconv_r101_8xb32_in1k.py'

model = dict(backbone=dict(kernel_num=2))
