# PVT-Large on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/pvt_l_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 81.7 % (README of whai362/PVT); 61.4M parameters as published.
# The authors classify by a class token; here it is the mean of the normed map.
_base_ = './pvt_s_8xb128_in1k.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.3))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
