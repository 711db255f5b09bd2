from .checkpoint import CheckpointHook
from .random_seed import RandomSeedHook

__all__ = ['CheckpointHook', 'RandomSeedHook']
