"""Training hooks."""
from .checkpoint import CheckpointHook
from .random_seed import RandomSeedHook
from .starting_weights import StartingWeightsHook
from .temperature import TemperatureAnnealingHook

__all__ = ['CheckpointHook', 'RandomSeedHook', 'StartingWeightsHook', 'TemperatureAnnealingHook']
