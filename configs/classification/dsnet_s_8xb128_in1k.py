# DSNet-Small on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/dsnet_s_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 82.0 % by PaddleClas with these settings, 82.3 % by the authors (both in the documentation of
# PaddleClas); 23.0M parameters, 3.5G MACs as published.
_base_ = './dsnet_t_8xb128_in1k.py'

model = dict(backbone=dict(arch='small'))
