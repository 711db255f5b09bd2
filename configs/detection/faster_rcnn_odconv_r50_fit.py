# Faster R-CNN on ODConv-ResNet50 at its full size, fitted to the 100 training images of a small COCO and tested on the
# same: what cannot fit these is broken. From random weights, on one GPU with 80 GB.
#
# python tools/train.py configs/detection/faster_rcnn_odconv_r50_fit.py --amp --backbone-weights none \
#     --data-root ../shared/data/coco_mini
#
# Expected: 0.5 box AP or more, where it stops. Not measured yet.
_base_ = 'faster_rcnn_odconv_r50.py'

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
data_root = 'data/coco/'
annotations = 'annotations/instances_train2017.json'
train_dataloader = dict(batch_size=10, num_workers=8, dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    num_workers=4, dataset=dict(ann_file=annotations, data_prefix=dict(img='train2017/'), pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + annotations)
test_evaluator = val_evaluator

# 100 images are 10 iterations an epoch
train_cfg = dict(max_epochs=160, val_interval=20)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=160, by_epoch=True, begin=0, end=160, convert_to_iter_based=True)
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1), logger=dict(interval=10))
custom_hooks = [
    dict(type='mmbackbones.TemperatureAnnealingHook', epochs=40),
    dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', rule='greater', patience=100, stopping_threshold=0.5)
]
