# RetinaNet with FPN on PVTv2-B2, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_pvtv2_b2.py 8 --backbone-weights pvt_v2_b2.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: box AP 44.6 (detection/README.md of whai362/PVT). Parameters: 35.10M.
# Without --backbone-weights everything trains from random weights. The authors' ImageNet weights, linked in
# classification/README.md of whai362/PVT, load as they are.
_base_ = './retinanet_pvt_s.py'

model = dict(
    backbone=dict(_delete_=True, type='mmbackbones.PyramidVisionTransformerV2', arch='b2', out_indices=(1, 2, 3)))
