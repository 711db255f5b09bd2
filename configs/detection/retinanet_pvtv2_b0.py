# RetinaNet with FPN on PVTv2-B0, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_pvtv2_b0.py 8 --backbone-weights pvt_v2_b0.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 37.2 (detection/README.md of whai362/PVT). Parameters: 12.95M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './retinanet_pvtv2_b2.py'

model = dict(backbone=dict(arch='b0'), neck=dict(in_channels=[64, 160, 256]))
