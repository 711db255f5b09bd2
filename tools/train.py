"""Train a detector or classifier: python tools/train.py --help."""
from mmbackbones.training import train

if __name__ == '__main__':
    train()
