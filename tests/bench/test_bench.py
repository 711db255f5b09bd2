"""The benchmark: its peers compute the same maps, and its report holds what it promises. No time is judged here."""
import json
import sys
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from cases import ROWS
from helpers import ROOT

from mmbackbones.bench import Case, Step, compare, make_inputs, measure, summarise
from mmbackbones.bench.peers import KINDS, build_peer, find_peers
from mmbackbones.cli import main

# Every peer once, whatever rows share it; large ones are looked up only, for time. That of the authors' form is held
# against ours in values, below.
LARGE = 40e6
REFERENCE = str(ROOT / 'benchmarks' / 'reference.py')
ALL_PEERS = {
    peer.title: (name, kind)
    for name in reversed(ROWS)
    for kind, peer in find_peers(ROWS[name]).items() if kind != 'plain'
}
PEERS = {title: (name, kind) for title, (name, kind) in ALL_PEERS.items() if ROWS[name].params < LARGE}


@pytest.mark.parametrize('name,kind', PEERS.values(), ids=PEERS)
def test_peers_give_maps_of_the_same_shapes(name, kind):
    row = ROWS[name]
    shape = (2, 3, 64, 96)
    with torch.device('cpu' if kind ==
                      'mmdet' else 'meta'):  # MMDetection's read numbers from tensors as they are built
        peer = build_peer(row, kind, shape)
    peer.to('meta').train(False)
    maps = peer(torch.empty(shape, device='meta'))
    assert [tuple(each.shape) for each in maps] == [(2, channels, 64 // stride, 96 // stride)
                                                    for channels, stride in zip(row.channels, row.strides)]


def test_libraries_have_the_networks_of_these_names():
    names = {'timm': timm.is_model, 'torchvision': torchvision.models.list_models().__contains__}
    for library, known in names.items():
        found = [title.split()[-1] for title in ALL_PEERS if title.startswith(library)]
        assert found and all(known(name) for name in found)


@pytest.mark.parametrize(
    'name',
    ['odconv_mobilenetv2_050', 'odconv4x_mobilenetv2_050', 'dyconv4x_mobilenetv2_050', 'condconv8x_mobilenetv2_050'])
def test_the_authors_form_computes_what_ours_does(name):
    torch.manual_seed(0)
    case = Case(name, REFERENCE, (2, 3, 32, 32), train=True)
    ours, peer = (Step(case, side, make_inputs(case, 1)) for side in ('ours', 'peer'))
    peer.model.load_state_dict(ours.model.state_dict())
    for step in (ours, peer):
        step.model.double().eval()  # a batch norm over two values would make large errors of small ones
        step.inputs = [each.double() for each in step.inputs]
    maps = ours(0)
    peer.gradients = ours.gradients
    for a, b in zip(maps, peer(0)):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    for (key, a), b in zip(ours.model.named_parameters(), peer.model.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-7, msg=lambda text: f'{key}: {text}')


def test_no_side_drops_anything_at_random():
    for name, kind in (('swin_t', 'mmdet'), ('swin_t', 'torchvision'), ('pvtv2_b0', 'timm'), ('dsnet_t', 'mmdet')):
        case = Case(name, kind, (2, 3, 32, 32), train=True)
        for side in ('ours', 'peer'):
            step = Step(case, side, make_inputs(case, 1))
            assert all(torch.equal(a, b) for a, b in zip(step(0), step(0))), (name, side)


@pytest.mark.parametrize('options', [[], ['--train', '--channels-last', '--dtype', 'bfloat16', '--with-cp']])
def test_report_holds_figures_machine_versions_and_command(monkeypatch, tmp_path, capsys, options):
    # for speed: no step is repeated, and what other tests have left is not collected before each measurement
    monkeypatch.setattr(measure, 'MIN_SECONDS', 0.)
    monkeypatch.setattr(measure, 'gc', SimpleNamespace(collect=lambda: 0))
    file, chart = tmp_path / 'bench.json', tmp_path / 'bench.png'
    against = ['plain'] if options else ['plain', REFERENCE]
    argv = ['bench', 'odconv_mobilenetv2_050', '--against', *against, '--shape', '2,3,32,32', '--pairs', '2', *options]
    assert main([*argv, '--json', str(file), '--chart', str(chart)]) == 0
    report = json.loads(file.read_text())
    assert report['command'].startswith('mmbackbones bench odconv_mobilenetv2_050 --against plain')
    assert {'cpu', 'cores', 'threads', 'gpu', 'versions'} <= report['machine'].keys()
    assert {'python', 'torch', 'mmengine', 'mmcv', 'mmdet', 'timm',
            'mmbackbones'} <= report['machine']['versions'].keys()
    assert [record['against'] for record in report['results']] == against
    for record in report['results']:
        assert record['shape'] == [2, 3, 32, 32] and record['pairs'] == 2 and record['unit'] == 's' and record['date']
        for key in ('ours', 'peer', 'ratio'):
            spread = record[key]
            assert len(spread['values']) == 2
            assert 0 < spread['lower_quartile'] <= spread['median'] <= spread['upper_quartile']
    assert chart.read_bytes().startswith(b'\x89PNG')
    assert 'odconv_mobilenetv2_050' in capsys.readouterr().out


def test_ratio_is_the_median_of_the_ratios_of_pairs():
    summary = summarise([1., 4., 3.], [1., 1., 6.])
    assert summary['ratio']['values'] == [1, 4, 0.5] and summary['ratio']['median'] == 1
    assert summary['ours']['median'] == 3 and summary['peer']['median'] == 1


@pytest.mark.slow
def test_memory_is_taken_from_processes_of_their_own():
    record = compare(Case('odconv_mobilenetv2_050', 'static', (2, 3, 256, 256), train=True, memory=True), pairs=1)
    activations = 2 * 256**2 * 4  # bytes of one channel at the size of the images; a step keeps many times that
    for side in ('ours', 'peer'):
        assert record['unit'] == 'bytes' and record[side]['before'] > 0
        assert record[side]['median'] > 10 * activations


@pytest.mark.parametrize('argv,said', [
    (['swin_t', '--against', 'static'], 'choose from mmdet, timm, torchvision, plain'),
    (['botnet50', '--against', 'mmdet'], "botnet50 has no peer 'mmdet'"),
    (['pvt_s', '--against', 'mmdet', '--with-cp'], 'cannot recompute'),
    (['swin_x', '--against', 'plain'], 'did you mean'),
    (['pvt_s', '--against', 'mmdet', '--shape', '1,3,64,77'], 'the maps are not the same'),
    (['odconv_r18', '--against', 'static', '--memory', '--compile'], 'that of the compiler'),
])
def test_what_cannot_be_compared_is_said_with_the_choice(capsys, argv, said):
    assert main(['bench', *argv, *([] if '--shape' in argv else ['--shape', '1,3,64,64'])]) == 1
    assert said in capsys.readouterr().err


def test_a_file_that_makes_no_peer_is_refused(tmp_path, capsys):
    (tmp_path / 'empty.py').write_text('')
    for name, said in (('none.py', 'no such file'), ('empty.py', 'build(config, with_cp)')):
        assert main(['bench', 'odconv_r18', '--against', str(tmp_path / name)]) == 1
        assert said in capsys.readouterr().err


def test_missing_library_is_named_with_the_other_peers(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'timm', None)
    assert main(['bench', 'swin_t', '--against', 'timm', '--shape', '1,3,64,64']) == 1
    said = capsys.readouterr().err
    assert 'timm is not installed' in said and 'mmdet, torchvision, plain' in said


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_cuda_without_a_gpu_is_refused(capsys):
    assert main(['bench', 'swin_t', '--against', 'plain', '--device', 'cuda']) == 1
    assert '--device cpu' in capsys.readouterr().err


@pytest.mark.parametrize('shape', ['2,384,640', '2,1,64,64', '1,3,16,64', 'big'])
def test_a_shape_that_is_no_batch_of_images_is_refused(capsys, shape):
    assert main(['bench', 'swin_t', '--against', 'plain', '--shape', shape]) == 2
    assert 'N,3,H,W' in capsys.readouterr().err


def test_help_names_every_kind_of_peer(capsys):
    with pytest.raises(SystemExit):
        main(['bench', '--help'])
    said = capsys.readouterr().out
    assert all(kind in said for kind in KINDS)


def test_page_follows_from_the_results_and_says_which_bar_is_met(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import report
    assert report.PAGE.read_text() == report.render(), 'run: python benchmarks/report.py'

    run = None  # nothing is measured here
    rows = [
        report.Measured('G', 'one', run, before=3., bar=1.5),
        report.Measured('G', 'by reference', run),
        report.Measured('G', 'half', run, half_overhead_of='by reference'),
        report.Measured('G', 'start', run, bar=0.5)
    ]

    def record(ratio):
        return dict(unit='s', **summarise([ratio], [1.]))

    # ours takes 1.4 of the static network, and 0.7 of the authors' form: that takes 2, and half its overhead is 1.5
    results = {'one': record(1.6), 'by reference': record(0.7), 'half': record(1.4), 'start': dict(seconds=0.3)}
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in report.table(rows, results).splitlines()[4:]]
    assert [line[0] for line in lines] == ['one', 'by reference', 'half', 'start']
    assert [line[1] for line in lines] == ['3', '', '2', '']
    assert [line[3] for line in lines] == ['1.5', '', '1.5', '0.5']
    assert [line[4] for line in lines] == ['missed', '', 'met', 'met']
