# CoAtNet-1 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/coatnet1_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 83.3 % (tables 4 and 5 of the paper); 42M parameters, 8.4G MACs as published.
# The paper's batch is 4096, at the same learning rate; its drop path is used.
_base_ = './coatnet0_8xb128_in1k.py'

model = dict(backbone=dict(arch='1', drop_path_rate=0.3))
