# PVT-Small on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/pvt_s_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 79.8 % (README of whai362/PVT); 24.5M parameters as published.
# The authors classify by a class token; here it is the mean of the normed map.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(
    backbone=dict(type='mmbackbones.PyramidVisionTransformer', arch='small', out_indices=(3, )),
    neck=dict(_delete_=True, type='mmbackbones.PooledNorm', in_channels=512),
    head=dict(in_channels=512))
# each image three times an epoch, augmented anew
train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
