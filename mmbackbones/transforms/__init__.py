from .loading import BadImageError, LoadImageFromFile

__all__ = ['BadImageError', 'LoadImageFromFile']
