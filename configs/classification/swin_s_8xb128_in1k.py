# Swin-S on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/swin_s_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 83.2 % (README of microsoft/Swin-Transformer); 50M parameters, 8.7G MACs as published.
_base_ = './swin_t_8xb128_in1k.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.3))
