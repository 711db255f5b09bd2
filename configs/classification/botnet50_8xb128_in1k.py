# BoTNet-50 on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/botnet50_8xb128_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 128 images = batch 1024, which the learning rate 0.8 is for; 100 epochs, one cosine. On another
# number of GPUs add --auto-scale-lr.
# Expected: top-1 77.60 %, top-5 93.68 % (README of BIGBALLON/distribuuuu, which trains so at a quarter of batch and
# learning rate).
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_coslr.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(backbone=dict(_delete_=True, type='mmbackbones.BoTNet', arch='50', out_indices=(3, )))
train_dataloader = dict(batch_size=128)
# momentum as in the recipe whose result is quoted
optim_wrapper = dict(optimizer=dict(nesterov=True))
