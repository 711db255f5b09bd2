"""What a pickle of weights may ask for, and who makes it: a fixed table of names.

Each function gets the reader and the arguments of the call. What it is given comes from the file: everything is
validated, and nothing in it is called. Classes of other projects that only hold values become dicts or strings.
"""
import pathlib
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict

import numpy as np
import torch
from torch import Tensor, nn

from .arrays import TORCH_TYPES, array, number_type, tensor, to_tensor
from .pickles import DamagedError, Name, PickleReader, RefusedError, Unbuilt

__all__ = ['BUILDERS', 'CONSTANTS', 'STORAGE_TYPES']

# torch's older types of storages; the newest is untyped
STORAGE_TYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
}
STORAGE_TYPES = {
    f'{module}.{name}': dtype
    for name, dtype in STORAGE_TYPES.items()
    for module in ('torch', 'torch.cuda')
}
STORAGE_TYPES['torch.storage.UntypedStorage'] = torch.uint8

# names that stand for a value
CONSTANTS: Dict[str, Any] = {f'torch.{name}': dtype for name, dtype in TORCH_TYPES.items()}

# classes that are dicts with more comfort
DICTS = ('collections.defaultdict', 'addict.addict.Dict', 'easydict.EasyDict', 'mmcv.utils.config.ConfigDict',
         'mmengine.config.config.ConfigDict', 'yacs.config.CfgNode', 'fvcore.common.config.CfgNode',
         'detectron2.config.config.CfgNode', 'munch.Munch', 'pytorch_lightning.utilities.parsing.AttributeDict',
         'lightning_fabric.utilities.data.AttributeDict', 'lightning.fabric.utilities.data.AttributeDict')
# classes that only hold fields
RECORDS = ('argparse.Namespace', 'types.SimpleNamespace')
PATHS = {
    f'{module}.{kind}': getattr(pathlib, f'Pure{flavour}Path')
    for flavour in ('Posix', 'Windows')
    for kind in (f'{flavour}Path', f'Pure{flavour}Path')
    for module in ('pathlib', 'pathlib._local')
}
# names of classes that are given as arguments, and whose calls mean nothing here
MENTIONED = ('numpy.ndarray', 'builtins.list', 'builtins.dict', 'builtins.int', 'builtins.float', 'builtins.str',
             'builtins.bool', 'torch.Tensor', 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler')
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
ONE_CYCLE = 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise DamagedError(f'{what} of another form than it has')


def _bytes(data: Any) -> bytes:
    """Bytes, which a pickle of Python 2 has as a string."""
    return data.encode() if type(data) is str else data


# torch


def _check_gradient(value: Tensor, requires_grad: Any) -> bool:
    _expect(
        requires_grad is False or requires_grad is True and (value.is_floating_point() or value.is_complex()),
        'a tensor')
    return requires_grad


def _mark_gradient(value: Tensor, requires_grad: Any) -> Tensor:
    return value.requires_grad_(_check_gradient(value, requires_grad))


def _no_flags(flags: Any) -> None:
    if flags:
        raise RefusedError('a tensor that is to be conjugated or negated when it is read')


def _tensor_v1(reader: PickleReader, storage, offset, size, stride) -> Tensor:
    return tensor(storage, offset, size, stride)


def _tensor_v2(reader: PickleReader, storage, offset, size, stride, requires_grad, hooks, flags=None) -> Tensor:
    _no_flags(flags)
    return _mark_gradient(tensor(storage, offset, size, stride), requires_grad)


def _tensor_v3(reader: PickleReader, storage, offset, size, stride, requires_grad, hooks, dtype, flags=None) -> Tensor:
    _no_flags(flags)
    _expect(isinstance(dtype, torch.dtype), 'a tensor')
    return _mark_gradient(tensor(storage, offset, size, stride, dtype), requires_grad)


def _parameter(reader: PickleReader, data, requires_grad, hooks, state=None) -> nn.Parameter:
    _expect(isinstance(data, Tensor), 'a parameter')
    return nn.Parameter(data.detach(), _check_gradient(data, requires_grad))


TENSORS: Dict[str, Callable] = {
    'torch._utils._rebuild_tensor': _tensor_v1,
    'torch._utils._rebuild_tensor_v2': _tensor_v2,
    'torch._utils._rebuild_tensor_v3': _tensor_v3,
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_parameter_with_state': _parameter,
}


def _tensor_with_attributes(reader: PickleReader, function, kind, arguments, state) -> Tensor:
    """A tensor that somebody set attributes of; they are left out."""
    _expect(type(function) is Name and function.path in TENSORS and type(arguments) is tuple, 'a tensor')
    if type(kind) is not Name or kind.path != 'torch.Tensor':
        raise RefusedError(f'a subclass of tensors ({kind})')
    return TENSORS[function.path](reader, *arguments)


def _size(reader: PickleReader, sizes=()) -> torch.Size:
    _expect(type(sizes) in (tuple, list) and all(type(size) is int and 0 <= size < 2**62 for size in sizes), 'a size')
    return torch.Size(sizes)


def _device(reader: PickleReader, kind, index=None) -> torch.device:
    _expect(type(kind) is str and kind in ('cpu', 'cuda', 'meta', 'mps', 'xpu', 'npu', 'mlu', 'musa'), 'a device')
    _expect(index is None or type(index) is int and 0 <= index < 128, 'a device')
    try:
        return torch.device(kind, index) if index is not None else torch.device(kind)
    except RuntimeError:
        raise RefusedError(f'a device of the kind {kind}') from None


# numpy


def _dtype(reader: PickleReader, name, align=False, copy=True) -> Unbuilt:

    def build(reader: PickleReader, state) -> np.dtype:
        # version, order of bytes, nothing of arrays, names and fields, no size and alignment, no flags
        _expect(type(state) is tuple and len(state) == 8 and state[0] == 3, 'a type of numpy')
        if state[2:] != (None, None, None, -1, -1, 0):
            raise RefusedError('an array of structures')
        return number_type(name, state[1].decode('latin1') if type(state[1]) is bytes else state[1])

    number_type(name, '=')
    return Unbuilt('type of numpy', build)


def _finished(reader: PickleReader, values: np.ndarray):
    return to_tensor(values) if reader.as_tensors else values


def _new_array(reader: PickleReader, kind, shape, code) -> Unbuilt:
    if type(kind) is not Name or kind.path != 'numpy.ndarray':
        raise RefusedError(f'a subclass of arrays ({kind})')

    def build(reader: PickleReader, state):
        _expect(type(state) is tuple and len(state) == 5 and state[0] == 1, 'an array')
        _, shape, dtype, fortran, data = state
        data = _bytes(data)
        _expect(type(data) in (bytes, bytearray), 'an array')
        return _finished(reader,
                         array(data, dtype, shape, 'F' if fortran is True or fortran == 1 else 'C', reader.budget))

    return Unbuilt('array', build)


def _array_from_buffer(reader: PickleReader, data, dtype, shape, order):
    _expect(type(data) in (bytes, bytearray) and order in ('C', 'F'), 'an array')
    return _finished(reader, array(data, dtype, shape, order, reader.budget))


def _scalar(reader: PickleReader, dtype, data) -> np.generic:
    data = _bytes(data)
    _expect(type(data) is bytes, 'a number')
    return array(data, dtype, (), 'C', reader.budget)[()]


# Python


def _encode(reader: PickleReader, text, encoding='utf-8') -> bytes:
    """How protocol 2 has bytes."""
    _expect(type(text) is str and encoding in ('latin1', 'latin-1'), 'a string of bytes')
    reader.budget.take(len(text))
    try:
        return text.encode('latin1')
    except UnicodeEncodeError:
        raise DamagedError('a string of bytes of another form than it has') from None


def _ordered_dict(reader: PickleReader, items=None) -> OrderedDict:
    container = reader.hold(OrderedDict(), ())
    for item in items if type(items) is list else items.items() if isinstance(items, dict) else items or ():
        _expect(type(item) in (tuple, list) and len(item) == 2, 'an ordered dict')
        reader.pairs(container, list(item))
    return container


def _counter(reader: PickleReader, counts=None) -> Counter:
    counts = {} if counts is None else counts
    _expect(type(counts) is dict and all(type(count) is int for count in counts.values()), 'a counter')
    return Counter(counts)


def _set(kind: Callable) -> Callable:

    def build(reader: PickleReader, values=()):
        _expect(type(values) in (list, tuple, set, frozenset), 'a set')
        return kind(map(reader.key, values))

    return build


def _tuple(reader: PickleReader, values=()):
    """How Paddle has a tensor within other containers: its name and its values."""
    _expect(type(values) is tuple, 'a tuple')
    if reader.as_tensors and len(values) == 2 and type(values[0]) is str and isinstance(values[1], Tensor):
        return values[1]
    return values


def _slice(reader: PickleReader, *bounds) -> slice:
    _expect(all(bound is None or type(bound) is int for bound in bounds), 'a slice')
    return slice(*bounds)


def _complex(reader: PickleReader, real=0., imaginary=0.) -> complex:
    _expect({type(real), type(imaginary)} <= {int, float}, 'a complex number')
    return complex(real, imaginary)


def _no_bytes(reader: PickleReader) -> bytes:
    """How protocol 2 has a string of no bytes, such as the data of an empty array."""
    return b''


def _bytearray(reader: PickleReader, data=b'', encoding=None) -> bytearray:
    _expect(type(data) in (bytes, bytearray) and encoding is None, 'a string of bytes')
    reader.budget.take(len(data))
    return bytearray(data)


def _getattr(reader: PickleReader, owner, name):
    """How protocol 2 has methods: of MMEngine's log the statistics, which its class brings itself, and of its schedule
    of one cycle the form of the curve."""
    path = owner.path if type(owner) is Name else None
    if path == HISTORY and name in ('min', 'max', 'current', 'mean'):
        return None
    if path == ONE_CYCLE and name in ('_annealing_cos', '_annealing_linear'):
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
        return OneCycleParamScheduler._annealing_cos if name == '_annealing_cos' else \
            OneCycleParamScheduler._annealing_linear
    raise RefusedError('a reference to builtins.getattr')


# other projects


def _dict(reader: PickleReader, *arguments) -> dict:
    """Filled by what follows; ConfigDict alone comes with its items."""
    items = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], dict) else {}
    return reader.record(dict(items), has_fields=False)


def _record(reader: PickleReader) -> dict:
    return reader.record({}, has_fields=True)


def _path(kind: Callable) -> Callable:

    def build(reader: PickleReader, *parts) -> str:
        _expect(all(type(part) is str for part in parts), 'a path')
        reader.budget.take(sum(map(len, parts)))
        return str(kind(*parts))

    return build


def _history(reader: PickleReader) -> Unbuilt:
    """A series of MMEngine's log, made anew from its two arrays."""

    def build(reader: PickleReader, state):
        from mmengine.logging import HistoryBuffer
        _expect(type(state) is dict, 'a series of the log')
        values, counts, length = (state.get(key) for key in ('_log_history', '_count_history', 'max_length'))
        _expect(
            isinstance(values, np.ndarray) and isinstance(counts, np.ndarray) and values.ndim == counts.ndim == 1
            and len(values) == len(counts) and type(length) is int and 0 < length < 2**31, 'a series of the log')
        return HistoryBuffer(values, counts, length)

    return Unbuilt('series of the log', build)


def _mention(path: str) -> Callable:

    def build(reader: PickleReader, *arguments):
        raise RefusedError(f'a reference to {path}')

    return build


BUILDERS: Dict[str, Callable] = {
    **{
        path: _mention(path)
        for path in (*MENTIONED, *STORAGE_TYPES)
    },
    **TENSORS,
    'torch._tensor._rebuild_from_type_v2': _tensor_with_attributes,
    'torch.Size': _size,
    'torch.device': _device,
    'numpy.dtype': _dtype,
    'numpy._core.multiarray._reconstruct': _new_array,
    'numpy._core.multiarray.scalar': _scalar,
    'numpy._core.numeric._frombuffer': _array_from_buffer,
    '_codecs.encode': _encode,
    'collections.OrderedDict': _ordered_dict,
    'collections.Counter': _counter,
    'builtins.set': _set(set),
    'builtins.frozenset': _set(frozenset),
    'builtins.tuple': _tuple,
    'builtins.slice': _slice,
    'builtins.complex': _complex,
    'builtins.bytearray': _bytearray,
    'builtins.bytes': _no_bytes,
    'builtins.getattr': _getattr,
    **{
        path: _dict
        for path in DICTS
    },
    **{
        path: _record
        for path in RECORDS
    },
    **{
        path: _path(kind)
        for path, kind in PATHS.items()
    },
    HISTORY: _history,
}
