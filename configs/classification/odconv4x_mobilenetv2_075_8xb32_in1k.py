# ODConv-MobileNetV2 0.75x, four kernels, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv4x_mobilenetv2_075_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.05 is for; 150 epochs, one cosine to zero. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 74.01, top-5 91.37 % (README.md of the ODConv release); 7.50M parameters, 226.3M MACs as published.
_base_ = './odconv_mobilenetv2_075_8xb32_in1k.py'

model = dict(backbone=dict(kernel_num=4))
