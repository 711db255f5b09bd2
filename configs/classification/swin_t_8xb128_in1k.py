# Swin-T on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/swin_t_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.001 is for; 300 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 81.2 % (README of microsoft/Swin-Transformer); 28M parameters, 4.5G MACs as published.
_base_ = '../_base_/imagenet_adamw_300e.py'

model = dict(
    backbone=dict(type='mmbackbones.SwinTransformer', arch='tiny', drop_path_rate=0.2, out_indices=(3, )),
    head=dict(in_channels=768))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20),
]
