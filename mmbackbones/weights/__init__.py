"""Checkpoints: read without running anything in them, found whatever they are packed in, loaded strictly."""
from .finding import extract_state_dict, split_source
from .initializing import check_own_loaders, use_strict_initializers
from .loading import load_part, load_strictly
from .reading import CheckpointError, look_at_checkpoint, read_checkpoint, use_safe_loading
from .report import Report

__all__ = [
    'CheckpointError', 'Report', 'check_own_loaders', 'extract_state_dict', 'load_part', 'load_strictly',
    'look_at_checkpoint', 'read_checkpoint', 'split_source', 'use_safe_loading', 'use_strict_initializers'
]
