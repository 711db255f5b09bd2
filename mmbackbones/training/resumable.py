"""What is changed in a config so that a run that is killed can go on as if it had not been."""
from mmengine.config import Config

__all__ = ['make_resumable']

LOOPS = {
    'EpochBasedTrainLoop': 'mmbackbones.EpochBasedTrainLoop',
    'IterBasedTrainLoop': 'mmbackbones.IterBasedTrainLoop'
}


def make_resumable(cfg: Config) -> None:
    """Put our sampler, loops and hooks in place of MMEngine's, and add what MMEngine has none of.

    Args:
        cfg: changed in place.
    """
    loader = cfg.train_dataloader
    if loader.get('sampler') and loader.sampler.get('type') != 'mmbackbones.NumberedSampler':
        loader.sampler = dict(type='mmbackbones.NumberedSampler', sampler=loader.sampler)
    loader.worker_init_fn = dict(type='mmbackbones.hooks.random_seed.seed_worker')
    loop = cfg.get('train_cfg')
    if loop:
        kind = loop.get('type') or ('EpochBasedTrainLoop' if loop.get('by_epoch', True) else 'IterBasedTrainLoop')
        if isinstance(kind, str) and kind.removeprefix('mmengine.') in LOOPS:
            loop.pop('by_epoch', None)
            loop.type = LOOPS[kind.removeprefix('mmengine.')]
    ours = ('RandomSeedHook', 'FiniteLossHook', 'SaveBestHook', 'ResumeHook')
    added = [f'mmbackbones.{name}' for name in ours]
    if cfg.launcher != 'none':
        # each process has batch statistics of its own; the checkpoint holds what was validated
        added.append('SyncBuffersHook')
    hooks = list(cfg.get('custom_hooks') or [])
    there = [hook.get('type') for hook in hooks if isinstance(hook, dict)]  # in a config that a run has written
    cfg.custom_hooks = [*hooks, *(dict(type=name) for name in added if name not in there)]
    default = cfg.setdefault('default_hooks', {})
    checkpoint = default.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint and checkpoint['type'] in ('CheckpointHook', 'mmengine.CheckpointHook'):
        checkpoint['type'] = 'mmbackbones.CheckpointHook'
