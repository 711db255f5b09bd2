"""Training hooks."""
from .checkpoint import CheckpointHook
from .random_seed import RandomSeedHook
from .temperature import TemperatureAnnealingHook

__all__ = ['CheckpointHook', 'RandomSeedHook', 'TemperatureAnnealingHook']
