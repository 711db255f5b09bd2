"""A strict reader of pickles: an interpreter of the opcodes that files of weights use, and of no others.

Different from Python's own unpickler, restricted or not:

- a reference to a function or class is never imported. It is a name, and what a pickle asks to be called under that
  name is looked up in a fixed table (``builders.py``), whose functions validate what they are given;
- nothing is set as an attribute, and no method of an object is called but those of the plain containers made here;
- containers are finished before they become part of another, so there are no cycles; their depth, the number of values
  (counted as often as they are referred to) and the bytes that are made of them are bounded.
"""
import pickle
import struct
from collections import Counter, OrderedDict
from typing import Any, BinaryIO, Callable, Collection, Dict, List, Mapping, Optional, Union

__all__ = ['Budget', 'DamagedError', 'Inert', 'Name', 'PickleReader', 'RefusedError', 'Unbuilt', 'printable']

MAX_DEPTH = 100
# a training checkpoint of a large detector has about 100,000 opcodes
MAX_OPCODES = 5_000_000
MAX_CONTAINERS = 500_000
# Values in a container, counted through every reference, and those that are worked on in all: with references to what
# came before, a small file can stand for an astronomic number.
MAX_VALUES = 5_000_000
MAX_LINE = 1000
# A key of a dict that an attacker may choose must not make all keys collide; Python hashes ints modulo 2^61 - 1.
MAX_INT_KEY = 2**60
# read without asking whether the file is that long
SMALL = 1 << 16

CONTAINERS = {list, dict, tuple, set, frozenset, OrderedDict, Counter}
KEYS = {str, int, float, bool, bytes, type(None)}

# Python 2 had other names for these modules, numpy 1 for its core
OLD_MODULES = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}


def printable(text: str, length: int = 200) -> str:
    """Text of a file in one line: control characters escaped, cut where it is long."""
    text = ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in text[:length + 1])
    return text if len(text) <= length else f'{text[:length]}...'


class RefusedError(Exception):
    """What is there is no weight: code, or an object of a class that is not read. The text names it."""

    def __init__(self, what: str, whole: bool = False):
        super().__init__(what)
        self.whole = whole  # the file as a whole is that object


class DamagedError(Exception):
    """A file that is cut off, changed, or not what it seems to be."""


class Budget:
    """The bytes that may be made from a file: a small file must not ask for much memory.

    Args:
        length: of the file.
    """

    def __init__(self, length: int):
        self.length = length
        self.left = 4 * length + (64 << 20)

    def take(self, size: int) -> None:
        """Account for so many bytes.

        Raises:
            DamagedError: there are not as many left.
        """
        self.left -= size
        if self.left < 0:
            raise DamagedError(f'it stands for far more than its {self.length} bytes')


class Inert:
    """What a pickle needs on the way and what must not be in its result: a name, a storage, something unfinished."""


class Name(Inert):
    """A reference to a function or class of the table."""

    def __init__(self, path: str):
        self.path = path

    def __str__(self) -> str:
        return f'a reference to {self.path}'


class Unbuilt(Inert):
    """An object that becomes what it is by BUILD.

    Args:
        what: for messages.
        build: (reader, state) -> the object.
    """

    def __init__(self, what: str, build: Callable[['PickleReader', Any], Any]):
        self.what, self.build = what, build
        self.memo: List[int] = []

    def __str__(self) -> str:
        return f'an unfinished {self.what}'


class _Holding:
    """What is known of a container."""
    __slots__ = ('container', 'depth', 'values', 'closed', 'inert')

    def __init__(self, container: Any) -> None:
        self.container = container  # kept: another object must not get its id
        self.depth, self.values = 1, 1
        self.closed = False  # part of another
        self.inert: Optional[Inert] = None  # something in it that must not be in the result


class PickleReader:
    """Reads one pickle.

    Args:
        file: positioned at its first byte.
        end: where the file ends, in bytes.
        budget: shared by all that is read from a file.
        builders: ``module.name`` -> function of the reader and the arguments of the call, see ``builders.py``.
        constants: ``module.name`` -> value, for names that stand for data, such as types of numbers.
        storage: what a persistent id (a tuple) stands for. Defaults to None: there are none.
        as_tensors: arrays become tensors.
    """

    def __init__(self,
                 file: BinaryIO,
                 end: int,
                 budget: Budget,
                 builders: Mapping[str, Callable],
                 constants: Mapping[str, Any],
                 storage: Optional[Callable[[tuple], Inert]] = None,
                 as_tensors: bool = False):
        self.file, self.end, self.budget = file, end, budget
        self.builders, self.constants, self.storage, self.as_tensors = builders, constants, storage, as_tensors
        self.stack: List[Any] = []
        self.below: List[List[Any]] = []  # the stacks under each mark
        self.memo: Dict[int, Any] = {}
        self.holdings: Dict[int, _Holding] = {}
        self.work = 0  # values of all containers and arguments so far
        # dicts that stand for an object of a known class: id -> whether BUILD gives its fields
        self.records: Dict[int, bool] = {}

    def read(self) -> Any:
        """Read the pickle; the file is left behind its end.

        Raises:
            RefusedError: it refers to something that is no part of weights.
            DamagedError: it is no pickle, cut off, or no honest one.
        """
        try:
            for _ in range(MAX_OPCODES):
                code = self.file.read(1)
                if code in VALUES:
                    value = VALUES[code](self)  # which may change the stack for another
                    self.stack.append(value)
                elif code == pickle.STOP:
                    return self._result()
                elif code in OPCODES:
                    OPCODES[code](self)
                elif not code:
                    raise DamagedError('it is cut off')
                elif code in NEVER_HONEST:
                    raise RefusedError(f'the pickle opcode {NEVER_HONEST[code]}')
                else:
                    raise DamagedError(f'a byte {code!r} that means nothing where it stands')
        except (IndexError, struct.error) as error:
            raise DamagedError('its parts do not follow one another as in a pickle') from error
        raise DamagedError(f'it takes more than {MAX_OPCODES} steps to read')

    def _result(self) -> Any:
        result = self.stack.pop()
        if self.stack or self.below:
            raise DamagedError('its parts do not follow one another as in a pickle')
        self.hold([], [result])
        return result

    # what is read

    def take(self, size: int) -> bytes:
        """The next bytes, all of them."""
        if size > SMALL and size > self.end - self.file.tell():
            raise DamagedError(f'a part of it claims to have {size} bytes, more than there are')
        data = self.file.read(size)
        if len(data) < size:
            raise DamagedError('it is cut off')
        return data

    def number(self, form: str) -> int:
        """The next number, its form as in ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        try:
            return self.take(self.number(form)).decode()
        except UnicodeDecodeError:
            raise DamagedError('a text in it is not UTF-8') from None

    def old_text(self, form: str) -> Union[str, bytes]:
        """A string of Python 2: text, or bytes where it is none."""
        data = self.take(self.number(form))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def line(self) -> str:
        data = self.file.readline(MAX_LINE)
        if not data.endswith(b'\n'):
            raise DamagedError('a name in it has no end')
        try:
            return data[:-1].decode()
        except UnicodeDecodeError:
            raise DamagedError('a name in it is not UTF-8') from None

    def long(self, form: str) -> int:
        size = self.number(form)
        if not 0 <= size <= 255:
            raise DamagedError(f'an integer of {size} bytes')
        return int.from_bytes(self.take(size), 'little', signed=True)

    # the stack

    def above_mark(self) -> List[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def remember(self, key: int) -> None:
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, Unbuilt):
            value.memo.append(key)

    def recall(self, key: int) -> Any:
        if key not in self.memo:
            raise DamagedError('a reference in it leads nowhere')
        return self.memo[key]

    # containers

    def spend(self, values: int) -> None:
        """Account for the time that it takes to look at so many values."""
        self.work += values
        if self.work > MAX_VALUES:
            raise DamagedError(f'it stands for more than {MAX_VALUES} values')

    def hold(self, container: Any, values: Collection[Any]) -> Any:
        """Make values part of a container that has them already or is about to get them. Returns the container."""
        self.spend(len(values))
        mine = self.holdings.get(id(container))
        if mine is None:
            mine = self.holdings[id(container)] = _Holding(container)
            if len(self.holdings) > MAX_CONTAINERS:
                raise DamagedError(f'it has more than {MAX_CONTAINERS} containers')
        for value in values:
            mine.values += 1
            if type(value) in CONTAINERS:
                held = self.holdings[id(value)]
                held.closed = True
                mine.depth = max(mine.depth, held.depth + 1)
                mine.values += held.values
                mine.inert = mine.inert or held.inert
            elif isinstance(value, Inert):
                mine.inert = mine.inert or value
        # only the arguments of a call, a tuple, may hold what is no value of a result
        if mine.inert is not None and type(container) is not tuple:
            raise RefusedError(str(mine.inert))
        if mine.closed and type(container) not in (tuple, frozenset):
            raise DamagedError('a container in it is part of itself')
        if mine.depth > MAX_DEPTH:
            raise DamagedError(f'its containers are nested more than {MAX_DEPTH} deep')
        if mine.values > MAX_VALUES:
            raise DamagedError(f'it stands for more than {MAX_VALUES} values')
        return container

    def new(self, container: Any) -> Any:
        """A container that was filled already, known from now on."""
        values = [*container, *container.values()] if isinstance(container, dict) else container
        return self.hold(container, values)

    def key(self, value: Any) -> Any:
        """A key of a dict or an element of a set, if it may be one."""
        parts = value if type(value) is tuple else (value, )
        for part in parts:
            if type(part) not in KEYS or type(part) is int and abs(part) >= MAX_INT_KEY:
                raise RefusedError(f'a key of the type {type(part).__name__}' if type(part) not in
                                   KEYS else 'a huge key')
        return value

    def pairs(self, container: dict, items: List[Any]) -> None:
        """Set items of a dict: ``[key, value, key, value, ...]``."""
        if not isinstance(container, dict) or len(items) % 2:
            raise DamagedError('items without a dict')
        keys, values = items[::2], items[1::2]
        self.hold(container, values)
        for key, value in zip(keys, values):
            container[self.key(key)] = value

    def extend(self, items: List[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise DamagedError('elements without a list')
        self.hold(self.stack[-1], items).extend(items)

    def add(self, items: List[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise DamagedError('elements without a set')
        self.hold(self.stack[-1], items).update(map(self.key, items))

    def record(self, values: dict, has_fields: bool) -> dict:
        """A dict in place of an object of a known class.

        Args:
            values: what is known of it.
            has_fields: BUILD gives its values; otherwise what BUILD gives is left out.
        """
        self.new(values)
        self.records[id(values)] = has_fields
        return values

    # references and calls

    def refer(self, module: str, name: str) -> None:
        if type(module) is not str or type(name) is not str:
            raise DamagedError('a reference whose name is no text')
        canonical = OLD_MODULES.get(module, module)
        if canonical.startswith('numpy.core.'):
            canonical = f'numpy._core.{canonical[len("numpy.core."):]}'
        path = f'{canonical}.{name}'
        if path in self.constants:
            self.stack.append(self.constants[path])
        elif path in self.builders:
            self.stack.append(Name(path))
        else:
            raise RefusedError(
                f'a reference to {printable(f"{OLD_MODULES.get(module, module)}.{name}", 120)}',
                whole=not self.stack and not self.below)

    def call(self) -> None:
        """REDUCE and NEWOBJ: function or class, and its arguments."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise RefusedError('a call of what is no function')
        self.spend(self.holdings[id(arguments)].values)
        try:
            value = self.builders[function.path](self, *arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f'{function.path} has other arguments than it takes') from error
        if type(value) in CONTAINERS and id(value) not in self.holdings:
            self.new(value)
        self.stack.append(value)

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        self.spend(self.holdings[id(state)].values if type(state) in CONTAINERS else 1)
        if isinstance(target, Unbuilt):
            try:
                value = target.build(self, state)
            except (TypeError, ValueError, OverflowError, KeyError) as error:
                raise DamagedError(f'{target.what} of another form than it has') from error
            self.stack[-1] = value
            for key in target.memo:
                if self.memo[key] is target:
                    self.memo[key] = value
        elif type(target) is OrderedDict and type(state) is dict:
            self._keep_metadata(target, state)
        elif id(target) in self.records:
            if self.records[id(target)]:
                if type(state) is not dict:
                    raise DamagedError('fields that are no dict')
                self.pairs(target, [part for item in state.items() for part in item])
        else:
            raise RefusedError(f'attributes of {target if isinstance(target, Inert) else type(target).__name__}')

    @staticmethod
    def _keep_metadata(state_dict: OrderedDict, attributes: dict) -> None:
        """The versions of modules, which torch keeps as an attribute of a state dict. Nothing else of it: another entry
        makes ``load_state_dict`` replace parameters instead of filling them."""
        metadata = attributes.get('_metadata')
        if isinstance(metadata, dict):
            versions = OrderedDict()
            for name, entry in metadata.items():
                version = entry.get('version') if isinstance(entry, dict) else None
                versions[name] = dict(version=version) if type(version) is int else {}
            state_dict._metadata = versions

    def persistent(self) -> None:
        identity = self.stack.pop()
        if self.storage is None or type(identity) is not tuple:
            raise DamagedError('data outside of the pickle where there can be none')
        self.stack.append(self.storage(identity))


def _tuple(reader: PickleReader, values: List[Any]) -> tuple:
    return reader.hold(tuple(values), values)


def _last(reader: PickleReader, count: int) -> tuple:
    values = reader.stack[-count:]
    if len(values) < count:
        raise IndexError
    del reader.stack[-count:]
    return _tuple(reader, values)


def _frozenset(reader: PickleReader, values: List[Any]) -> frozenset:
    return reader.hold(frozenset(map(reader.key, values)), values)


def _dict(reader: PickleReader, items: List[Any]) -> dict:
    container = reader.hold({}, ())
    reader.pairs(container, items)
    return container


def _set_items(reader: PickleReader, items: List[Any]) -> None:
    reader.pairs(reader.stack[-1], items)


def _pop(reader: PickleReader, count: int) -> List[Any]:
    values = reader.stack[-count:]
    if len(values) < count:
        raise IndexError
    del reader.stack[-count:]
    return values


# opcode -> what it puts on the stack
VALUES: Dict[bytes, Callable[[PickleReader], Any]] = {
    pickle.NONE: lambda reader: None,
    pickle.NEWTRUE: lambda reader: True,
    pickle.NEWFALSE: lambda reader: False,
    pickle.BININT: lambda reader: reader.number('<i'),
    pickle.BININT1: lambda reader: reader.number('<B'),
    pickle.BININT2: lambda reader: reader.number('<H'),
    pickle.LONG1: lambda reader: reader.long('<B'),
    pickle.LONG4: lambda reader: reader.long('<i'),
    pickle.BINFLOAT: lambda reader: reader.number('>d'),
    pickle.SHORT_BINSTRING: lambda reader: reader.old_text('<B'),
    pickle.BINSTRING: lambda reader: reader.old_text('<I'),
    pickle.SHORT_BINUNICODE: lambda reader: reader.text('<B'),
    pickle.BINUNICODE: lambda reader: reader.text('<I'),
    pickle.BINUNICODE8: lambda reader: reader.text('<Q'),
    pickle.SHORT_BINBYTES: lambda reader: reader.take(reader.number('<B')),
    pickle.BINBYTES: lambda reader: reader.take(reader.number('<I')),
    pickle.BINBYTES8: lambda reader: reader.take(reader.number('<Q')),
    pickle.BYTEARRAY8: lambda reader: bytearray(reader.take(reader.number('<Q'))),
    pickle.EMPTY_TUPLE: lambda reader: _tuple(reader, []),
    pickle.EMPTY_LIST: lambda reader: reader.hold([], ()),
    pickle.EMPTY_DICT: lambda reader: reader.hold({}, ()),
    pickle.EMPTY_SET: lambda reader: reader.hold(set(), ()),
    pickle.TUPLE1: lambda reader: _last(reader, 1),
    pickle.TUPLE2: lambda reader: _last(reader, 2),
    pickle.TUPLE3: lambda reader: _last(reader, 3),
    pickle.TUPLE: lambda reader: _tuple(reader, reader.above_mark()),
    pickle.LIST: lambda reader: reader.new(reader.above_mark()),
    pickle.DICT: lambda reader: _dict(reader, reader.above_mark()),
    pickle.FROZENSET: lambda reader: _frozenset(reader, reader.above_mark()),
    pickle.BINGET: lambda reader: reader.recall(reader.number('<B')),
    pickle.LONG_BINGET: lambda reader: reader.recall(reader.number('<I')),
}

# opcode -> what it does with the stack
OPCODES: Dict[bytes, Callable[[PickleReader], None]] = {
    pickle.PROTO: lambda reader: reader.take(1),
    pickle.FRAME: lambda reader: reader.take(8),
    pickle.MARK: PickleReader.mark,
    pickle.POP: lambda reader: reader.stack.pop(),
    pickle.POP_MARK: PickleReader.above_mark,
    pickle.BINPUT: lambda reader: reader.remember(reader.number('<B')),
    pickle.LONG_BINPUT: lambda reader: reader.remember(reader.number('<I')),
    pickle.MEMOIZE: lambda reader: reader.remember(len(reader.memo)),
    pickle.APPEND: lambda reader: reader.extend(_pop(reader, 1)),
    pickle.APPENDS: lambda reader: reader.extend(reader.above_mark()),
    pickle.ADDITEMS: lambda reader: reader.add(reader.above_mark()),
    pickle.SETITEM: lambda reader: _set_items(reader, _pop(reader, 2)),
    pickle.SETITEMS: lambda reader: _set_items(reader, reader.above_mark()),
    pickle.GLOBAL: lambda reader: reader.refer(reader.line(), reader.line()),
    pickle.STACK_GLOBAL: lambda reader: reader.refer(*_pop(reader, 2)),
    pickle.REDUCE: PickleReader.call,
    pickle.NEWOBJ: PickleReader.call,
    pickle.BUILD: PickleReader.build,
    pickle.BINPERSID: PickleReader.persistent,
}

# opcodes that no writer of weights uses
NEVER_HONEST = {
    getattr(pickle, name): name
    for name in ('INST', 'OBJ', 'NEWOBJ_EX', 'EXT1', 'EXT2', 'EXT4', 'PERSID', 'NEXT_BUFFER', 'READONLY_BUFFER', 'DUP',
                 'GET', 'PUT', 'INT', 'LONG', 'FLOAT', 'STRING', 'UNICODE')
}
