# Faster R-CNN with FPN on the static ResNet50: the baseline of the ODConv detectors.
#
# tools/dist_train.sh configs/detection/faster_rcnn_r50.py 8
#
# Meant for 8 GPUs x 2 images = batch 16, which the learning rate 0.02 is for; 12 epochs. On another number of GPUs add
# --auto-scale-lr.
# Expected: box AP 37.4 (object_detection/README.md of the release).
# Parameters: 41.75M; the published 43.80M count a classifier of 2.05M that no detector uses.
# The backbone starts from torchvision's ImageNet weights, which MMEngine downloads; where there is no network, give
# --backbone-weights FILE, or none for random weights.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
