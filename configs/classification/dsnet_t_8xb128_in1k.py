# DSNet-Tiny on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/dsnet_t_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 79.2 % by PaddleClas with these settings, 79.0 % by the authors (both in the documentation of
# PaddleClas); 10.5M parameters, 1.8G MACs as published.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(backbone=dict(type='mmbackbones.DSNet', arch='tiny', out_indices=(3, )), head=dict(in_channels=512))
