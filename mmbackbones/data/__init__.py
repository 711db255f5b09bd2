"""Data sets: what is wrong with them, said before a model is built."""
from .check import check_data

__all__ = ['check_data']
