# DSNet-Base on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/dsnet_b_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 81.8 % by PaddleClas with these settings, 83.1 % by the authors (both in the documentation of
# PaddleClas); 49.3M parameters, 8.4G MACs as published.
_base_ = './dsnet_t_8xb128_in1k.py'

model = dict(backbone=dict(arch='base'))
