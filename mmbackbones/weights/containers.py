"""The formats of checkpoint files, told by their content: PyTorch's zip archives and older files, safetensors, and bare
pickles of arrays, as Paddle has them. Whatever else is met often is named for what it is."""
import io
import json
import os
import struct
import sys
import zlib
from typing import Any, BinaryIO, Dict, NamedTuple, Optional, Tuple

import torch

from .arrays import MAX_DIMS, TORCH_TYPES, MapLocation, Storage, place, read_bytes, tensor
from .builders import BUILDERS, CONSTANTS, STORAGE_TYPES
from .pickles import Budget, DamagedError, Name, PickleReader, RefusedError, printable

__all__ = ['read_container']

# how files begin that are taken for checkpoints, and what they are
FOREIGN = (
    (b'version https://git-lfs', 'a pointer of Git LFS in place of the file: `git lfs pull` gets it'),
    (b'<', 'a page in HTML or XML: the download went wrong'),
    (b'\x89HDF', 'HDF5 (Keras): convert it with the tool of its authors'),
    (b'\x93NUMPY', 'an array of numpy: save a dict of tensors by torch.save'),
    (b'\x1f\x8b', 'compressed by gzip: unpack it first'),
    (b'BZh', 'compressed by bzip2: unpack it first'),
    (b'\xfd7zXZ', 'compressed by xz: unpack it first'),
    (b'\x28\xb5\x2f\xfd', 'compressed by zstd: unpack it first'),
    (b'7z\xbc\xaf', 'a 7z archive: unpack it first'),
    (b'Rar!', 'a RAR archive: unpack it first'),
    (b'GGUF', 'GGUF: convert it with the tool of its authors'),
    (b'\x89PNG', 'an image'),
    (b'\xff\xd8\xff', 'an image'),
    (b'\x7fELF', 'a program'),
    (b'\x08', 'ONNX or another protocol buffer: save the state_dict of the network it was made from'),
    (b'{', 'JSON'),
)
TAR_MAGIC, TAR_OFFSET = b'ustar', 257
# torch.save before 1.6 begins with the pickle of this number
LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
LEGACY_START = b'\x8a\x0a' + LEGACY_MAGIC.to_bytes(10, 'little') + b'.'
LEGACY_PROTOCOL = 1001
# the types that a header of safetensors names
SAFE_TYPES = {
    'F64': 'float64',
    'F32': 'float32',
    'F16': 'float16',
    'BF16': 'bfloat16',
    'F8_E4M3': 'float8_e4m3fn',
    'F8_E5M2': 'float8_e5m2',
    'F8_E8M0': 'float8_e8m0fnu',
    'I64': 'int64',
    'I32': 'int32',
    'I16': 'int16',
    'I8': 'int8',
    'U64': 'uint64',
    'U32': 'uint32',
    'U16': 'uint16',
    'U8': 'uint8',
    'BOOL': 'bool',
    'C64': 'complex64',
}
MAX_HEADER = 100_000_000
# paddle.save adds the parameters' names within the program under this key
PROGRAM_NAMES = 'StructuredToParameterName@@'
MAX_MEMBERS = 200_000
STORED, DEFLATED = 0, 8


def _pickle(file: BinaryIO, budget: Budget, end: int, **kwargs) -> Any:
    return PickleReader(file, end, budget, BUILDERS, CONSTANTS, **kwargs).read()


def _identity(identity: tuple) -> tuple:
    """What a persistent id says: the type, the key, the location and the number of elements of a storage, and more.

    Raises:
        DamagedError: it is of another form.
    """
    if len(identity) < 5:
        raise DamagedError('a storage in it is not described as torch does')
    kind, storage_type, key, location, count = identity[:5]
    if kind != 'storage' or type(storage_type) is not Name or type(key) not in (str, int) or type(location) is not str \
            or type(count) is not int or not 0 <= count < 2**62:
        raise DamagedError('a storage in it is not described as torch does')
    if storage_type.path not in STORAGE_TYPES:
        raise RefusedError(str(storage_type))
    return STORAGE_TYPES[storage_type.path], str(key), location, count


# PyTorch's zip archives


class _Member(NamedTuple):
    """What the directory of an archive says of a member."""
    offset: int
    stored: int
    size: int
    method: int
    checksum: int


def _directory(file: BinaryIO, length: int) -> Dict[str, _Member]:
    """The members of a zip archive.

    Python's ``zipfile`` does not tell where a member's bytes are, and takes directories of any size.
    """

    def read(offset: int, form: str) -> tuple:
        size = struct.calcsize(form)
        if not 0 <= offset <= length - size:
            raise DamagedError('its directory is damaged')
        file.seek(offset)
        return struct.unpack(form, file.read(size))

    start = max(0, length - (1 << 16) - 22)
    file.seek(start)
    found = file.read().rfind(b'PK\x05\x06')
    if found < 0:
        raise DamagedError('it is cut off: the directory of the archive, at its end, is not there')
    end = start + found
    count, size, offset = read(end, '<10xHII2x')
    if end >= 20 and (0xffff == count or 0xffffffff in (size, offset)):
        magic, where = read(end - 20, '<4s4xQ4x')
        if magic == b'PK\x06\x07':
            magic, count, size, offset = read(where, '<4s28xQQQ')
            if magic != b'PK\x06\x06':
                raise DamagedError('its directory is damaged')
    if count > MAX_MEMBERS or offset + size > length:
        raise DamagedError('its directory is damaged')
    file.seek(offset)
    entries, members, position = file.read(size), {}, 0
    for _ in range(count):
        entry = entries[position:position + 46]
        if len(entry) < 46 or not entry.startswith(b'PK\x01\x02'):
            raise DamagedError('its directory is damaged')
        flags, method, checksum, stored, full, name_size, extra_size, comment_size, at = struct.unpack(
            '<8xHH4xIIIHHH8xI', entry)
        position += 46
        name = entries[position:position + name_size].decode(errors='backslashreplace')
        extra = entries[position + name_size:position + name_size + extra_size]
        position += name_size + extra_size + comment_size
        full, stored, at = _large_sizes(extra, full, stored, at)
        if flags & 1:
            raise DamagedError('it is encrypted')
        if name in members:
            raise DamagedError(f'it has two members {printable(name, 60)}')
        members[name] = _Member(at, stored, full, method, checksum)
    return members


def _large_sizes(extra: bytes, *sizes: int) -> Tuple[int, ...]:
    """Sizes of 4 GiB and more are in a field of their own."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from('<HH', extra, position)
        if kind == 1:
            values = [each[0] for each in struct.iter_unpack('<Q', extra[position + 4:position + 4 + size // 8 * 8])]
            return tuple(values.pop(0) if each == 0xffffffff and values else each for each in sizes)
        position += 4 + size
    return sizes


class _Archive:
    """Members of a zip archive, and the storages among them."""

    def __init__(self, file: BinaryIO, length: int, map_location: MapLocation):
        self.file, self.length, self.map_location = file, length, map_location
        self.budget = Budget(length)
        self.members = _directory(file, length)
        self.storages: Dict[str, Storage] = {}

    def read(self, name: str) -> torch.Tensor:
        """The bytes of a member."""
        member = self.members[name]
        if member.offset > self.length - 30:
            raise DamagedError(f'its member {printable(name, 60)} is not where the directory says')
        self.file.seek(member.offset)
        magic, name_size, extra_size = struct.unpack('<4s22xHH', self.file.read(30))
        start = member.offset + 30 + name_size + extra_size
        if magic != b'PK\x03\x04' or start + member.stored > self.length:
            raise DamagedError(f'its member {printable(name, 60)} is not where the directory says')
        self.file.seek(start)
        if member.method == STORED and member.stored == member.size:
            data = read_bytes(self.file, member.size, self.budget)
        elif member.method == DEFLATED:
            data = self._inflate(member)
        else:
            raise DamagedError(f'its member {printable(name, 60)} is compressed in a way that torch does not know')
        # a writer that was told to save the time leaves it zero
        if member.checksum and zlib.crc32(memoryview(data.numpy())) != member.checksum:
            raise DamagedError(f'its member {printable(name, 60)} is not what was written: the checksum differs')
        return data

    def _inflate(self, member: _Member) -> torch.Tensor:
        self.budget.take(member.size)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = bytearray(inflater.decompress(self.file.read(member.stored), member.size + 1))
        except zlib.error as error:
            raise DamagedError(f'a compressed member cannot be unpacked ({error})') from error
        if len(data) != member.size:
            raise DamagedError('a compressed member is of another size than the directory says')
        return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8, device='cpu')

    def text(self, name: str) -> Optional[bytes]:
        return self.read(name).numpy().tobytes() if name in self.members else None

    def find_root(self) -> str:
        """The folder in which torch has put all.

        Raises:
            DamagedError: it is an archive of something else, named as far as it is known.
        """
        pickles = [name for name in self.members if name == 'data.pkl' or name.endswith('/data.pkl')]
        if len(pickles) == 1:
            root = pickles[0][:-len('data.pkl')]
            if f'{root}constants.pkl' in self.members:
                raise DamagedError('it is an archive of TorchScript, which holds a program: open it with '
                                   'torch.jit.load where you trust it, and save its state_dict alone')
            return root
        if pickles:
            raise DamagedError(f'it is a zip archive of {len(pickles)} state dicts, expected one')
        if any(name.endswith('.npy') for name in self.members):
            raise DamagedError('it is an archive of numpy arrays (npz): save a dict of tensors by torch.save')
        some = ', '.join(printable(name, 40) for name in list(self.members)[:3]) or 'nothing'
        raise DamagedError(f'it is a zip archive without a state dict (it has {some})')

    def storage(self, root: str, identity: tuple) -> Storage:
        dtype, key, location, count = _identity(identity)
        if key not in self.storages:
            name = f'{root}data/{key}'
            if name not in self.members:
                raise DamagedError(f'the values of a tensor are not there (member {printable(name, 60)})')
            flat = self.read(name)
            self.storages[key] = Storage(place(flat, location, self.map_location), dtype, self.length)
        found = self.storages[key]
        if found.dtype is not dtype or count * dtype.itemsize > found.flat.numel():
            raise DamagedError(f'a storage in it claims to have {count} numbers of {dtype} and has '
                               f'{found.flat.numel()} bytes')
        return found


def _check_order(order: str) -> None:
    if order != sys.byteorder:
        raise DamagedError(f'it was saved on a machine with another order of bytes ({printable(order, 20)}-endian): '
                           'save it anew on one like this')


def _read_zip(file: BinaryIO, length: int, map_location: MapLocation) -> Any:
    archive = _Archive(file, length, map_location)
    root = archive.find_root()
    _check_order((archive.text(f'{root}byteorder') or b'little').decode(errors='replace'))
    data = archive.text(f'{root}data.pkl')
    return _pickle(
        io.BytesIO(data), archive.budget, len(data), storage=lambda identity: archive.storage(root, identity))


# PyTorch's older files


class _Declared:
    """The storages of an older file, which come behind the pickle that describes them."""

    def __init__(self, length: int, map_location: MapLocation):
        self.length, self.map_location = length, map_location
        self.declared: Dict[str, tuple] = {}
        self.filled: Dict[str, Storage] = {}

    def storage(self, identity: tuple) -> Storage:
        dtype, key, location, count = _identity(identity)
        if count * dtype.itemsize > self.length:
            raise DamagedError(f'a storage in it claims to have {count} numbers of {dtype}, more than the file')
        if self.declared.setdefault(key, (dtype, location, count)) != (dtype, location, count):
            raise DamagedError('a storage in it is described in two ways')
        found = self.filled.get(key)
        if found is None:  # it is only asked what there is
            flat = torch.empty(count * dtype.itemsize, dtype=torch.uint8, device='meta')
            found = Storage(flat, dtype, self.length)
        view = identity[5] if len(identity) > 5 else None
        if view is None:
            return found
        if type(view) is not tuple or len(view) != 3 or not all(type(each) is int for each in view[1:]):
            raise DamagedError('a part of a storage is not described as torch does')
        return found.part(view[1], view[1] + view[2])

    def fill(self, file: BinaryIO, keys: Any, budget: Budget) -> None:
        if type(keys) is not list or not all(type(key) in (str, int) for key in keys) \
                or sorted(map(str, keys)) != sorted(self.declared):
            raise DamagedError('the list of its storages is not that of its tensors')
        for key in map(str, keys):
            dtype, location, count = self.declared[key]
            header = file.read(8)
            if len(header) < 8:
                raise DamagedError('it is cut off')
            if struct.unpack('<q', header)[0] != count:
                raise DamagedError('a storage in it is of another size than described')
            flat = read_bytes(file, count * dtype.itemsize, budget)
            self.filled[key] = Storage(place(flat, location, self.map_location), dtype, self.length)


def _read_legacy(file: BinaryIO, length: int, map_location: MapLocation) -> Any:
    budget = Budget(length)
    magic, protocol, system = (_pickle(file, budget, length) for _ in range(3))
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or type(system) is not dict:
        raise DamagedError('it does not begin as a file of PyTorch')
    _check_order('little' if system.get('little_endian') is True else 'big')
    declared, start = _Declared(length, map_location), file.tell()
    _pickle(file, budget, length, storage=declared.storage)
    declared.fill(file, _pickle(file, budget, length), budget)
    file.seek(start)
    return _pickle(file, budget, length, storage=declared.storage)


# others


def _read_bare_pickle(file: BinaryIO, length: int, map_location: MapLocation) -> Any:
    content = _pickle(file, Budget(length), length, as_tensors=True)
    if type(content) is dict:
        content.pop(PROGRAM_NAMES, None)
    return _move(content, map_location)


def _move(content: Any, map_location: MapLocation) -> Any:
    """The tensors of nested dicts and lists where they belong; the reader has bounded how deep they are nested."""
    if isinstance(content, torch.Tensor):
        flat = content.contiguous().reshape(-1).view(torch.uint8)
        moved = place(flat, 'cpu', map_location)
        return content if moved is flat else moved.view(content.dtype).reshape(content.shape)
    if isinstance(content, dict):
        for key, value in content.items():
            content[key] = _move(value, map_location)
    elif isinstance(content, list):
        content[:] = [_move(value, map_location) for value in content]
    return content


def _read_safetensors(file: BinaryIO, length: int, map_location: MapLocation) -> Dict[str, torch.Tensor]:
    size, = struct.unpack('<Q', file.read(8))
    if size > min(length - 8, MAX_HEADER):
        raise DamagedError(f'its header claims to have {size} bytes, more than the file')
    try:
        header = json.loads(file.read(size))
    except (ValueError, RecursionError):
        raise DamagedError('its header is no JSON') from None
    if type(header) is not dict or len(header) > MAX_MEMBERS:
        raise DamagedError('its header is no list of tensors')
    header.pop('__metadata__', None)
    start, budget, tensors = 8 + size, Budget(length), {}
    for name, entry in header.items():
        kind, shape, span = (
            entry.get(key) if type(entry) is dict else None for key in ('dtype', 'shape', 'data_offsets'))
        dtype = TORCH_TYPES.get(SAFE_TYPES.get(kind)) if type(kind) is str else None
        if dtype is None:
            raise RefusedError(f'a tensor of the type {printable(str(kind), 40)}')
        if type(shape) is not list or len(shape) > MAX_DIMS or type(span) is not list or len(span) != 2 \
                or not all(type(each) is int and 0 <= each < 2**62 for each in (*shape, *span)) \
                or span[0] > span[1]:
            raise DamagedError(f'its tensor {printable(name, 60)} has no shape or no place')
        file.seek(min(start + span[0], length))
        flat = place(read_bytes(file, span[1] - span[0], budget), 'cpu', map_location)
        strides, step = [], 1
        for each in reversed(shape):
            strides.insert(0, step)
            step *= max(each, 1)
        if flat.numel() != dtype.itemsize * (0 if 0 in shape else step):
            raise DamagedError(f'its tensor {printable(name, 60)} has {flat.numel()} bytes, not those of its shape')
        tensors[name] = tensor(Storage(flat, dtype, length), 0, shape, strides)
    return tensors


def read_container(file: BinaryIO, map_location: MapLocation) -> Any:
    """Read a file of weights.

    Args:
        file: open for reading, with its length at its end.
        map_location: see :func:`mmbackbones.weights.arrays.place`.

    Raises:
        RefusedError: it holds something that is no weight.
        DamagedError: it is cut off, changed, or of another format.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(TAR_OFFSET + len(TAR_MAGIC))
    file.seek(0)
    if not length:
        raise DamagedError('it is empty')
    for start, what in FOREIGN:
        if head.lstrip().startswith(start):
            raise DamagedError(f'it is {what}')
    if head.startswith((b'PK\x03\x04', b'PK\x05\x06')):
        return _read_zip(file, length, map_location)
    if head[TAR_OFFSET:] == TAR_MAGIC:
        raise DamagedError(
            'it is a tar archive: unpack it; if it was written by torch.save of a version before 0.2, open '
            'it with torch.load where you trust it, and save its state_dict anew')
    # from protocol 4 on, a frame of nine bytes comes first
    if head.startswith(b'\x80') and LEGACY_START in (head[2:][:len(LEGACY_START)], head[11:][:len(LEGACY_START)]):
        return _read_legacy(file, length, map_location)
    if head[:1] == b'\x80' and head[1:2] <= b'\x05':
        return _read_bare_pickle(file, length, map_location)
    if len(head) > 9 and head[8:9] == b'{':
        return _read_safetensors(file, length, map_location)
    raise DamagedError(f'it begins with {head[:8]!r}, as no file of weights does')
