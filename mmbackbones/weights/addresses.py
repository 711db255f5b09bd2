"""Where a checkpoint is: a file, or an address that is fetched first. Nothing is read here.

The schemes are those of MMEngine, and so are its tables of names (``openmmlab://``, ``torchvision://``, ``mmcls://``);
the reader is ours for all of them.
"""
import contextlib
import fcntl
import io
import os
import stat
import tempfile
import time
import urllib.request
from http.client import HTTPException, HTTPResponse
from typing import BinaryIO, Iterator
from urllib.parse import unquote, urlsplit

import torch

from ..files import write_atomically
from ..messages import did_you_mean, some_of

__all__ = ['AddressError', 'SCHEMES', 'cache_file', 'fetch', 'open_checkpoint']

# MMEngine's prefixes, patterns as it has them; the last is that of local files
SCHEMES = ('http://', 'https://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://', 'modelzoo://', 'torchvision://',
           'open-mmlab://', 'openmmlab://', 'mmcls://', '')
TIMEOUT = 60
CHUNK = 1 << 20
PROGRESS = 10


class AddressError(OSError):
    """What an address names cannot be fetched."""


def _lookup(table: dict, name: str) -> str:
    if name not in table:
        raise AddressError(f'there is no such name in the table of MMEngine{did_you_mean(name, table, 0.5)}')
    return table[name]


def _resolve(address: str) -> str:
    """The http(s) address or the file that a name in one of MMEngine's tables stands for."""
    from mmengine.runner import checkpoint as tables
    scheme, _, name = address.partition('://')
    if scheme in ('modelzoo', 'torchvision'):
        return _lookup(tables.get_torchvision_models(), name)
    if scheme == 'mmcls':
        return _lookup(tables.get_mmcls_models(), name)
    name = tables.get_deprecated_model_names().get(name, name)
    found = _lookup(tables.get_external_models(), name)
    return found if '://' in found else os.path.join(tables._get_mmengine_home(), found)


def _copy(answer: HTTPResponse, file: BinaryIO, url: str) -> None:
    """Write what an address gives into a file, all of it.

    Raises:
        AddressError: it ends too early.
    """
    from mmengine.logging import print_log
    expected, got, said = answer.headers.get('Content-Length') or '', 0, time.monotonic()
    for chunk in iter(lambda: answer.read(CHUNK), b''):
        file.write(chunk)
        got += len(chunk)
        if time.monotonic() - said > PROGRESS:
            said = time.monotonic()
            of = f' of {int(expected) >> 20}' if expected.isdigit() else ''
            print_log(f'{url}: {got >> 20}{of} MiB', logger='current')
    if expected.isdigit() and got != int(expected):
        raise AddressError(f'the download ended after {got} of {expected} bytes')


def cache_file(url: str) -> str:
    """Where torch hub keeps what an ``http(s)://`` address gives.

    Raises:
        AddressError: it names no file.
    """
    name = os.path.basename(unquote(urlsplit(url).path))
    if name in ('', '.', '..') or '\0' in name:
        raise AddressError('it names no file')
    return os.path.join(torch.hub.get_dir(), 'checkpoints', name)


def fetch(url: str) -> str:
    """Download into torch hub's cache what is not there yet.

    A file is there only when it is whole; processes that want the same wait for the first.

    Args:
        url: ``http(s)://...``

    Returns:
        str: the file.

    Raises:
        AddressError: it cannot be fetched.
    """
    from mmengine.logging import print_log
    file = cache_file(url)
    if os.path.exists(file):
        return file
    folder = os.path.dirname(os.path.abspath(file))
    with _locked(folder):
        if os.path.exists(file):  # another has fetched it meanwhile
            return file
        try:
            request = urllib.request.Request(url, headers={'User-Agent': 'mmbackbones'})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                os.makedirs(folder, exist_ok=True)
                print_log(f'Downloading {url} to {file}', logger='current')
                write_atomically(file, lambda target: _copy(answer, target, url))
        except AddressError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            raise AddressError(f'it is not in the cache of this machine, and cannot be fetched '
                               f'({getattr(error, "reason", None) or error}). Download it where there is a network, '
                               f'and put it at {file}, or give its path') from error
    return file


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep other processes of this machine from downloading into a folder: what there is of it is locked."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_file(path: str) -> BinaryIO:
    path = os.path.expanduser(path)
    kind = os.stat(path).st_mode
    if stat.S_ISDIR(kind):
        inside = some_of(sorted(os.listdir(path)), 3) or 'no files'
        raise IsADirectoryError(f'it is a folder, expected a file (in it are {inside})')
    if not stat.S_ISREG(kind):
        raise OSError('it is no regular file')
    return open(path, 'rb')


def open_checkpoint(address: str) -> BinaryIO:
    """Open a checkpoint for reading, fetched first where it is not on this machine.

    Args:
        address: a file or an address.

    Raises:
        OSError: there is none, it is no regular file, or it cannot be fetched.
    """
    scheme = address.partition('://')[0] if '://' in address else ''
    if scheme in ('modelzoo', 'torchvision', 'open-mmlab', 'openmmlab', 'mmcls'):
        address = _resolve(address)
        scheme = address.partition('://')[0] if '://' in address else ''
    if scheme in ('http', 'https'):
        return _open_file(fetch(address))
    if scheme.split(':')[-1] in ('s3', 'petrel'):
        from mmengine.fileio import get_file_backend
        try:
            return io.BytesIO(get_file_backend(address, backend_args=dict(backend='petrel')).get(address))
        except Exception as error:  # whatever the client of an object store raises
            raise AddressError(f'it cannot be fetched ({type(error).__name__}: {error})') from error
    if scheme == 'pavi':
        try:
            from pavi import modelcloud
            with tempfile.TemporaryDirectory() as folder:
                model = modelcloud.get(address[len('pavi://'):])
                file = os.path.join(folder, 'model')
                model.download(file)
                return _open_file(file)  # stays readable when the folder is gone
        except Exception as error:  # likewise
            raise AddressError(f'it cannot be fetched ({type(error).__name__}: {error})') from error
    if scheme and not os.path.exists(address):
        raise AddressError(f'there is no scheme {scheme!r} here; there are http, https, openmmlab, torchvision, mmcls, '
                           's3, petrel and pavi')
    return _open_file(address)
