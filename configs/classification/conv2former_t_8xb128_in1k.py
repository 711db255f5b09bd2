# Conv2Former-T on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/conv2former_t_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 83.2 % (README of HVision-NKU/Conv2Former); 27M parameters, 4.4G MACs as published.
# The released code has these settings but no rates of drop path: those here are a choice.
_base_ = './conv2former_n_8xb128_in1k.py'

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.2), neck=dict(in_channels=576))
