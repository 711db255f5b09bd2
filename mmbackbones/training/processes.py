"""The processes of a run: how many, which of them this one is, and the group that they form."""
import os
import subprocess
import threading
import time

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.dist import init_dist

__all__ = ['global_rank', 'local_size', 'start_group']


def global_rank() -> int:
    """Number of this process among all, before the group exists."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0)))


def local_size() -> int:
    """Number of processes on this machine, as the launcher tells it."""
    local_rank = int(os.environ.get('SLURM_LOCALID', os.environ.get('LOCAL_RANK', 0)))
    return int(os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('SLURM_NTASKS_PER_NODE') or local_rank + 1)


def _end_with_launcher() -> None:
    """End this process, and with it its workers, when torchrun is gone: killed, it cannot do so itself.

    Otherwise they would go on writing into a folder in which the run is resumed.
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_group(cfg: Config) -> None:
    """Join the processes into one group: NCCL with GPUs, Gloo without."""
    if cfg.launcher == 'none':
        return
    if cfg.launcher == 'pytorch':
        _end_with_launcher()
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', dict(backend='nccl')))
        return
    # MMEngine would call torch.cuda.set_device and hand device_ids to DDP
    if cfg.launcher == 'slurm':
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                               check=True,
                               capture_output=True,
                               text=True)
        os.environ.setdefault('MASTER_ADDR', hosts.stdout.split()[0])
        os.environ.setdefault('MASTER_PORT', '29500')
        os.environ.update(
            RANK=os.environ['SLURM_PROCID'],
            LOCAL_RANK=os.environ['SLURM_LOCALID'],
            WORLD_SIZE=os.environ['SLURM_NTASKS'])
    torch_dist.init_process_group('gloo')
    # torchrun sets OMP_NUM_THREADS=1, which leaves cores idle where there are fewer processes than cores
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_size()))
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))
