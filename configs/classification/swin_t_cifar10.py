# Swin-T on CIFAR-10, 32 x 32, as image files in class folders.
#
# tools/dist_train.sh configs/classification/swin_t_cifar10.py 1 --data-root data/cifar10
#
# Data, augmentation and schedule are those of conv2former_n_cifar10.py, beside which the document puts this network.
# Meant for 1 GPUs x 256 images = batch 256, which the learning rate 0.001 is for; 50 epochs, one cosine to zero. On
# another number of GPUs add --auto-scale-lr.
# Expected: top-1 75 % (founding document 003, the table of its conclusion, which took it from another project and does
# not give that one's settings); 27,527,044 parameters as there. Nothing is adapted to small images: patches of 4 x 4
# pixels make maps of 8, 4, 2 and 1.
_base_ = './conv2former_n_cifar10.py'

model = dict(
    backbone=dict(
        _delete_=True, type='mmbackbones.SwinTransformer', arch='tiny', drop_path_rate=0.1, out_indices=(3, )),
    head=dict(in_channels=768))
