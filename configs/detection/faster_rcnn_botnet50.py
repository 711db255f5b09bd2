# Faster R-CNN with FPN on BoTNet-50, 1x.
#
# tools/dist_train.sh configs/detection/faster_rcnn_botnet50.py 8 --backbone-weights botnet50.pth
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: no result is published. Parameters: 37.05M.
# Without --backbone-weights everything trains from random weights. Its authors have published none; those that
# configs/classification/botnet50_8xb128_in1k.py trains load as they are.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

model = dict(backbone=dict(_delete_=True, type='mmbackbones.BoTNet', arch='50'))
# what --backbone-weights FILE sets besides the weights, as for ResNet50
pretrained_backbone = dict(frozen_stages=1, norm_eval=True)
