# Mask R-CNN with FPN on DSNet-Base, 1x.
#
# tools/dist_train.sh configs/detection/mask_rcnn_dsnet_b.py 8 --backbone-weights DSNet_base_pretrained.pdparams
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 69.00M.
# The authors have released no code for detection: optimizer and schedule are those of Swin's detectors, and the neck is
# an FPN, not the paper's of two streams.
# Without --backbone-weights everything trains from random weights. PaddleClas' ImageNet weights
# (ppcls/arch/backbone/model_zoo/dsnet.py there has the address) load as they are.
_base_ = './mask_rcnn_dsnet_t.py'

model = dict(backbone=dict(arch='base'))
