"""Backbones of the literature for MMDetection and MMPretrain.

Importing this package loads neither torch nor any OpenMMLab package; it only
checks that the installed versions are ones that it was written for.
"""
from .compat import check_versions
from .version import __version__

check_versions()

__all__ = ['__version__']
