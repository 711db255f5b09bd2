"""The strategy by which MMEngine's FlexibleRunner trains: DDP, FSDP or DeepSpeed."""
import torch
from mmengine.config import Config

from ..errors import InputError

__all__ = ['use_strategy']

# what shards a model over GPUs
SHARDING = ('FSDPStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy')


def use_strategy(cfg: Config) -> None:
    """Complete a config's strategy, so that the processes and checkpoints are those of MMEngine's Runner.

    Args:
        cfg: changed in place; without a strategy it is DDP, or of one process none.

    Raises:
        InputError: the strategy needs GPUs, and there are none, or it saves what no run can go on from.
    """
    strategy = cfg.get('strategy') or dict(type='SingleDeviceStrategy' if cfg.launcher == 'none' else 'DDPStrategy')
    cfg.strategy = strategy
    kind = cfg.strategy.get('type')
    if kind in SHARDING and not torch.cuda.is_available():
        raise InputError(f'strategy.type={kind!r} shards the model over GPUs, and torch sees none. Leave runner_type '
                         "and strategy out, or take 'DDPStrategy'.")
    if kind == 'FSDPStrategy' and cfg.strategy.setdefault('state_dict_cfg', 'full') != 'full':
        raise InputError(f"strategy.state_dict_cfg={cfg.strategy.state_dict_cfg!r}: each process would save its shard, "
                         "which --resume and tools/test.py do not read: expected 'full'")
    if kind == 'DDPStrategy':
        # as MMEngine's Runner; on the CPU DDP takes no device
        cfg.strategy.setdefault(
            'model_wrapper',
            cfg.get('model_wrapper_cfg') or dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=cfg.get('find_unused_parameters', False)))
