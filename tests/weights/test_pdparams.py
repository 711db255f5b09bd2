"""PaddlePaddle's files: read as weights, never run."""
import pickle
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
from cases import build
from helpers import Payload
from upstream import FAMILIES, golden, seeded_state_dict

from mmbackbones.weights import CheckpointError, read_checkpoint


def save(weights: dict, path) -> str:
    """What ``paddle.save`` does with a state dict: arrays, the names within its program, pickle protocol 4."""
    arrays = {key: np.asarray(value) for key, value in weights.items()}
    names = {'StructuredToParameterName@@': {key: f'parameter_{index}' for index, key in enumerate(weights)}}
    path.write_bytes(pickle.dumps({**arrays, **names}, protocol=4))
    return str(path)


def test_a_paddle_file_loads_strictly_and_gives_the_authors_maps(tmp_path):
    path = save(seeded_state_dict('dsnet'), tmp_path / 'DSNet.pdparams')
    assert read_checkpoint(path).keys() == seeded_state_dict('dsnet').keys()
    backbone = build(**FAMILIES['dsnet'], init_cfg=dict(type='Pretrained', checkpoint=path)).double()
    backbone.init_weights()
    x, expected = golden('dsnet')
    with torch.no_grad():
        maps = backbone.eval()(x)
    found = torch.tensor([[out.mean(), out.std(), out.abs().max()] for out in maps], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)


def test_values_and_types_survive(tmp_path):
    weights = dict(
        single=torch.rand(2, 3), double=torch.rand(4).double(), count=torch.tensor(7), flag=torch.ones(1).bool())
    half = torch.tensor([1.5, -2.25, 3e20]).bfloat16()
    # Paddle writes bfloat16 as its bits
    path = save({**weights, 'half': half.view(torch.int16).numpy().view(np.uint16)}, tmp_path / 'x.pdparams')
    read = read_checkpoint(path)
    for key, value in {**weights, 'half': half}.items():
        assert read[key].dtype == value.dtype and torch.equal(read[key], value)


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
def test_files_of_either_numpy_are_read(core, tmp_path):
    path = tmp_path / 'x.pdparams'
    written = pickle.dumps(dict(w=np.arange(3.)), protocol=3)  # names as lines, without a length to mend
    ours = np.arange(3.).__reduce__()[0].__module__
    assert ours.encode() in written
    path.write_bytes(written.replace(ours.encode(), f'{core}.multiarray'.encode()))
    assert torch.equal(read_checkpoint(str(path))['w'], torch.arange(3.).double())


@pytest.mark.parametrize('protocol', [3, 4])
def test_code_leaves_no_trace_and_is_named(protocol, tmp_path):
    trace, path = tmp_path / 'executed', tmp_path / 'x.pdparams'
    for extra in (Payload(str(trace)), np.array([Payload(str(trace))], dtype=object)):
        path.write_bytes(pickle.dumps(dict(w=np.ones(2), extra=extra), protocol=protocol))
        with pytest.raises(CheckpointError, match='x.pdparams is refused: .*(to builtins.exec|an array of objects)'):
            read_checkpoint(str(path))
    path.write_bytes(pickle.dumps(dict(method=np.load), protocol=protocol))
    with pytest.raises(CheckpointError, match=r'refused: .* \(a reference to numpy.load\)'):
        read_checkpoint(str(path))
    assert not trace.exists()


def test_broken_and_foreign_files_are_named(tmp_path):
    path = tmp_path / 'x.pdparams'
    whole = pickle.dumps(dict(w=np.ones(100)), protocol=4)
    contents = [b'', b'not a checkpoint', whole[:200], pickle.dumps(dict(w=np.ones(2)))[:-1]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match='x.pdparams is broken or not a PaddlePaddle checkpoint: .+'):
            read_checkpoint(str(path))
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(CheckpointError, match='holds a list, expected a dict of weights'):
        read_checkpoint(str(path))
    path.write_bytes(pickle.dumps(dict(w=np.array(['a']))))
    with pytest.raises(CheckpointError, match='an array of the type U1'):
        read_checkpoint(str(path))
    with pytest.raises(CheckpointError, match='none.pdparams: no such file'):
        read_checkpoint(str(tmp_path / 'none.pdparams'))


def test_an_address_is_fetched_once_into_the_cache(tmp_path, monkeypatch):
    (tmp_path / 'site').mkdir()
    save(dict(w=torch.ones(2)), tmp_path / 'site' / 'x.pdparams')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'site'))
    with HTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/x.pdparams'
        first = read_checkpoint(url)
        server.shutdown()
    assert torch.equal(first['w'], torch.ones(2)) and torch.equal(read_checkpoint(url)['w'], torch.ones(2))
