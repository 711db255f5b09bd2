# Mask R-CNN with FPN on PVTv2-B2, 3x, many scales.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvtv2_b2_ms_3x.py 8 --backbone-weights pvt_v2_b2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 36 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 47.8, mask AP 43.1 (detection/README.md of whai362/PVT). Parameters: 45.02M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/coco_instance_ms.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/adamw_3x.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.PyramidVisionTransformerV2', arch='b2'),
    neck=dict(in_channels=[64, 128, 320, 512]))
