"""What can be known to be wrong before a run starts, each said in one clear error."""
import os
from pathlib import Path
from typing import List

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..blame import building
from ..data import check_data
from ..errors import InputError
from .processes import global_rank, local_size, start_group

__all__ = ['check_processes', 'check_work_dir', 'prepare']


def check_processes(local_processes: int, devices: int) -> None:
    """Refuse more processes on this machine than it has GPUs.

    Args:
        local_processes: processes started on this machine.
        devices: CUDA devices that they see; 0 means that the run is on the CPU, where any number will do.

    Raises:
        InputError: if there are not enough devices.
    """
    if 0 < devices < local_processes:
        raise InputError(f'{local_processes} processes were started on this machine, but only {devices} '
                         f'GPU{"s are" if devices > 1 else " is"} visible: each process needs one of its own. Start at '
                         f'most {devices} (tools/dist_train.sh CONFIG {devices}), or look at CUDA_VISIBLE_DEVICES.')


def check_work_dir(work_dir: str) -> None:
    """Create the work directory and make sure that files can be written to it.

    Raises:
        InputError: if either fails.
    """
    probe = Path(work_dir) / f'.probe-{os.getpid()}'
    try:
        os.makedirs(work_dir, exist_ok=True)
        probe.write_bytes(b'probe')
        probe.unlink()
    except OSError as error:
        raise InputError(f'cannot write to the work directory {os.path.abspath(work_dir)}: {error.strerror}. '
                         f'Choose another with --work-dir FOLDER.') from error


def prepare(cfg: Config, loaders: List[str]) -> None:
    """Check what can be checked, then start the group. The first process reads the data for all."""
    if cfg.launcher != 'none':
        if dict(pytorch='RANK', slurm='SLURM_PROCID')[cfg.launcher] not in os.environ:
            raise InputError(f'--launcher {cfg.launcher} is for processes that it started. Start them with '
                             f'tools/dist_train.sh, tools/dist_test.sh or tools/slurm_train.sh, which set this option.')
        check_processes(local_size(), torch.cuda.device_count())
    if global_rank() == 0:
        check_work_dir(cfg.work_dir)
        data = {key: cfg[key] for key in (f'{loader}_dataloader' for loader in loaders) if cfg.get(key)}
        with building('the data', data):
            warnings = check_data(cfg, loaders)
        for warning in warnings:
            print_log(f'Warning: {warning}')
    start_group(cfg)
