# PVTv2-B2 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/pvtv2_b2_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 82.0 % (README of whai362/PVT); 25.4M parameters as published.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(
    backbone=dict(type='mmbackbones.PyramidVisionTransformerV2', arch='b2', out_indices=(3, )),
    head=dict(in_channels=512))
# each image three times an epoch, augmented anew
train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
