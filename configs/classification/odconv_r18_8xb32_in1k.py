# ODConv-ResNet18, one kernel, on ImageNet-1k.
#
# tools/dist_train.sh configs/classification/odconv_r18_8xb32_in1k.py 8 --data-root data/imagenet
#
# Meant for 8 GPUs x 32 images = batch 256, which the learning rate 0.1 is for; 100 epochs, divided by 10 every 30. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 73.05, top-5 91.05 % (README.md of the ODConv release); 11.94M parameters, 1.838G MACs as published.
# Training follows the released code: a random crop of random size and aspect ratio, scaled to 224 (the paper's text has
# a 224 crop of the image at 256), and a flip. Evaluation: short side 256, centre crop 224.
# Dropout 0.1 is the paper's; the example command in the release's README, for four kernels, has 0.2.
_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=18, out_indices=(3, )),
    neck=dict(_delete_=True, type='mmbackbones.PooledDropout', drop_prob=0.1))
custom_hooks = [dict(type='mmbackbones.TemperatureAnnealingHook')]
