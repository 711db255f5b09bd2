"""Data sets: what is wrong with them, said before a model is built."""
from .check import Report, apply_changes, check_data

__all__ = ['Report', 'apply_changes', 'check_data']
