"""Evaluate a checkpoint: python tools/test.py --help."""
from mmbackbones.training import test

if __name__ == '__main__':
    test()
