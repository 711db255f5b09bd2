"""Checkpoints: the authors' load strictly, ours survive a round trip, whatever does not fit is refused by name."""
import argparse
import pickle
import random
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import build
from helpers import Payload
from hostile import same
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import LinearLR, MultiStepLR, OneCycleLR
from mmengine.runner import CheckpointLoader
from torch import nn
from upstream import FAMILIES, GOLDEN, golden, keys, seeded_state_dict

from mmbackbones.weights import CheckpointError, load_strictly, read_checkpoint, use_safe_loading


@pytest.mark.parametrize('family', FAMILIES)
def test_every_name_and_shape_of_the_authors_has_its_place(family):
    with torch.device('meta'):
        backbone = build(**FAMILIES[family])
    weights = {name: torch.empty(shape, device='meta') for name, shape in keys(family).items()}
    load_strictly(
        backbone,
        backbone.convert_state_dict(weights),
        family,
        omitted=backbone.omitted_prefixes,
        optional=backbone.optional_prefixes)


@pytest.fixture(params=GOLDEN)
def upstream(request, tmp_path):
    """A checkpoint file as the authors save it (DataParallel names), and the backbone that it is for."""
    path = tmp_path / 'model_best.pth.tar'
    weights = OrderedDict((f'module.{key}', value) for key, value in seeded_state_dict(request.param).items())
    torch.save(dict(epoch=100, state_dict=weights, best_acc1=78.5), path)
    return request.param, path, lambda **kwargs: build(**FAMILIES[request.param], **kwargs).double()


def test_authors_weights_load_strictly_and_give_their_maps(upstream):
    family, path, make = upstream
    backbone = make(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    backbone.init_weights()
    x, expected = golden(family)
    with torch.no_grad():
        maps = backbone.eval()(x)
    found = torch.tensor([[out.mean(), out.std(), out.abs().max()] for out in maps], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)


def test_fewer_stages_load_from_the_whole_networks_checkpoint(upstream):
    _, path, make = upstream
    backbone = make(out_indices=(0, 1))
    backbone.load_pretrained(str(path))
    whole = make()
    whole.load_pretrained(str(path))
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_our_checkpoints_load_from_backbone_detector_and_classifier(upstream, tmp_path):
    _, path, make = upstream
    source = make()
    source.load_pretrained(str(path))
    for name, buffer in source.named_buffers():
        if 'temperature' in name:
            buffer.fill_(7)
    for prefix in ('', 'backbone.'):
        weights = {f'{prefix}{key}': value for key, value in source.state_dict().items()}
        if prefix:
            weights['head.fc.weight'] = torch.ones(2)
        torch.save(dict(state_dict=weights), tmp_path / 'ours.pth')
        target = make()
        target.load_pretrained(str(tmp_path / 'ours.pth'))
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(upstream, tmp_path):
    family, _, make = upstream
    good = seeded_state_dict(family)
    first = next(key for key, value in good.items() if value.dim() >= 2)
    broken = {
        'It has \\d+ tensors below these paths': {
            f'encoder.{key}.of_another': value
            for key, value in good.items()
        },
        '1 missing: .*weight': {
            key: value
            for key, value in good.items() if key != first
        },
        'not expected: encoder.w': {
            **good, 'encoder.w': torch.ones(1)
        },
        'of another shape: .* is .*, expected': {
            **good, first: torch.ones(3, 3)
        },
        'no key matches .*nothing': {},
    }
    backbone = make()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    for message, weights in broken.items():
        torch.save(weights, tmp_path / 'broken.pth')
        with pytest.raises(CheckpointError, match=message):
            backbone.load_pretrained(str(tmp_path / 'broken.pth'))
        assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path):
    trace = tmp_path / 'executed'
    torch.save(dict(state_dict={}, extra=Payload(str(trace))), tmp_path / 'zip.pth')
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps(dict(extra=Payload(str(trace)))))
    torch.save(dict(method=HistoryBuffer.__init__.__globals__['np'].load), tmp_path / 'function.pth')
    for name in ('zip.pth', 'plain.pth', 'function.pth'):
        with pytest.raises(CheckpointError, match=f'{name} is (refused: it holds more than weights|broken)'):
            read_checkpoint(str(tmp_path / name))
    use_safe_loading()
    with pytest.raises(CheckpointError, match='refused'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'zip.pth'), map_location='cpu')
    assert not trace.exists()


def test_missing_broken_and_foreign_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match='none.pth: no such file'):
        read_checkpoint(str(tmp_path / 'none.pth'))
    torch.save(dict(a=torch.ones(1000)), tmp_path / 'cut.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'cut.pth').read_bytes()[:2000])
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    for name in ('cut.pth', 'text.pth'):
        with pytest.raises(CheckpointError, match=f'{name} is (broken|refused)'):
            read_checkpoint(str(tmp_path / name))
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='holds a list, expected a dict'):
        read_checkpoint(str(tmp_path / 'list.pth'))


def test_mmengines_training_checkpoints_are_read_as_they_were_written(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    schedules = [MultiStepLR(optimizer, [1, 2]), OneCycleLR(optimizer, eta_max=0.1, total_steps=9), LinearLR(optimizer)]
    written = dict(
        message_hub=dict(
            log_scalars={'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])}, lr=np.float64(0.1), count=np.int64(3)),
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        param_schedulers=[schedule.state_dict() for schedule in schedules],
        random=dict(numpy=np.random.get_state(), python=random.getstate(), torch=torch.get_rng_state()))
    for zipped in (True, False):
        torch.save(written, tmp_path / 'epoch_1.pth', _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(str(tmp_path / 'epoch_1.pth'))
        assert same(read, written) and read['state_dict']._metadata == written['state_dict']._metadata
    assert read['message_hub']['log_scalars']['train/loss'].statistics('mean', 2) == 1.5
    schedules[1].load_state_dict(read['param_schedulers'][1])


def test_objects_that_only_hold_values_become_dicts_and_strings(tmp_path):
    args = argparse.Namespace(lr=0.1, out=Path('runs/1'), inner=argparse.Namespace(name='x'))
    config = Config(dict(model=dict(type='ResNet', depth=50)))._cfg_dict
    written = dict(
        state_dict={},
        args=args,
        config=config,
        default=defaultdict(list, a=[1]),
        counter=Counter('aab'),
        more=[{1, 2}, frozenset('a'),
              slice(1, None), 1j,
              torch.Size([2]),
              torch.device('cuda:1'), 10**30])
    for protocol in (2, 4):
        torch.save(written, tmp_path / 'x.pth', pickle_protocol=protocol)
        read = read_checkpoint(str(tmp_path / 'x.pth'))
        assert read['args'] == dict(lr=0.1, out='runs/1', inner=dict(name='x'))
        assert read['config'] == dict(model=dict(type='ResNet', depth=50)) and type(read['config']['model']) is dict
        assert read['default'] == dict(
            a=[1]) and read['counter'] == written['counter'] and read['more'] == written['more']


def test_what_a_file_says_of_modules_are_their_versions_and_nothing_else(tmp_path):
    weights = nn.BatchNorm2d(2).state_dict()
    weights._metadata[''].update(assign_to_params_buffers=True, local=object)
    weights._metadata['x'] = dict(version='2')
    weights.keys = 1
    weights._metadata[''].pop('local')
    torch.save(weights, tmp_path / 'x.pth')
    read = read_checkpoint(str(tmp_path / 'x.pth'))
    assert vars(read) == dict(_metadata={'': dict(version=2), 'x': {}})


def test_a_whole_model_is_refused_with_what_to_do(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / 'whole.pth')
    with pytest.raises(
            CheckpointError, match='is a whole object and not weights .*torch.nn.*Linear.* save its state_dic'):
        read_checkpoint(str(tmp_path / 'whole.pth'))
