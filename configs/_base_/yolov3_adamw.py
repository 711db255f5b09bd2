# YOLOv3 as MMDetection trains it (273 epochs, 320 to 608 pixels, batch 64), but with AdamW, and with the image
# statistics that all but Darknet's weights expect. 2e-4 is 1e-4, which is for batch 16, times the root of 64 / 16.
_base_ = 'mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
model = dict(data_preprocessor=data_preprocessor)

train_pipeline = _base_.train_pipeline
# Expand fills what it adds with the mean
train_pipeline[2].mean = data_preprocessor['mean']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        custom_keys={
            name: dict(decay_mult=0.)
            for name in ('relative_position_bias_table', 'relative_bias', 'pos_embed', 'positions')
        }))
