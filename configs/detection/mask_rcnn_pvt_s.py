# Mask R-CNN with FPN on PVT-Small, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvt_s.py 8 --backbone-weights pvt_small.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0002 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 40.4, mask AP 37.8 (detection/README.md of whai362/PVT). Parameters: 44.14M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.PyramidVisionTransformer', arch='small'),
    neck=dict(in_channels=[64, 128, 320, 512]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4))
