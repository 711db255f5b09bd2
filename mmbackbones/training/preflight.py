"""What can be known to be wrong before a run starts, each said in one clear error."""
import os
from pathlib import Path
from typing import Dict, List

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.logging import print_log

from ..config.blame import building
from ..data import apply_changes, check_data
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


def check_inputs(cfg: Config, loaders: List[str]) -> Dict[str, str]:
    """Check the data and say what was found.

    Returns:
        dict[str, str]: config key -> value, of what was changed in the config.
    """
    report = check_data(cfg, loaders)
    for line in report.summaries:
        print_log(f'Data, {line}')
    for line in report.warnings:
        print_log(f'Warning: {line}')
    return report.changes


def prepare(cfg: Config, loaders: List[str], skip_data_check: bool = False) -> None:
    """Check what can be checked, then start the group. The first process reads the data for all.

    Args:
        cfg: where the data check mends a file, all processes get the path of the copy.
        loaders: which of ``'train'``, ``'val'``, ``'test'`` the run uses.
        skip_data_check: leave that check out.

    Raises:
        InputError: it says what no run can succeed with.
    """
    if cfg.launcher != 'none':
        if dict(pytorch='RANK', slurm='SLURM_PROCID')[cfg.launcher] not in os.environ:
            raise InputError(f'--launcher {cfg.launcher} is for processes that it started. Start them with '
                             f'tools/dist_train.sh, tools/dist_test.sh or tools/slurm_train.sh, which set this option.')
        check_processes(local_size(), torch.cuda.device_count())
    changes = [{}]
    if global_rank() == 0:
        check_work_dir(cfg.work_dir)
        if skip_data_check:
            print_log('Warning: the data is not checked (--skip-data-check)')
        else:
            data = {key: cfg[key] for key in (f'{loader}_dataloader' for loader in loaders) if cfg.get(key)}
            with building(('the data', ), data):
                changes[0] = check_inputs(cfg, loaders)
    start_group(cfg)
    broadcast_object_list(changes)
    apply_changes(cfg, changes[0])
    for key, path in changes[0].items():
        if not os.path.isfile(path):
            raise InputError(
                f'{path} ({key}) was written by the first process and is not there on this machine: put the '
                f'work directory where all machines see it.')
