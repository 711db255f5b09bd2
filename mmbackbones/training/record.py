"""What is needed to run the same thing again."""
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from ..compat import installed_stack
from ..version import __version__

__all__ = ['environment']


def environment() -> dict:
    """What is needed to run the same thing again: versions, commit, command line."""
    versions = {
        name: ' '.join(f'{dist} {version}' for dist, version in found)
        for name, found in installed_stack().items()
    }
    for name in ('torchvision', 'numpy', 'pycocotools', 'timm'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    checkout = Path(__file__).resolve().parents[2]
    git = subprocess.run(
        ['git', '-C', str(checkout), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
        capture_output=True,
        text=True) if (checkout / '.git').exists() else None
    return dict(
        mmbackbones=__version__,
        commit=git.stdout.strip() or None if git else None,
        command=[sys.executable, *sys.argv],
        python=platform.python_version(),
        platform=platform.platform(),
        devices=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        versions=versions)
