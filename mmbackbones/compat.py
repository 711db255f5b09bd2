"""Which versions of the stack this package works with, checked without importing any of them.

The stack is published in two lines with the same import names: the maintained
one (``onedl-*``) and the older one of OpenMMLab.
"""
import os
import sys
from typing import Dict

__all__ = ['REQUIREMENTS', 'check_versions', 'installed_stack']

PYTHON = ((3, 10), (3, 13))

# import name -> {distribution name: (oldest that works, first that is untested)}
REQUIREMENTS = {
    'torch': {
        'torch': ('2.4', '2.13')
    },
    'mmengine': {
        'onedl-mmengine': ('0.10.9', '0.11'),
        'mmengine': ('0.10.4', '0.11'),
    },
    'mmcv': {
        'onedl-mmcv': ('2.3', '2.4'),
        'mmcv': ('2.0.1', '2.2'),
    },
    'mmdet': {
        'onedl-mmdetection': ('3.4', '3.6'),
        'mmdet': ('3.3', '3.4'),
    },
    'mmpretrain': {
        'onedl-mmpretrain': ('1.3', '1.4'),
        'mmpretrain': ('1.2', '1.3'),
    },
}


def _release(version: str) -> tuple:
    """``'2.11.0+cu130'`` -> ``(2, 11, 0)``: enough to compare releases, cheaper than ``packaging``."""
    numbers = []
    for part in version.split('+')[0].split('.'):
        digits = ''
        for char in part:
            if not char.isdigit():
                break
            digits += char
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _found_versions() -> Dict[str, str]:
    """Versions of the distributions of :data:`REQUIREMENTS` that are installed, by name.

    They are read from the names of their folders (``onedl_mmcv-2.3.6.dist-info``): importing ``importlib.metadata``
    takes longer than all the rest of importing this package.
    """
    wanted = {name for distributions in REQUIREMENTS.values() for name in distributions}
    found = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or '.')
        except OSError:  # none there, or an archive
            continue
        for entry in entries:
            stem, _, kind = entry.rpartition('.')
            name, _, version = stem.partition('-')
            name = name.replace('_', '-').lower()
            if kind not in ('dist-info', 'egg-info') or name not in wanted or name in found:
                continue
            if kind == 'egg-info':  # of an editable installation of old; the folder's name may have no version
                from importlib import metadata
                version = metadata.version(name)
            found[name] = version
    return found


def installed_stack() -> dict:
    """Distribution and version behind each import name of :data:`REQUIREMENTS`.

    Returns:
        dict: import name -> list of ``(distribution, version)``; an empty
        list where nothing is installed.
    """
    found = _found_versions()
    return {
        name: [(distribution, found[distribution]) for distribution in distributions if distribution in found]
        for name, distributions in REQUIREMENTS.items()
    }


def check_versions() -> None:
    """Raise if an installed part of the stack is one that this package cannot work with.

    A part that is not installed is no error here: ``mmbackbones list`` needs
    none of them, and Python itself names a missing module when it is imported.

    Raises:
        ImportError: it says what is installed, what is needed, and the command that mends it.
    """
    low, high = PYTHON
    if not low <= sys.version_info[:2] < high:
        raise ImportError(f'mmbackbones runs on Python {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}; '
                          f'this is Python {sys.version_info[0]}.{sys.version_info[1]}.')
    for name, found in installed_stack().items():
        if len(found) > 1:
            both = ' and '.join(f'{dist} {version}' for dist, version in found)
            raise ImportError(f'{both} are both installed, and both are imported as `{name}`: each overwrites files of '
                              f'the other. Uninstall both, then install one of them (README, section "Installation").')
        for distribution, version in found:
            oldest, untested = REQUIREMENTS[name][distribution]
            if not _release(oldest) <= _release(version) < _release(untested):
                raise ImportError(
                    f'{distribution} {version} is installed; mmbackbones works with >={oldest},<{untested}. '
                    f"Run: pip install '{distribution}>={oldest},<{untested}'")
