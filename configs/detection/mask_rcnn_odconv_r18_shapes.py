"""Mask R-CNN with ODConv-ResNet18 on the generated shapes, for the first run on two cores and no GPU.

Command: python tools/demo.py (generates the data as well), or, where data/shapes is there already,
python tools/train.py configs/detection/mask_rcnn_odconv_r18_shapes.py --backbone-weights none

Expected on the data that tools/demo.py makes: box AP 0.65, mask AP 0.64.
From random weights: nothing is frozen, batch statistics are trained, and the attentions' temperature is annealed.
The last stage (stride 32) is left out: the largest shape is 74 pixels across, and that stage is the costliest.
"""
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

data_root = 'data/shapes/'
metainfo = dict(classes=('circle', 'rectangle', 'triangle', 'cross'))
num_classes = len(metainfo['classes'])
channels = 96

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.ODConvResNet', depth=18, out_indices=(0, 1, 2)),
    neck=dict(in_channels=[64, 128, 256], out_channels=channels, num_outs=4),
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, featmap_strides=[4, 8, 16], roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=channels, fc_out_channels=512, num_classes=num_classes),
        mask_roi_extractor=dict(out_channels=channels, featmap_strides=[4, 8, 16], roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=64,
            num_classes=num_classes,
            norm_cfg=dict(type='GN', num_groups=8))),
    # ignore_iof_thr: neither an object nor background is learnt inside a crowd; the base config would learn background.
    train_cfg=dict(
        rpn=dict(assigner=dict(ignore_iof_thr=0.5), sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=dict(assigner=dict(ignore_iof_thr=0.5), sampler=dict(num=48))),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=30)))

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),  # changes nothing, but the heads ask for its scale_factor
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, filter_cfg=dict(filter_empty_gt=False), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True)
]
default_hooks = dict(logger=dict(interval=20))
log_processor = dict(window_size=20)
# from random weights: attentions start uniform, as in the paper's own training
custom_hooks = [dict(type='mmbackbones.TemperatureAnnealingHook', epochs=2)]
