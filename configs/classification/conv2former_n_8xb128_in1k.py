# Conv2Former-N on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/conv2former_n_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 81.5 % (README of HVision-NKU/Conv2Former); 15M parameters, 2.2G MACs as published.
# The released code has these settings but no rates of drop path: those here are a choice.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(
    backbone=dict(
        type='mmbackbones.Conv2Former', arch='nano', drop_path_rate=0.1, output_norm=False, out_indices=(3, )),
    neck=dict(_delete_=True, type='mmbackbones.PooledNorm', in_channels=512, hidden_channels=1280),
    head=dict(in_channels=1280))
