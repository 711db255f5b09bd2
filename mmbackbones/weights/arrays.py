"""Tensors and arrays from bytes of a file: the type by its name from a fixed list, every size checked against the bytes
that there are before torch or numpy hears of it."""
import math
from typing import Any, BinaryIO, Callable, Dict, Optional, Union

import numpy as np
import torch
from torch import Tensor

from .pickles import Budget, DamagedError, Inert, RefusedError, printable

__all__ = [
    'MAX_DIMS', 'MapLocation', 'Storage', 'TORCH_TYPES', 'array', 'number_type', 'place', 'read_bytes', 'tensor',
    'to_tensor'
]

MapLocation = Union[None, str, torch.device, Dict[str, str], Callable]

# of those that torch has names for, what this version of it has
TORCH_TYPES = {
    name: getattr(torch, name)
    for name in ('float64', 'float32', 'float16', 'bfloat16', 'float8_e4m3fn', 'float8_e4m3fnuz', 'float8_e5m2',
                 'float8_e5m2fnuz', 'float8_e8m0fnu', 'int64', 'int32', 'int16', 'int8', 'uint64', 'uint32', 'uint16',
                 'uint8', 'bool', 'complex128', 'complex64', 'complex32') if hasattr(torch, name)
}
NUMPY_TYPES = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16')

# numpy 1 has no more, and no weight as many
MAX_DIMS = 32
# A view may stand for more elements than its storage has (``expand``); what copies it makes them all.
MAX_EXPANDED = 64 << 20
MAX_STRIDE = 2**40


class Storage(Inert):
    """Bytes that tensors are views of.

    Args:
        flat: the bytes, ``(nbytes,)`` of uint8.
        dtype: of the tensors, where they do not say it themselves.
        length: of the file, in bytes.
    """

    def __init__(self, flat: Tensor, dtype: torch.dtype, length: int):
        self.flat, self.dtype, self.length = flat, dtype, length
        self.checked = False

    def check_bools(self) -> None:
        """Once: many tensors may be views of one storage."""
        if not self.checked:
            _check_bools(self.flat)
        self.checked = True

    def __str__(self) -> str:
        return 'a bare storage'

    def part(self, start: int, stop: int) -> 'Storage':
        """The elements from ``start`` up to ``stop``."""
        size = self.dtype.itemsize
        if not (_is_size(start) and _is_size(stop) and start <= stop <= self.flat.numel() // size):
            raise DamagedError('a part of a storage lies outside of it')
        if self.dtype is torch.bool:
            self.check_bools()
        part = Storage(self.flat[start * size:stop * size], self.dtype, self.length)
        part.checked = self.checked
        return part


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _check_bools(flat: Tensor) -> None:
    """Anything else than 0 and 1 in a boolean is undefined behaviour."""
    if not flat.is_meta and flat.numel() and flat.max() > 1:
        raise DamagedError('a boolean in it is neither true nor false')


def read_bytes(file: BinaryIO, size: int, budget: Budget) -> Tensor:
    """The next bytes of a file as a tensor.

    Raises:
        DamagedError: there are not so many.
    """
    if not _is_size(size) or size > budget.length:
        raise DamagedError(f'a storage in it claims to have {size} bytes, more than the file')
    budget.take(size)
    flat = torch.empty(size, dtype=torch.uint8, device='cpu')
    if size and file.readinto(memoryview(flat.numpy())) != size:
        raise DamagedError('it is cut off')
    return flat


def place(flat: Tensor, location: str, map_location: MapLocation) -> Tensor:
    """Bytes where ``map_location`` puts them, as in ``torch.load``; but what it says nothing of, and everything if it
    is None, stays on the CPU: the machine that saved may have had devices that this one has not.

    Args:
        flat: ``(nbytes,)`` of uint8 on the CPU.
        location: where they were when they were saved, such as ``'cuda:0'``.
        map_location: a device, a dict of locations, or a function of storage and location.
    """
    if isinstance(map_location, dict):
        map_location = map_location.get(location)
    elif callable(map_location):
        moved = map_location(flat.untyped_storage(), location)
        if moved is None:
            return flat
        moved = moved.untyped() if hasattr(moved, 'untyped') else moved
        return torch.empty(0, dtype=torch.uint8, device=moved.device).set_(moved, 0, (flat.numel(), ), (1, ))
    return flat if map_location is None else flat.to(map_location)


def tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: Optional[torch.dtype] = None) -> Tensor:
    """A view of a storage.

    Args:
        storage: see :class:`Storage`.
        offset: of the first element, in elements.
        size, stride: of each dimension, in elements.
        dtype: Defaults to None: the storage's.

    Raises:
        DamagedError: it is not within the storage.
    """
    dtype = dtype or getattr(storage, 'dtype', None)
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or dtype not in TORCH_TYPES.values():
        raise DamagedError('a tensor without a storage or a type')
    size, stride = (tuple(each) if isinstance(each, (tuple, list)) else None for each in (size, stride))
    if size is None or stride is None or len(size) != len(stride) or len(size) > MAX_DIMS \
            or not all(map(_is_size, (offset, *size, *stride))) or max(stride, default=0) > MAX_STRIDE:
        raise DamagedError('a tensor whose sizes or strides are no sizes')
    flat, count = storage.flat, math.prod(size)
    have = flat.numel() // dtype.itemsize
    last = offset + sum((each - 1) * step for each, step in zip(size, stride)) if count else offset - 1
    if last >= have or offset > have:
        raise DamagedError(f'a tensor of the size {list(size)} reaches beyond the {have} elements of its storage')
    if max(count, *size, 0) * dtype.itemsize > max(storage.length, MAX_EXPANDED):
        raise DamagedError(f'a tensor of the size {list(size)} is larger than the file')
    start = flat.storage_offset()
    if start % dtype.itemsize:
        raise DamagedError('a tensor that begins within an element')
    if dtype is torch.bool:
        storage.check_bools()
    view = torch.empty(0, dtype=dtype, device=flat.device)
    return view.set_(flat.untyped_storage(), start // dtype.itemsize + offset, size, stride)


def number_type(name: Any, order: Any) -> np.dtype:
    """A type of numpy's.

    Args:
        name: its short name, such as ``'f4'``.
        order: of its bytes: ``'<'``, ``'>'`` or ``'|'``.

    Raises:
        RefusedError: it is no type of numbers.
    """
    name = name.decode('latin1') if type(name) is bytes else name
    if type(name) is not str or name not in NUMPY_TYPES:
        what = 'objects' if name in ('O', 'O8', 'O4') else f'the type {printable(str(name), 40)}'
        raise RefusedError(f'an array of {what}')
    if order not in ('<', '>', '|', '='):
        raise DamagedError('an array without an order of bytes')
    return np.dtype(f'{order}{name}')


def array(data: Union[bytes, bytearray], dtype: Any, shape: Any, order: str, budget: Budget) -> np.ndarray:
    """An array of its own memory.

    Args:
        data: its elements.
        dtype: see :func:`number_type`.
        shape: of the array.
        order: ``'C'`` or ``'F'``.
        budget: of the file.

    Raises:
        DamagedError: data and shape do not agree.
    """
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or len(shape) > MAX_DIMS \
            or not all(map(_is_size, shape)) or max(shape, default=0) > MAX_STRIDE:
        raise DamagedError('an array whose type or shape is no such thing')
    if math.prod(shape) * dtype.itemsize != len(data):
        raise DamagedError(f'an array of the shape {list(shape)} and the type {dtype} has {len(data)} bytes')
    budget.take(len(data))
    flat = np.frombuffer(data, np.uint8).copy()
    if dtype.kind == 'b':
        _check_bools(torch.from_numpy(flat))
    return flat.view(dtype).reshape(shape, order=order)


def to_tensor(values: np.ndarray) -> Tensor:
    """An array of Paddle's, which hands bfloat16 over as the bits: numpy has no such type."""
    if values.dtype == np.uint16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder('='))
    return torch.from_numpy(values)
