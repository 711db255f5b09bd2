# Mask R-CNN with FPN on PVT-Medium, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvt_m.py 8 --backbone-weights pvt_medium.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0002 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 42.0, mask AP 39.0 (detection/README.md of whai362/PVT). Parameters: 63.86M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './mask_rcnn_pvt_s.py'

model = dict(backbone=dict(arch='medium', drop_path_rate=0.))
