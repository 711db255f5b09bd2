"""Hostile checkpoints: what a file may try (payloads), and what it may be packed in (containers).

A payload is a piece of a pickle that puts one value on the stack; a container makes a file of it. The tests try a fixed
table of both, the campaign in ``benchmarks/reliability/files.py`` random ones and mutations of honest files.
"""
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from typing import Any, Callable, Dict, Optional

import numpy as np
import torch

__all__ = [
    'ARCHIVES', 'CONTAINERS', 'HARMLESS', 'HEADERS', 'PAYLOADS', 'UNEVEN', 'executed', 'honest', 'pack', 'same',
    'state_dict'
]

CANARY = 'canary'  # file that payloads leave in the current folder when they run
COMMAND = f'touch {CANARY}'
SCRIPT = f'open({CANARY!r}, "w").close()'
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
STORAGE = bytes(range(64)) * 4  # the values of storage '0', 64 floats

# pieces of pickles


def value(content: Any) -> bytes:
    """Plain Python as the opcodes that make it, without the first and the last."""
    return pickle.dumps(content, 2)[2:-1]


def text(content: str) -> bytes:
    return b'X' + struct.pack('<I', len(content.encode())) + content.encode()


def name(path: str) -> bytes:
    module, _, attribute = path.rpartition('.')
    return b'c' + f'{module}\n{attribute}\n'.encode()


def arguments(*values: Any) -> bytes:
    """A tuple; bytes are taken as pieces."""
    return b'(' + b''.join(each if isinstance(each, bytes) else value(each) for each in values) + b't'


def call(path: str, *values: Any) -> bytes:
    return name(path) + arguments(*values) + b'R'


def new(path: str, *values: Any) -> bytes:
    return name(path) + arguments(*values) + b'\x81'


def entries(*pairs: Any) -> bytes:
    """A dict of pieces."""
    return b'}(' + b''.join(each if isinstance(each, bytes) else value(each) for each in pairs) + b'u'


def storage(kind: bytes = name('torch.FloatStorage'), key: Any = '0', location: Any = 'cpu', count: Any = 64) -> bytes:
    return arguments('storage', kind, key, location, count) + b'Q'


def tensor(offset: Any = 0,
           size: Any = (2, 3),
           stride: Any = (3, 1),
           of: Optional[bytes] = None,
           rest: Any = ()) -> bytes:
    rest = rest or (False, call('collections.OrderedDict'))
    return call('torch._utils._rebuild_tensor_v2', of or storage(), offset, size, stride, *rest)


def dtype(code: Any = 'f8', state: Any = (3, '<', None, None, None, -1, -1, 0)) -> bytes:
    return call('numpy.dtype', code, False, True) + value(state) + b'b'


def array(shape: Any = (2, ), kind: bytes = dtype(), data: Any = b'', fortran: Any = False, version: Any = 1) -> bytes:
    empty = call('numpy._core.multiarray._reconstruct', name('numpy.ndarray'), (0, ),
                 call('_codecs.encode', 'b', 'latin1'))
    data = call('_codecs.encode', data.decode('latin1'), 'latin1') if isinstance(data, bytes) else value(data)
    return empty + arguments(version, shape, kind, fortran, data) + b'b'


def history(values: bytes, counts: bytes, length: Any = 1000) -> bytes:
    return new(HISTORY) + entries('_log_history', values, '_count_history', counts, 'max_length', length) + b'b'


def bomb(levels: int) -> bytes:
    """Each list has the one before it twice."""
    return b']q\x01' + b''.join(b'](h\x01h\x01eq\x01' for _ in range(levels))


GOOD = array(data=bytes(16))
MANY = 300_000  # levels and members; the two millions end at the same check
FLOOD = b'}(' + b''.join(b'\x8a\x0a' + (index * (2**61 - 1)).to_bytes(10, 'little', signed=True) + b'N'
                         for index in range(1, 50_000)) + b'u'

SCRIPTED = ('builtins.exec', '__builtin__.exec', 'builtins.eval', 'code.interact', 'timeit.timeit',
            'torch.fx.graph_module._exec_with_source', 'mmengine.config.Config.fromstring')

# what runs code where it is not refused
CODE: Dict[str, bytes] = {
    **{
        f'{path} by REDUCE': call(path, COMMAND)
        for path in ('os.system', 'posix.system', 'os.popen', 'subprocess.Popen', 'pty.spawn', 'commands.getoutput')
    },
    **{
        f'{path} by REDUCE': call(path, SCRIPT)
        for path in SCRIPTED
    },
    **dict([
        ('os.system by NEWOBJ', new('os.system', COMMAND)),
        ('os.system by NEWOBJ_EX', name('os.system') + arguments(COMMAND) + b'}\x92'),
        ('os.system by INST', b'(' + text(COMMAND) + b'ios\nsystem\n'),
        ('os.system by OBJ', b'(' + name('os.system') + text(COMMAND) + b'o'),
        ('os.system by BUILD', new('argparse.Namespace') + entries('__setstate__', name('os.system')) + b'b'),
        ('os.system by STACK_GLOBAL', text('os') + text('system') + b'\x93' + arguments(COMMAND) + b'R'),
        ('os.system by a name with points', text('torch') + text('os.system') + b'\x93' + arguments(COMMAND) + b'R'),
        ('os.system by an extension', b'\x82\xf0' + arguments(COMMAND) + b'R'),
        ('an extension of two bytes', b'\x83\xf0\x00' + arguments(COMMAND) + b'R'),
        ('an extension of four bytes', b'\x84\xf0\x00\x00\x00' + arguments(COMMAND) + b'R'),
        ('os.system by getattr', call('builtins.getattr', name('torch.Tensor'), 'os') + arguments(COMMAND) + b'R'),
        ('getattr of the log', call('builtins.getattr', name(HISTORY), '__init__') + arguments(COMMAND) + b'R'),
        ('os.system as a factory', call('collections.defaultdict', name('os.system'))),
        ('os.system of a tensor',
         call('torch._tensor._rebuild_from_type_v2', name('os.system'), name('torch.Tensor'), arguments(COMMAND), {})),
        ('a function by the table, called', call('torch.FloatStorage', COMMAND)),
        ('a subclass of tensors',
         call('torch._tensor._rebuild_from_type_v2', name('torch._utils._rebuild_tensor_v2'), name('os.system'),
              arguments(), {})),
        ('a file within the file', call('torch.storage._load_from_bytes', b'B' + struct.pack('<I', 4) + b'cos\n')),
        ('operator.methodcaller', call('operator.methodcaller', 'system', COMMAND)),
        ('functools.partial', call('functools.partial', name('os.system'), COMMAND)),
        ('the attributes of a class', name('collections.OrderedDict') + entries('__reduce__', 1) + b'b'),
        ('the attributes of a dict', b'}' + entries('__class__', 1) + b'b'),
        ('the methods of a state dict', call('collections.OrderedDict') + entries('items', 1, '_metadata', 'x') + b'b'),
    ])
}

# what reads or writes where nothing is, makes much of little, or never ends
MEMORY: Dict[str, bytes] = dict([
    ('an array of objects', array(kind=dtype('O8', (3, '|', None, None, None, -1, -1, 63)), data=[1, 2])),
    ('an array of structures',
     array(kind=dtype('V8', (3, '|', None, ('a', ), {
         'a': (1, 0)
     }, 8, 1, 16)), data=bytes(16))),
    ('an array of texts', array(kind=dtype('U1'), data=bytes(8))),
    ('an array with too little', array((1000, ), data=bytes(16))),
    ('an array with too much', array((1, ), data=bytes(4096))),
    ('an array of negative size', array((-1, -2), data=bytes(16))),
    ('an array whose size overflows', array((2**33, 2**33), data=b'')),
    ('an array of no element and of all', array((0, 2**62), data=b'')),
    ('an array of many dimensions', array((1, ) * 60, data=bytes(8))),
    ('an array of fractions', array((2.0, ), data=bytes(16))),
    ('an array of a huge size', array((2**70, ), data=bytes(16))),
    ('an array of a list', array(data=[1.0, 2.0])),
    ('an array twice', GOOD + arguments(1, (2, ), dtype(), False, bytes(16)) + b'b'),
    ('an array in itself', call('numpy._core.multiarray._reconstruct', name('numpy.ndarray'),
                                (0, ), 'b') + b'q\x05' + arguments(1, b'h\x05', dtype(), False, 'x') + b'b'),
    ('an unfinished array', call('numpy._core.multiarray._reconstruct', name('numpy.ndarray'), (0, ), 'b')),
    ('an unfinished type', call('numpy.dtype', 'f8', False, True)),
    ('a type of another size', dtype('f8', (3, '<', None, None, None, 1000, 1, 0))),
    ('a type with fields', dtype('f8', (3, '<', None, ('a', ), {}, -1, -1, 0))),
    ('a type with a base', dtype('f8', (3, '<', ('O', (2, )), None, None, -1, -1, 0))),
    ('a type of a type', dtype('f8', 'x')),
    ('a matrix', call('numpy._core.multiarray._reconstruct', name('numpy.matrix'), (0, ), 'b')),
    ('booleans of seven', array((2, ), dtype('b1', (3, '|', None, None, None, -1, -1, 0)), b'\x07\x02')),
    ('a number of an object',
     call('numpy._core.multiarray.scalar', dtype('O8', (3, '|', None, None, None, -1, -1, 63)), 'x' * 8)),
    ('a number of too little', call('numpy._core.multiarray.scalar', dtype(), 'abc')),
    ('an array of a buffer',
     call('numpy._core.numeric._frombuffer', b'B' + struct.pack('<I', 4) + b'abcd', dtype(), (9, ), 'C')),
    ('an offset beyond', tensor(offset=60)),
    ('an offset far beyond', tensor(offset=2**40)),
    ('a negative offset', tensor(offset=-1)),
    ('a size beyond', tensor(size=(10, 10), stride=(10, 1))),
    ('a stride beyond', tensor(stride=(64, 1))),
    ('a negative size', tensor(size=(-2, 3))),
    ('a negative stride', tensor(stride=(-3, 1))),
    ('a size that overflows', tensor(size=(2**32, 2**32), stride=(0, 0))),
    ('a size of two powers', tensor(size=(2**62, 4), stride=(0, 0))),
    ('much of one element', tensor(size=(2**40, ), stride=(0, ))),
    ('nothing of much', tensor(size=(0, 2**61), stride=(1, 1))),
    ('a stride that overflows', tensor(size=(1, 2), stride=(2**62, 1))),
    ('sizes without strides', tensor(stride=(1, ))),
    ('sizes of fractions', tensor(size=(2.0, 3.0))),
    ('sizes of truths', tensor(size=(True, True))),
    ('sizes that are one text', tensor(size='ab', stride='ab')),
    ('many dimensions', tensor(size=(1, ) * 70, stride=(1, ) * 70)),
    ('a gradient of integers', tensor(of=storage(name('torch.LongStorage'), count=32), rest=(True, None))),
    ('a gradient that is none', tensor(rest=('yes', None))),
    ('flags of a tensor', tensor(rest=(False, None, {
        'conj': True
    }))),
    ('a tensor of no storage', tensor(of=value('0'))),
    ('a tensor of a name', tensor(of=name('torch.FloatStorage'))),
    ('a type that is none', call('torch._utils._rebuild_tensor_v3', storage(), 0, (2, ), (1, ), False, None, 'float')),
    ('booleans of bytes', tensor(of=storage(name('torch.BoolStorage'), count=256))),
    ('a storage of more', tensor(of=storage(count=65))),
    ('a huge storage', tensor(of=storage(count=2**50))),
    ('a storage whose size overflows', tensor(of=storage(count=2**62))),
    ('a storage of negative size', tensor(of=storage(count=-1))),
    ('a storage of another file', tensor(of=storage(key='../../etc/passwd'))),
    ('a storage of a list', tensor(of=storage(key=['0']))),
    ('a storage of a function', tensor(of=storage(kind=name('os.system')))),
    ('a storage of an unknown type', tensor(of=storage(kind=name('torch.QInt8Storage')))),
    ('a storage nowhere', tensor(of=storage(location=7))),
    ('a storage of two types', arguments(tensor(), tensor(of=storage(name('torch.DoubleStorage'), count=32)))),
    ('a bare storage', storage()),
    ('a persistent number', value(7) + b'Q'),
    ('a persistent text', value('storage') + b'Q'),
    ('a persistent tuple of nothing', arguments() + b'Q'),
    ('a persistent module', arguments('module', name('torch.FloatStorage'), 'x.py', 'x') + b'Q'),
    ('a persistent line', b'P0\n'),
    ('a sparse tensor', call('torch._utils._rebuild_sparse_tensor', 'x', arguments())),
    ('a quantised tensor', call('torch._utils._rebuild_qtensor', storage(), 0, (2, ), (1, ), arguments(), False, None)),
    ('a tensor of another wrapper', call('torch._utils._rebuild_wrapper_subclass', 1)),
    ('a parameter of nothing', call('torch._utils._rebuild_parameter', 'x', True, None)),
    ('a device that is none', call('torch.device', 'cuda', 10**9)),
    ('tuples in tuples', b')' + b'\x85' * MANY),
    ('tuples in marks', b'(' * MANY + b't' * MANY),
    ('lists in lists', b']' * MANY + b'a' * (MANY - 1)),
    ('dicts in dicts', b'}' + b'K\x00}' * MANY + b's' * MANY),
    ('ordered dicts in ordered dicts',
     (name('collections.OrderedDict') + b')R' + b'K\x00') * 2000 + b'N' + b's' * 2000),
    ('a tuple of tuples as a key', b'}' + b')' + b'\x85' * 90 + b'Ns'),
    ('a list as a key', b'}]Ns'),
    ('a bomb of lists', bomb(60)),
    ('a bomb of arguments',
     b'(' + b'N' * 100_000 + b'tq\x01' + b''.join(name('torch.Size') + b'h\x01\x85R0' for _ in range(2000)) + b'N'),
    ('a bomb of copies', b'(' + b'N' * 100_000 + b'tq\x01' + name('builtins.set') + b'q\x02' + b'(h\x01tq\x030' +
     b'h\x02h\x03R0' * 3000 + b'N'),
    ('a bomb of texts', text('x' * 1_000_000) + b'q\x01' +
     b''.join(call('_codecs.encode', b'h\x01', 'latin1') + b'0' for _ in range(2000))),
    ('a list in itself', b']q\x01h\x01a'),
    ('a dict in itself', b'}q\x01K\x00h\x01s'),
    ('a list in its tuple', b']q\x01h\x01\x85q\x02ah\x01'),
    ('keys that collide', FLOOD),
    ('an integer of gigabytes', b'\x8b\xff\xff\xff\x7f'),
    ('an integer of negative length', b'\x8b\xff\xff\xff\xff'),
    ('a text of exabytes', b'\x8d' + struct.pack('<Q', 2**60) + b'x'),
    ('bytes of exabytes', b'\x8e' + struct.pack('<Q', 2**62) + b'x'),
    ('an array of bytes of exabytes', b'\x96' + struct.pack('<Q', 2**62) + b'x'),
    ('a text of gigabytes', b'X' + struct.pack('<I', 2**32 - 1) + b'x'),
    ('a text that is none', b'X\x02\x00\x00\x00\xff\xfe'),
    ('a name without an end', b'c' + b'a' * 5000),
    ('a name in colours', b'c\x1b[31mred\rbad\x00\n\x07bell\n'),
    ('a long name', b'c' + b'a.' * 400 + b'\n' + b'b' * 900 + b'\n'),
    ('many containers', b'}' * 1_200_000),
    ('a buffer from outside', b'\x97'),
    ('a buffer to be read only', b']\x98'),
    ('the same twice', b']2a'),
    ('a reference to nothing', b'j\xff\xff\xff\x7f'),
    ('a mark too few', b'tt'),
    ('nothing on the stack', b'000000'),
    ('two values', b'NN'),
    ('what is no opcode', b'\xff'),
    ('marks without end', b'(' * 1000),
    ('a log of two lengths', history(GOOD, array((3, ), data=bytes(24)))),
    ('a log without length', history(GOOD, GOOD, -1)),
    ('a log of huge length', history(GOOD, GOOD, 2**63)),
    ('a log of tables', history(array((2, 1), data=bytes(16)), array((2, 1), data=bytes(16)))),
    ('a log of texts', history(value('ab'), value('ab'))),
    ('a log of nothing', new(HISTORY) + b'}b'),
    ('a log with arguments', new(HISTORY, [1], [2])),
    ('a count of texts', call('collections.Counter', {'a': 'b'})),
    ('an ordered dict of texts', call('collections.OrderedDict', ['abc', 'de'])),
])
PAYLOADS: Dict[str, bytes] = {**CODE, **MEMORY}
# read, without what they set: no attribute of a file is
HARMLESS = {'the methods of a state dict'}
# not one value: in a list, say, they may be well formed
UNEVEN = {'two values', 'nothing on the stack', 'a mark too few', 'marks without end'}

# containers


def _pickle(payload: bytes, protocol: int = 2, weight: Optional[bytes] = None) -> bytes:
    """A checkpoint with a payload before an honest tensor."""
    weights = entries('payload', payload, 'weight', weight or tensor())
    return pickle.PROTO + bytes([protocol]) + entries('state_dict', weights) + b'.'


def _zip(members: Dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', method) as archive:
        for member, data in members.items():
            archive.writestr(f'archive/{member}', data)
    return buffer.getvalue()


def _members(payload: bytes) -> Dict[str, bytes]:
    return {'version': b'3\n', 'byteorder': b'little', 'data.pkl': _pickle(payload), 'data/0': STORAGE}


def _legacy(payload: bytes) -> bytes:
    head = [0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True, type_sizes={})]
    return b''.join(pickle.dumps(part, 2) for part in head) + _pickle(payload) + pickle.dumps(['0'], 2) \
        + struct.pack('<q', 64) + STORAGE


def _tar(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for member, data in (('storages', pickle.dumps(0,
                                                       2)), ('tensors', pickle.dumps(0,
                                                                                     2)), ('pickle', _pickle(payload))):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


CONTAINERS: Dict[str, Callable[[bytes], bytes]] = {
    'zip': lambda payload: _zip(_members(payload)),
    'deflated': lambda payload: _zip(_members(payload), zipfile.ZIP_DEFLATED),
    'legacy': _legacy,
    'pdparams': lambda payload: _pickle(payload, 4, GOOD),
    'tar': _tar,
}
SUFFIXES = dict(pdparams='.pdparams', tar='.pth.tar', safetensors='.safetensors')


def pack(container: str, payload: bytes, path) -> str:
    """Write a hostile file; its name is ``path`` with the container's ending. Returns the name."""
    path = f'{path}{SUFFIXES.get(container, ".pth")}'
    with open(path, 'wb') as file:
        file.write(CONTAINERS[container](payload))
    return path


def _changed(data: bytes, found: bytes, change: bytes, last: bool = True) -> bytes:
    """Bytes in place of those at the last (or first) place of a signature."""
    at = data.rfind(found) if last else data.find(found)
    return data[:at] + change + data[at + len(change):]


def _archives() -> Dict[str, bytes]:
    """Zip archives whose directory lies, and such as are of something else."""
    plain, good = _members(tensor()), _zip(_members(tensor()))
    entry = good.rfind(b'PK\x01\x02')
    end = good.rfind(b'PK\x05\x06')
    twice = _zip({**plain, 'data/1': STORAGE})
    bomb = _zip({**plain, 'data/0': bytes(70 << 20)}, zipfile.ZIP_DEFLATED)
    return {
        'no directory': good[:end],
        'cut in the middle': good[:len(good) // 2],
        'a member of exabytes': _changed(good, b'PK\x01\x02', good[entry:entry + 20] + b'\xfe' * 8),
        'a member beyond the end': _changed(good, b'PK\x01\x02', good[entry:entry + 42] + b'\xff\xff\xff\x7f'),
        'a directory beyond the end': _changed(good, b'PK\x05\x06', good[end:end + 16] + b'\xff\xff\xff\x7f'),
        'a directory of exabytes': _changed(good, b'PK\x05\x06', good[end:end + 12] + b'\xff\xff\xff\x7f'),
        'more members than there are': _changed(good, b'PK\x05\x06', good[end:end + 8] + b'\xfe\xff\xfe\xff'),
        'an encrypted member': _changed(good, b'PK\x01\x02', good[entry:entry + 8] + b'\x01\x00'),
        'a member by an unknown method': _changed(good, b'PK\x01\x02', good[entry:entry + 10] + b'\x63\x00'),
        'a member of the same name': twice.replace(b'archive/data/1', b'archive/data/0'),
        'another value': good.replace(STORAGE, STORAGE[:-1] + b'\x00'),
        'a bomb': bomb,
        'a bomb that lies': bomb.replace(struct.pack('<I', 70 << 20), struct.pack('<I', 256)),
        'values that are not there': _zip({
            key: data
            for key, data in plain.items() if key != 'data/0'
        }),
        'two pickles': _zip({
            **plain, 'more/data.pkl': plain['data.pkl']
        }),
        'TorchScript': _zip({
            **plain, 'constants.pkl': plain['data.pkl']
        }),
        'numpy': _zip({'w.npy': b'\x93NUMPY'}),
        'something else': _zip({'readme.txt': b'no weights'}),
        'an archive of nothing': b'PK\x05\x06' + bytes(18),
        'another order of bytes': _zip({
            **plain, 'byteorder': b'big'
        }),
    }


def _safe(header: Any, data: bytes = STORAGE, size: Optional[int] = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if size is None else size) + text + data


def _entry(kind: Any = 'F32', shape: Any = (8, 8), span: Any = (0, 256)) -> dict:
    return dict(w=dict(dtype=kind, shape=shape, data_offsets=span))


HEADERS: Dict[str, bytes] = {
    'a header of exabytes': _safe(_entry(), size=2**60),
    'a header of all and one': _safe(_entry(), size=10_000),
    'no JSON': _safe(b'{"w": '),
    'nested JSON': _safe(b'{"w":' + b'[' * 200_000),
    'a list': _safe(b'{}'.replace(b'}', b'"a":[1]}')),
    'an unknown type': _safe(_entry('F4')),
    'a type that is none': _safe(_entry(['F32'])),
    'values beyond the end': _safe(_entry(span=(0, 2**40), shape=(2**38, ))),
    'values from beyond the end': _safe(_entry(span=(2**40, 2**40 + 256))),
    'values before the start': _safe(_entry(span=(-256, 0))),
    'values of negative size': _safe(_entry(span=(256, 0))),
    'a shape of more': _safe(_entry(shape=(8, 9))),
    'a shape of less': _safe(_entry(shape=(8, 7))),
    'a shape that overflows': _safe(_entry(shape=(2**32, 2**32))),
    'a shape of negative sizes': _safe(_entry(shape=(-8, -8))),
    'a shape of fractions': _safe(_entry(shape=(8.0, 8.0))),
    'a shape of many dimensions': _safe(_entry(shape=(1, ) * 100_000)),
    'booleans of bytes': _safe(_entry('BOOL', (256, ))),
    'values used often': _safe({f'w{index}': _entry()['w']
                                for index in range(400_000)}),
    'no header': b'\x10\x00\x00\x00\x00\x00\x00\x00{',
}
ARCHIVES = _archives()

# honest files


def state_dict() -> 'OrderedDict[str, torch.Tensor]':
    """Weights of all kinds: views of one storage, turned, empty, of every type."""
    base = torch.arange(24.)
    numbers = dict(
        base=base,
        part=base[3:9],
        turned=base.view(4, 6).t(),
        single=torch.tensor(3.),
        empty=torch.empty(0, 3),
        grown=torch.ones(1).expand(3, 4),
        last=torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        flags=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(torch.rand(2, 2)),
        frozen=torch.nn.Parameter(torch.rand(2), requires_grad=False))
    kinds = ('float64', 'float16', 'bfloat16', 'complex64', 'complex128', 'int8', 'int16', 'int32', 'int64', 'uint8')
    return OrderedDict(numbers, **{kind: (10 * torch.rand(5)).to(getattr(torch, kind)) for kind in kinds})


def honest(path: str, container: str) -> str:
    """Write an honest checkpoint. Returns its name, with the container's ending."""
    content = dict(
        state_dict=state_dict(), epoch=3, meta=dict(names=['a', 'b'], size=torch.Size([2, 3]), lr=(1e-3, None)))
    path = f'{path}{SUFFIXES.get(container, ".pth")}'
    if container == 'pdparams':
        arrays = {
            key: np.asarray(each.detach().float())
            for key, each in content['state_dict'].items() if not each.is_complex()
        }
        with open(path, 'wb') as file:
            pickle.dump(arrays, file, 4)
    elif container == 'safetensors':
        from safetensors.torch import save_file
        save_file(
            {
                key: each.detach().clone().contiguous()
                for key, each in content['state_dict'].items() if each.dtype != torch.complex128
            }, path)
    elif container == 'deflated':
        torch.save(content, path)
        with zipfile.ZipFile(path) as archive:
            members = {member.partition('/')[2]: archive.read(member) for member in archive.namelist()}
        with open(path, 'wb') as file:
            file.write(_zip(members, zipfile.ZIP_DEFLATED))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == 'zip')
    return path


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints are equal to the bit, strides and classes included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        facts = [(each.dtype, each.shape, each.stride(), each.storage_offset(), each.requires_grad) for each in (a, b)]
        return facts[0] == facts[1] and _bits(a) == _bits(b)
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a).__name__ == 'HistoryBuffer':
        return same((a.max_length, *a.data), (b.max_length, *b.data))
    return a == b or a != a and b != b


def _bits(values: torch.Tensor) -> bytes:
    return values.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def executed(folder) -> bool:
    """Whether a payload has run in this folder."""
    return os.path.exists(os.path.join(folder, CANARY))
