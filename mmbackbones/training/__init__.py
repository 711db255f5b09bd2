"""Training and evaluation: what ``tools/train.py`` and ``tools/test.py`` do."""
from .run import test, train

__all__ = ['test', 'train']
