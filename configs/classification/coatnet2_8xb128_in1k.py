# CoAtNet-2 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/coatnet2_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 84.1 % (tables 4 and 5 of the paper); 75M parameters, 15.7G MACs as published.
# The paper's batch is 4096, at the same learning rate; its drop path is used.
_base_ = './coatnet0_8xb128_in1k.py'

model = dict(backbone=dict(arch='2', drop_path_rate=0.5), neck=dict(in_channels=1024), head=dict(in_channels=1024))
