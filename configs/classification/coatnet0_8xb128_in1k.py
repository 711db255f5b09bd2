# CoAtNet-0 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/coatnet0_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 81.6 % (tables 4 and 5 of the paper); 25M parameters, 4.2G MACs as published.
# The paper's batch is 4096, at the same learning rate; its drop path is used.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(
    backbone=dict(type='mmbackbones.CoAtNet', arch='0', drop_path_rate=0.2, out_indices=(3, )),
    neck=dict(_delete_=True, type='mmbackbones.PooledNorm', in_channels=768),
    head=dict(in_channels=768))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
