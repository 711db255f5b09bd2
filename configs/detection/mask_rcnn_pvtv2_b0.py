# Mask R-CNN with FPN on PVTv2-B0, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvtv2_b0.py 8 --backbone-weights pvt_v2_b0.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0002 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 38.2, mask AP 36.2 (detection/README.md of whai362/PVT). Parameters: 23.45M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './mask_rcnn_pvtv2_b2.py'

model = dict(backbone=dict(arch='b0'), neck=dict(in_channels=[32, 64, 160, 256]))
