# Mask R-CNN with FPN on PVTv2-B2-Linear, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvtv2_b2_li.py 8 --backbone-weights pvt_v2_b2_li.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0002 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 44.1, mask AP 40.5 (detection/README.md of whai362/PVT). Parameters: 42.21M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './mask_rcnn_pvtv2_b2.py'

model = dict(backbone=dict(arch='b2_li'))
