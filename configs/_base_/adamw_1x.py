# 12 epochs with AdamW, as the detectors of Swin train; MMDetection repeats these values in each config.
# Norms and tables of positions have no weight decay.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        custom_keys={
            name: dict(decay_mult=0.)
            for name in ('relative_position_bias_table', 'relative_bias', 'pos_embed', 'positions')
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
