# ODConv-ResNet50, four kernels, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv4x_r50_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.1 is for; 100 epochs, divided by 10 every 30. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 78.50, top-5 93.99 % (README.md of the ODConv release); 90.67M parameters, 4.080G MACs as published.
_base_ = './odconv_r50_8xb32_in1k.py'

model = dict(backbone=dict(kernel_num=4))
