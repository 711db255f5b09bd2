# Mask R-CNN with FPN on PVTv2-B4, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvtv2_b4.py 8 --backbone-weights pvt_v2_b4.pth
#
# Meant for 8 GPUs x 1 images = batch 8, which the learning rate 0.000142857 is for; 12 epochs. On another number of
# GPUs add --auto-scale-lr.
# Expected: box AP 47.5, mask AP 42.7 (detection/README.md of whai362/PVT). Parameters: 82.21M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './mask_rcnn_pvtv2_b2.py'

model = dict(backbone=dict(arch='b4'))
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=2e-4 / 1.4))
auto_scale_lr = dict(base_batch_size=8)
