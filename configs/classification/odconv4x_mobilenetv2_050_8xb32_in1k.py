# ODConv-MobileNetV2 0.5x, four kernels, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv4x_mobilenetv2_050_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.05 is for; 150 epochs, one cosine to zero. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 70.23, top-5 88.86 % (README.md of the ODConv release); 4.44M parameters, 106.4M MACs as published.
_base_ = './odconv_mobilenetv2_050_8xb32_in1k.py'

model = dict(backbone=dict(kernel_num=4))
