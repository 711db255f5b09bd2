from .shapes import METAINFO, make_shapes

__all__ = ['METAINFO', 'make_shapes']
