# ODConv-ResNet18, four kernels, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv4x_r18_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.1 is for; 100 epochs, divided by 10 every 30. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 74.19, top-5 91.47 % (README.md of the ODConv release); 44.90M parameters, 1.916G MACs as published.
# Dropout 0.1 is the paper's; the example command in the release's README has 0.2.
_base_ = './odconv_r18_8xb32_in1k.py'

model = dict(backbone=dict(kernel_num=4))
