# Mask R-CNN with FPN on PVT-Large, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_pvt_l.py 8 --backbone-weights pvt_large.pth
#
# Meant for 8 GPUs x 1 images = batch 8, which the learning rate 0.000142857 is for; 12 epochs. On another number of
# GPUs add --auto-scale-lr.
# Expected: box AP 42.9, mask AP 39.5 (detection/README.md of whai362/PVT). Parameters: 81.02M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './mask_rcnn_pvt_s.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.))
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=2e-4 / 1.4))
auto_scale_lr = dict(base_batch_size=8)
