"""PaddlePaddle's ``.pdparams`` files: a pickle of numpy arrays, read without executing anything in it.

Of all that a pickle may refer to, three things are needed to rebuild an array, and nothing else is let in. They are
parts of numpy's core: a pickle can neither change them nor reach anything through them.
"""
import pickle

import numpy as np
import torch

__all__ = ['read_pdparams']

_CORE = getattr(np, '_core', None) or np.core
# numpy 2 has moved its core; files of either version name it
_ALLOWED = {
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
    ('numpy.core.multiarray', '_reconstruct'): _CORE.multiarray._reconstruct,
    ('numpy._core.multiarray', '_reconstruct'): _CORE.multiarray._reconstruct,
}
# paddle.save adds the parameters' names within the program under this key
_PROGRAM_NAMES = 'StructuredToParameterName@@'


class _RefusedError(pickle.UnpicklingError):
    """A reference to something else than an array."""


class _ArrayUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f'a reference to {module}.{name}')
        return _ALLOWED[module, name]


def _to_tensor(key: str, value, map_location: str):
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == np.uint16:  # numpy has no bfloat16: Paddle hands it over as the bits
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16).to(map_location)
    if value.dtype.kind not in 'fib':
        raise ValueError(f'{key} is an array of {value.dtype}, expected numbers')
    return torch.from_numpy(value).to(map_location)


def read_pdparams(path: str, map_location: str = 'cpu') -> dict:
    """Read the state dict that ``paddle.save`` wrote.

    Args:
        path: a local file.
        map_location: where the tensors go.

    Returns:
        dict: its arrays as tensors, in Paddle's own layout: linear weights are ``(in, out)``.

    Raises:
        pickle.UnpicklingError: the file refers to something that is no part of an array; it names it.
        ValueError: the file is broken, or no pickle of a dict.
    """
    with open(path, 'rb') as file:
        try:
            weights = _ArrayUnpickler(file).load()
        except _RefusedError:
            raise
        except Exception as error:  # a broken pickle fails in any way
            raise ValueError(f'{type(error).__name__}: {error}') from error
    if not isinstance(weights, dict):
        raise ValueError(f'it holds a {type(weights).__name__}, expected a dict of arrays')
    return {key: _to_tensor(key, value, map_location) for key, value in weights.items() if key != _PROGRAM_NAMES}
