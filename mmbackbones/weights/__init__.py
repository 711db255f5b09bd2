"""Checkpoints: read without running anything in them, loaded strictly or not at all."""
from .loading import extract_state_dict, load_strictly
from .reading import CheckpointError, read_checkpoint, use_safe_loading

__all__ = ['CheckpointError', 'extract_state_dict', 'load_strictly', 'read_checkpoint', 'use_safe_loading']
