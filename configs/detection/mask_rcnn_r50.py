# Mask R-CNN with FPN on the static ResNet50: the baseline of the ODConv detectors.
#
# tools/dist_train.sh configs/detection/mask_rcnn_r50.py 8
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 38.2, mask AP 34.6 (object_detection/README.md of the release).
# Parameters: 44.40M; the published 46.45M count a classifier of 2.05M that no detector uses.
# The backbone starts from torchvision's ImageNet weights, which MMEngine downloads; where there is no network, give
# --backbone-weights FILE, or none for random weights.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
