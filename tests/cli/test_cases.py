"""The cases of shared/cases that are no data: each does what the README beside them says."""
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from mmbackbones import cli, training
from mmbackbones.boundary import Ended
from mmbackbones.hooks.checkpoint import newest_checkpoint
from mmbackbones.weights import read_checkpoint

RANDOM = ('--backbone-weights', 'none')
FEW = ('--cfg-options', 'train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=1')


def train(*argv: str) -> None:
    """Train by ``config.py`` in the current folder, on four images unless values of the config say otherwise."""
    values = [each for each in argv if '=' in each]
    training.train(['config.py', *(each for each in argv if '=' not in each), *FEW, *values])


def refused(run, *argv: str) -> str:
    """The one line in which a command ends."""
    with pytest.raises(Ended) as ended:
        run(*argv)
    assert ended.value.code == 1
    line, = str(ended.value).splitlines()
    return line


@pytest.mark.slow
def test_01_a_detector_of_foreign_names_is_loaded_or_refused(case_folder, capfd):
    case_folder('01-load-from-swin')
    runpy.run_path('mk.py')
    for name in ('mmdet_swin_detector.pth', 'authors_swin_detector.pth'):
        line = refused(train, f'load_from={name}')
        assert 'backbone 177 of 177' in line and 'roi_head 4 of 8' in line and '--partial-weights' in line
    train('load_from=authors_swin_detector.pth', '--partial-weights')
    assert 'Weights from authors_swin_detector.pth: backbone 177 of 177' in ''.join(capfd.readouterr())


@pytest.mark.slow
def test_02_an_explicit_seed_wins(case_folder):
    case_folder('02-config-seed-ignored')
    train('randomness.seed=7', *RANDOM)
    log = next(Path('work_dirs/config').glob('*/*.log')).read_text()
    said, = re.findall(r'Randomness: (.*)', log)
    assert 'seed 7 (--cfg-options)' in said and 'deterministic True (config)' in said
    saved = Config.fromfile('work_dirs/config/config.py').randomness
    assert saved == dict(seed=7, deterministic=True, diff_rank_seed=True)


@pytest.mark.slow
def test_03_own_file_names_are_resumed_from(case_folder, capfd):
    case_folder('03-resume-filename-tmpl')
    train('train_cfg.max_epochs=1', *RANDOM)
    train('--resume', *RANDOM)
    assert re.search(r'Resuming from .*/odconv_ep1\.pth', ''.join(capfd.readouterr()))
    assert newest_checkpoint('work_dirs/config', 'odconv_ep{}.pth')[0].endswith('odconv_ep2.pth')
    assert read_checkpoint('work_dirs/config/odconv_ep2.pth')['meta']['epoch'] == 2


def test_05_learning_rates_by_layer_find_the_backbones_of_a_teacher_and_its_student(case_folder, capsys):
    case_folder('05-softteacher-layer-decay')
    name = 'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
    cli.main(['swap', name, 'swin_b', '--recipe', '-o', 'st.py', '--force'])
    cli.main(['check', 'config.py'])
    assert 'config.py: fits' in capsys.readouterr().out
    cfg = Config.fromfile('config.py')
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        model = MODELS.build(cfg.model)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert len({group['lr'] for group in wrapper.optimizer.param_groups}) > 5


@pytest.mark.slow
def test_07_grey_images_are_checked_and_trained_on(case_folder, capsys):
    case_folder('07-gray-odconv')
    assert cli.main(['check', 'config.py']) == 1
    for line in (refused(train, *RANDOM), capsys.readouterr().err):
        assert 'grey images (1 channel)' in line and 'in_channels=1' in line
    Path('config.py').rename('colour.py')
    Path('config.py').write_text(Path('g.py').read_text().replace('config.py', 'colour.py'))
    train(*RANDOM)
    assert Path('work_dirs/config/epoch_1.pth').exists()


@pytest.mark.parametrize('size', [(192, 224), (161, 97)])
def test_08_an_exported_swin_gives_the_same_maps(size, tmp_path):
    runtime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='mmbackbones.SwinTransformer', arch='tiny', out_indices=(0, 1))).eval()
    x, path = torch.randn(1, 3, *size), str(tmp_path / 'swin.onnx')
    with torch.no_grad():
        maps = backbone(x)
        torch.onnx.export(backbone, (x, ), path, dynamo=False, opset_version=17)
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for found, expected in zip(session.run(None, {session.get_inputs()[0].name: x.numpy()}), maps):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_14_a_loss_that_is_no_number_ends_the_run(case_folder):
    case_folder('14-nan-loss')
    line = refused(train, 'optim_wrapper.optimizer.lr=1e30', 'train_dataloader.dataset.indices=8', *RANDOM)
    assert re.search(r'the loss is not finite in iteration \d+ \(.*loss.*=(nan|inf).*; images .*\.jpg', line)
    assert newest_checkpoint('work_dirs/config') == (None, [])
    assert list(Path('work_dirs/config').glob('nonfinite_iter_*.pth'))


@pytest.mark.slow
def test_15_testing_with_augmentation(case_folder, capfd):
    case_folder('15-tta')
    train(*RANDOM)
    scores = []
    for argv in (['config.py', '--tta'], ['config_tta.py']):
        capfd.readouterr()
        training.test([argv[0], 'work_dirs/config/epoch_1.pth', *argv[1:]])
        scores.append(re.findall(r'coco/bbox_mAP: (\S+)', ''.join(capfd.readouterr()))[-1])
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_16_weights_are_found_whatever_they_are_packed_in(case_folder, capsys):
    pytest.importorskip('timm', reason='timm is not installed')
    case_folder('16-convert-containers')
    runpy.run_path('mk.py')
    for name in ('args', 'compiled', 'dino', 'ema', 'hfish', 'moby', 'params'):
        cli.main(['convert', 'vit_b16' if name == 'dino' else 'swin_t', f'{name}.pth', f'out_{name}.pth'])
        assert len(read_checkpoint(f'out_{name}.pth')['state_dict']) > 150
    for name, said in (('whole', 'save its state_dict'), ('list', 'holds a list, expected a dict')):
        assert cli.main(['convert', 'swin_t', f'{name}.pth', 'out.pth']) == 1
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_hostile_checkpoints_run_nothing_and_remove_nothing(case_folder, monkeypatch):
    checkpoints = case_folder('checkpoints')
    case_folder('15-tta')
    best = 'default_hooks.checkpoint.save_best=coco/bbox_mAP'
    train(best, *RANDOM)
    victim = Path('victim')
    victim.mkdir()
    (victim / 'kept').touch()
    for script, argv in (('meta_config_exec.py', ()), ('best_ckpt_rmtree.py', ('victim', ))):
        monkeypatch.setattr('sys.argv', [script, 'work_dirs/config/epoch_1.pth', 'evil.pth', *argv])
        runpy.run_path(str(checkpoints / script))
        train(best, 'train_cfg.max_epochs=2', '--resume', 'evil.pth')
        assert not list(Path().rglob('ran_code')) and (victim / 'kept').exists()
