# Swin-B on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/swin_b_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 83.5 % (README of microsoft/Swin-Transformer); 88M parameters, 15.4G MACs as published.
_base_ = './swin_t_8xb128_in1k.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.5), head=dict(in_channels=1024))
