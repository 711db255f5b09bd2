"""The commands people type: options, several processes, evaluation, and what is recorded."""
import json
import re
import shutil

import pytest
from helpers import ROOT, tool
from mmengine.config import Config

from mmbackbones import training
from mmbackbones.errors import InputError
from mmbackbones.training.options import guard_images, move_data_root
from mmbackbones.training.start import set_backbone_weights


def test_data_root_moves_every_path_below_it():
    cfg = Config(
        dict(
            data_root='data/coco/',
            train_dataloader=dict(dataset=dict(datasets=[dict(
                data_root='data/coco/'), dict(data_root='data/coco')])),
            evaluator=(dict(ann_file='data/coco/annotations/val.json'), ),
            load_from='data/coco2/x.pth',
            model=dict(type='data/coco')))
    move_data_root(cfg, '/elsewhere/coco')
    datasets = cfg.train_dataloader.dataset.datasets
    assert [dataset.data_root.rstrip('/') for dataset in datasets] == ['/elsewhere/coco'] * 2
    assert cfg.evaluator[0].ann_file == '/elsewhere/coco/annotations/val.json'
    assert cfg.load_from == 'data/coco2/x.pth'

    # classification configs have it in the data sets alone
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root='data/imagenet', split='train'))))
    move_data_root(cfg, '/elsewhere')
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere'
    with pytest.raises(InputError, match='several'):
        move_data_root(Config(dict(a=dict(data_root='x'), b=dict(data_root='y'))), '/elsewhere')


def test_backbone_weights_bring_the_fine_tuning_recipe(tmp_path):
    weights = tmp_path / 'weights.pth'
    weights.touch()

    def config():
        return Config(
            dict(
                model=dict(backbone=dict(depth=18, frozen_stages=-1, norm_eval=False, pretrained='other.pth')),
                pretrained_backbone=dict(frozen_stages=1, norm_eval=True)))

    cfg = config()
    set_backbone_weights(cfg, str(weights))
    assert cfg.model.backbone == dict(
        depth=18, frozen_stages=1, norm_eval=True, init_cfg=dict(type='Pretrained', checkpoint=str(weights)))
    set_backbone_weights(cfg, 'none')
    assert cfg.model.backbone == dict(depth=18, frozen_stages=-1, norm_eval=False, init_cfg=None)


def test_every_image_loader_of_a_config_is_replaced(tiny_config):
    cfg = Config.fromfile(tiny_config)
    guard_images(cfg, 'skip')
    found = re.findall(r"type='([\w.]*)LoadImageFromFile'", cfg.pretty_text)
    assert len(found) >= 3 and set(found) == {'mmbackbones.'}
    loaders = [cfg[name].dataset.pipeline[0] for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')]
    assert [loader.on_error for loader in loaders] == ['skip', 'blank', 'blank']


@pytest.mark.parametrize('name', ['train.py', 'test.py'])
def test_help_has_an_example(name):
    done = tool(name, '--help')
    assert done.returncode == 0 and f'Example: python tools/{name}' in done.stdout and '--bad-images' in done.stdout


def test_an_error_of_several_processes_is_said_once_and_not_buried(tiny_config, tmp_path):
    done = tool('dist_train.sh', tiny_config, 2, '--data-root', tmp_path, '--work-dir', tmp_path / 'work')
    assert done.returncode == 1
    assert done.stdout.count('error: annotation file not found') == 1
    assert 'Traceback' not in done.stdout


def test_several_machines_need_an_address(tiny_config):
    done = tool('dist_train.sh', tiny_config, 2, env=dict(NNODES='2', MASTER_ADDR=''))
    assert done.returncode == 1 and 'MASTER_ADDR' in done.stdout and 'Traceback' not in done.stdout


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_explain_themselves(name):
    for args in ((), ('config.py', 'no_number')):
        done = tool(name, *args)
        assert done.returncode == 2
        assert f'Usage:   tools/{name}' in done.stdout and f'tools/{name} ' in done.stdout.split('Example:')[1]


def test_slurm_script_hands_over_what_it_was_given(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "<%s>\\n" "$@"\n')
    srun.chmod(0o755)
    env = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3', SRUN_ARGS='--mem=8G --exclusive')
    done = tool('slurm_train.sh', 'part', 'my job', 'a config.py', '--work-dir', 'a dir', env=env, programs=tmp_path)
    assert done.stdout.replace('>\n<', ' | ').strip() == (
        '<--partition=part | --job-name=my job | --gres=gpu:4 | --ntasks=16 | --ntasks-per-node=4 | --cpus-per-task=3 '
        f'| --kill-on-bad-exit=1 | --mem=8G | --exclusive | python | -u | {ROOT}/tools/train.py | a config.py | '
        '--work-dir | a dir | --launcher | slurm>')


def _ap(output: str) -> float:
    return float(re.findall(r'coco/bbox_mAP: (\S+)', output)[-1])


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one_does(shapes, tiny_config, tmp_path, capfd):
    work_dir = tmp_path / 'a folder'
    shutil.copy(tiny_config, tmp_path / 'a config.py')
    config = tmp_path / 'a config.py'
    env = dict(MMBACKBONES_DATA=str(shapes))
    options = ('--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=1')
    trained = tool('dist_train.sh', config, 2, *options, env=env)
    assert trained.returncode == 0, trained.stdout
    assert 'Epoch(train) [1][3/3]' in trained.stdout and 'eta:' in trained.stdout
    # untyped weights are said so, once
    assert trained.stdout.count('random weights') == 1

    recorded = json.loads(next(work_dir.glob('*/environment.json')).read_text())
    assert {'command', 'commit', 'versions', 'cpu'} <= recorded.keys()
    assert str(config) in recorded['command'] and 'torch' in recorded['versions']
    assert Config.fromfile(work_dir / 'a config.py').randomness.seed == 0

    options = ('--data-root', shapes, '--work-dir', tmp_path / 'test')
    two = tool('dist_test.sh', config, work_dir / 'epoch_1.pth', 2, *options)
    assert two.returncode == 0, two.stdout
    capfd.readouterr()
    training.test([str(arg) for arg in (config, work_dir / 'epoch_1.pth', *options)])
    one = ''.join(capfd.readouterr())
    for said in (one, two.stdout):
        assert re.search(r'Epoch\(test\) \[1/[24]\] +eta', said)
    assert _ap(one) == _ap(two.stdout) == _ap(trained.stdout)
