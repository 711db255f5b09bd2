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


def _installed(*names: str) -> Dict[str, str]:
    """Versions of those of these distributions that are installed."""
    versions = {}
    for name in names:
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


def describe_machine(device: str = 'cpu') -> Dict[str, Any]:
    """What figures depend on: the machine and the versions of what runs on it.

    Args:
        device: what is measured, ``'cpu'`` or ``'cuda'``.
    """
    stack = {name: version for name, found in installed_stack().items() for _, version in found}
    return dict(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if device == 'cuda' else None,
        platform=platform.platform(),
        versions=dict(
            python=platform.python_version(), mmbackbones=__version__, **stack, **_installed('torchvision', 'timm')))


def describe_run() -> Dict[str, Any]:
    """What is needed to run the same thing again: all GPUs and distributions, the commit and the command line."""
    stack = {distribution: version for found in installed_stack().values() for distribution, version in found}
    return dict(
        describe_machine(),
        devices=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        distributions=dict(stack, **_installed('torchvision', 'numpy', 'pycocotools', 'timm')),
        commit=_commit(),
        command=[sys.executable, *sys.argv])
