# Mask R-CNN with FPN on ViT-B/16 with a simple feature pyramid, 100 epochs of large-scale jitter.
#
# tools/dist_train.sh configs/detection/mask_rcnn_vit_b16.py 8 --backbone-weights mae_pretrain_vit_base.pth
#
# Meant for 8 GPUs x 8 images = batch 64, which the learning rate 0.0001 is for; 25 epochs of four passes over the data.
# On another number of GPUs add --auto-scale-lr.
# Expected: no result is published for this network; ViTDet's recipe. Its 51.6 box AP and 45.9 mask AP are with relative
# positions, more layers in the heads and norms in them. Parameters: 108.90M.
# Without --backbone-weights everything trains from random weights. Those of MAE (mae_pretrain_vit_base.pth, README of
# facebookresearch/mae), or of timm's vit_base_patch16_224, load as they are.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmdet::common/lsj-100e_coco-instance.py']

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.VisionTransformer', arch='base', drop_path_rate=0.1),
    neck=dict(in_channels=[192, 384, 768, 768]))
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(
    constructor='mmbackbones.LayerDecayOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.7, norm_decay_mult=0., custom_keys={'pos_embed': dict(decay_mult=0.)}))
