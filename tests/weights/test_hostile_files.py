"""Files that attack: nothing in them runs, the interpreter lives, and one line says what is wrong with them."""
import os
import pickle
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, load_checkpoint

from mmbackbones.weights import CheckpointError, read_checkpoint, use_safe_loading

LONGEST = 400  # characters of a message, without the name of the file


@pytest.fixture
def forked(monkeypatch, tmp_path):
    """Run a function in a child, in a folder of its own: what crashes there is a result here."""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks' / 'reliability')
    monkeypatch.chdir(tmp_path)
    from common import forked
    return lambda call: forked(call, timeout=100)


def _walk(content):
    """Look at every value, as whoever reads a checkpoint will."""
    if isinstance(content, torch.Tensor):
        content.detach().clone()
    elif isinstance(content, dict):
        list(map(_walk, content.items()))
    elif isinstance(content, (list, tuple, set)):
        list(map(_walk, content))
    repr(content)


def _try(files):
    """Read files in turn: what each gives, as a line. The name comes first: a crash must not hide it."""
    for title, path in files:
        print(f'{title}: ', end='', flush=True)
        try:
            _walk(read_checkpoint(path))
            print('read')
        except CheckpointError as error:
            said = str(error)
            assert said.isprintable() and path in said and len(said) < LONGEST + len(path), said
            print('refused')


def _outcomes(forked, files):
    """title -> 'read' or 'refused', of files that a child has read."""
    files = list(files)
    result = forked(lambda: _try(files))
    assert result.status == 0, f'status {result.status}: {result.output[-1000:]}'
    assert not hostile.executed(os.getcwd()), 'code of a file has run'
    outcomes = dict(line.rsplit(': ', 1) for line in result.output.splitlines())
    assert outcomes.keys() == {title for title, _ in files} and set(outcomes.values()) <= {'read', 'refused'}
    return outcomes


@pytest.mark.parametrize('container', hostile.CONTAINERS)
def test_no_payload_runs_or_crashes_and_all_are_refused_in_one_line(container, forked, tmp_path):
    # what is large takes seconds, and the container makes no difference to it
    payloads = {
        title: payload
        for title, payload in hostile.PAYLOADS.items() if container == 'zip' or len(payload) < 9999
    }
    files = [(title, hostile.pack(container, payload, tmp_path / f'file{index}'))
             for index, (title, payload) in enumerate(payloads.items())]
    read = {title for title, outcome in _outcomes(forked, files).items() if outcome == 'read'}
    assert read == (set() if container == 'tar' else hostile.HARMLESS)


def test_archives_and_headers_that_lie_are_refused_in_one_line(forked, tmp_path):
    files = []
    for index, (title, data) in enumerate({**hostile.ARCHIVES, **hostile.HEADERS}.items()):
        path = tmp_path / f'file{index}.pth'
        path.write_bytes(data)
        files.append((title, str(path)))
    assert set(_outcomes(forked, files).values()) == {'refused'}


@pytest.mark.parametrize('container', [*(each for each in hostile.CONTAINERS if each != 'tar'), 'safetensors'])
def test_what_is_cut_off_is_refused_and_what_is_changed_crashes_nothing(container, forked, tmp_path):
    whole = Path(hostile.honest(str(tmp_path / 'whole'), container))
    data, original = whole.read_bytes(), read_checkpoint(str(whole))
    rng, files = np.random.default_rng(0), []
    for index in range(60):
        cut = tmp_path / f'cut{index}{whole.suffix}'
        cut.write_bytes(data[:rng.integers(len(data) - 8)])
        files.append((cut.name, str(cut)))
        changed = bytearray(data)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            changed[at] ^= 1 << rng.integers(8)
        path = tmp_path / f'changed{index}{whole.suffix}'
        path.write_bytes(changed)
        files.append((path.name, str(path)))
    outcomes = _outcomes(forked, files)
    assert {outcomes[name] for name in outcomes if name.startswith('cut')} == {'refused'}
    if container in ('zip', 'deflated'):  # which have checksums
        for name, path in files:
            assert outcomes[name] == 'refused' or hostile.same(read_checkpoint(path), original), name


@pytest.mark.parametrize('container', ['zip', 'deflated', 'legacy'])
def test_honest_files_are_read_to_the_bit_as_torch_reads_them(container, tmp_path):
    path = hostile.honest(str(tmp_path / 'x'), container)
    read = read_checkpoint(path)
    assert hostile.same(read, torch.load(path, weights_only=True))
    weights = read['state_dict']
    assert weights['part'].data_ptr() == weights['base'].data_ptr() + 12, 'views no longer share their storage'


def test_honest_files_of_others_are_read_to_the_bit(tmp_path):
    torch.manual_seed(0)
    path = hostile.honest(str(tmp_path / 'x'), 'safetensors')
    from safetensors.torch import load_file
    assert hostile.same(read_checkpoint(path), load_file(path))
    path = hostile.honest(str(tmp_path / 'x'), 'pdparams')
    expected = pickle.loads(Path(path).read_bytes())
    read = read_checkpoint(path)
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], torch.as_tensor(value)) for key, value in expected.items())


def test_map_location_is_what_torch_takes_and_none_is_the_cpu(tmp_path):
    path = hostile.honest(str(tmp_path / 'x'), 'zip')
    places = []
    expected = read_checkpoint(path)
    for where in (None, 'cpu', torch.device('cpu'), {'cpu': 'cpu'}, lambda storage, location: places.append(location)):
        assert hostile.same(read_checkpoint(path, where), expected)
    assert set(places) == {'cpu'}
    assert {each.device.type for each in read_checkpoint(path, 'meta')['state_dict'].values()} == {'meta'}


def test_no_class_is_allowed_for_the_whole_process(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    use_safe_loading()
    read_checkpoint(hostile.honest(str(tmp_path / 'x'), 'zip'))
    assert set(torch.serialization.get_safe_globals()) == before


SPECIAL = {
    'an empty file': lambda path: path.write_bytes(b''),
    'a folder': lambda path: path.mkdir(),
    'a pipe': lambda path: os.mkfifo(path),
    'a socket': lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    'a device': lambda path: path.symlink_to('/dev/zero'),
    'a link to itself': lambda path: path.symlink_to(path),
    'a link to nothing': lambda path: path.symlink_to('nowhere'),
}
FOREIGN = {
    'Git LFS': b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n',
    'HTML': b'\n<!DOCTYPE html><html>404</html>',
    'HDF5': b'\x89HDF\r\n\x1a\n' + bytes(100),
    'numpy': b'\x93NUMPY\x01\x00' + bytes(100),
    'gzip': b'\x1f\x8b\x08\x00' + bytes(100),
    'ONNX': b'\x08\x08\x12\x07pytorch' + bytes(100),
    'no file of weights': b'just a text',
}


@pytest.mark.parametrize('make', SPECIAL.values(), ids=SPECIAL)
def test_what_is_no_regular_file_is_named_and_never_waited_for(make, forked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(Path('x.pth'))
    assert _outcomes(forked, [('x', 'x.pth')]) == {'x': 'refused'}


@pytest.mark.parametrize('what', FOREIGN)
def test_files_of_other_kinds_are_named_for_what_they_are(what, tmp_path):
    (tmp_path / 'x.pth').write_bytes(FOREIGN[what])
    with pytest.raises(CheckpointError, match=f'x.pth is broken or not a PyTorch checkpoint: .*{what}'):
        read_checkpoint(str(tmp_path / 'x.pth'))


def _serve(handler):
    server = HTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f'http://127.0.0.1:{server.server_port}'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site with a hostile file ``bad.pth`` and an honest one ``good.pth``; MMEngine's tables lead there."""
    folder = tmp_path / 'site'
    folder.mkdir()
    hostile.pack('zip', hostile.PAYLOADS['os.system by REDUCE'], folder / 'bad')
    hostile.honest(str(folder / 'good'), 'zip')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setenv('MMENGINE_HOME', str(folder))
    server, address = _serve(partial(SimpleHTTPRequestHandler, directory=str(folder)))
    table = dict(bad=f'{address}/bad.pth', local='bad.pth')
    for name in ('get_external_models', 'get_mmcls_models', 'get_torchvision_models'):
        monkeypatch.setattr(f'mmengine.runner.checkpoint.{name}', lambda: table)
    monkeypatch.setattr('mmengine.fileio.get_file_backend', lambda *args, **kwargs: folder_backend(folder))
    monkeypatch.chdir(tmp_path)
    yield address
    server.shutdown()
    assert not hostile.executed(tmp_path)


def folder_backend(folder):
    """An object store of which ``s3://bucket/NAME`` is a file of a folder."""

    class Backend:

        @staticmethod
        def get(address):
            return (folder / address.rpartition('/')[2]).read_bytes()

    return Backend


ADDRESSES = [
    'site/bad.pth', '{site}/bad.pth', 'openmmlab://bad', 'open-mmlab://bad', 'openmmlab://local', 'mmcls://bad',
    'torchvision://bad', 'modelzoo://bad', 's3://bucket/bad.pth', 'petrel:s3://bucket/bad.pth'
]


@pytest.mark.parametrize('address', ADDRESSES)
def test_one_reader_for_every_scheme_and_entrance(address, site):
    use_safe_loading()
    address = address.format(site=site)
    backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint=address)))
    for entrance in (read_checkpoint, CheckpointLoader.load_checkpoint, lambda name: load_checkpoint(backbone, name),
                     lambda name: backbone.init_weights()):
        with pytest.raises(CheckpointError, match=r'refused.*a reference to os\.system'):
            entrance(address)


@pytest.mark.parametrize('address, message', [
    ('openmmlab://bat', 'no such name in the table of MMEngine; did you mean bad?'),
    ('{site}/none.pth',
     r'not in the cache .* \(File not found\)\. Download it .* put it at .*none\.pth, or give its path'),
    ('{site}/', 'names no file'),
    ('gopher://bad.pth', "no scheme 'gopher'"),
    ('pavi://bad.pth', 'cannot be fetched'),
    ('http://127.0.0.1:1/x.pth', 'cannot be fetched'),
    (' ', 'is empty'),
])
def test_an_address_that_leads_nowhere_gets_one_line(address, message, site):
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(address.format(site=site))
    assert '\n' not in str(error.value)


def test_half_a_download_is_never_loaded_and_leaves_nothing(tmp_path, monkeypatch):
    whole = Path(hostile.honest(str(tmp_path / 'whole'), 'legacy')).read_bytes()

    class Breaking(BaseHTTPRequestHandler):

        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:len(whole) // 2])

        def log_message(self, *args):
            pass

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    server, address = _serve(Breaking)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r'the download ended after \d+ of \d+ bytes'):
            read_checkpoint(f'{address}/x.pth')
    server.shutdown()
    assert not list((tmp_path / 'hub' / 'checkpoints').iterdir())
