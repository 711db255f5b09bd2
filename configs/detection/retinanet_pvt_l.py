# RetinaNet with FPN on PVT-Large, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_pvt_l.py 8 --backbone-weights pvt_large.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 42.6 (detection/README.md of whai362/PVT). Parameters: 71.10M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './retinanet_pvt_s.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.))
