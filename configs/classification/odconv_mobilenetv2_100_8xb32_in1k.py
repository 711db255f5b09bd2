# ODConv-MobileNetV2 1.0x, one kernel, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv_mobilenetv2_100_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.05 is for; 150 epochs, one cosine to zero. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 74.74, top-5 91.95 % (README.md of the ODConv release); 4.94M parameters, 311.8M MACs as published.
# Training follows the released code: a random crop of random size and aspect ratio, scaled to 224 (the paper's text has
# a 224 crop of the image at 256), and a flip. Evaluation: short side 256, centre crop 224.
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.ODConvMobileNetV2', out_indices=(3, )),
    neck=dict(_delete_=True, type='mmbackbones.PooledDropout', drop_prob=0.2))
custom_hooks = [dict(type='mmbackbones.TemperatureAnnealingHook')]

max_epochs = 150
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=4e-5))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=max_epochs, end=max_epochs, convert_to_iter_based=True)
