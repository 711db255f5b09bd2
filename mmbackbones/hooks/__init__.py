"""Training hooks."""
from .checkpoint import CheckpointHook, SaveBestHook
from .finite_loss import FiniteLossHook
from .random_seed import RandomSeedHook
from .resume import ResumeHook
from .starting_weights import StartingWeightsHook
from .temperature import TemperatureAnnealingHook

__all__ = [
    'CheckpointHook', 'FiniteLossHook', 'RandomSeedHook', 'ResumeHook', 'SaveBestHook', 'StartingWeightsHook',
    'TemperatureAnnealingHook'
]
