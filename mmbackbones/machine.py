"""What runs: processor, versions, commit and command, as figures and work directories record them."""
import contextlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from .compat import installed_stack
from .version import __version__

__all__ = ['describe_machine', 'describe_run']


def _cpu_model() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')),
                platform.processor() or platform.machine())


def _versions() -> Dict[str, str]:
    """Of Python, of this package, of the stack by its import names, and of what else gives figures."""
    stack = {
        name: ' '.join(f'{dist} {version}' for dist, version in found)
        for name, found in installed_stack().items()
    }
    versions = dict(python=platform.python_version(), mmbackbones=__version__, **stack)
    for name in ('torchvision', 'numpy', 'pycocotools', 'timm'):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _commit() -> Optional[str]:
    """Of the checkout that this package runs from; None where it is installed."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / '.git').exists():
        return None
    git = subprocess.run(
        ['git', '-C', str(checkout), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
        capture_output=True,
        text=True)
    return git.stdout.strip() or None


def describe_machine() -> Dict[str, Any]:
    """What figures depend on: the machine and the versions of what runs on it."""
    return dict(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        devices=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        platform=platform.platform(),
        versions=_versions())


def describe_run() -> Dict[str, Any]:
    """What is needed to run the same thing again: :func:`describe_machine`, the commit and the command line."""
    return dict(describe_machine(), commit=_commit(), command=[sys.executable, *sys.argv])
