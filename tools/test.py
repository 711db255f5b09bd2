"""Evaluate a checkpoint: python tools/test.py --help."""
from mmbackbones.launch import test

if __name__ == '__main__':
    test()
