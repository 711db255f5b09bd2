# PVTv2-B1 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/pvtv2_b1_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 78.7 % (README of whai362/PVT); 14.0M parameters as published.
_base_ = './pvtv2_b2_8xb128_in1k.py'

model = dict(backbone=dict(arch='b1'))
