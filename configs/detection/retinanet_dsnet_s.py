# RetinaNet with FPN on DSNet-Small, 1x.
#
# tools/dist_train.sh configs/detection/retinanet_dsnet_s.py 8 --backbone-weights DSNet_small_pretrained.pdparams
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.0001 is for; 12 epochs. On another number of GPUs
# add --auto-scale-lr.
# Expected: no result is published. Parameters: 32.74M.
# The authors have released no code for detection: optimizer and schedule are those of Swin's detectors, and the neck is
# an FPN, not the paper's of two streams.
# Without --backbone-weights everything trains from random weights. PaddleClas' ImageNet weights
# (ppcls/arch/backbone/model_zoo/dsnet.py there has the address) load as they are.
_base_ = './retinanet_dsnet_t.py'

model = dict(backbone=dict(arch='small'))
