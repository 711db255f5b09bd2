"""Every command ends in one line and an exit status that programs can rely on; what is unexpected leaves a report."""
import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, tool

from mmbackbones import boundary, cli, training
from mmbackbones.boundary import Ended, command
from mmbackbones.errors import InputError, UnknownNameError


def ending(run, argv=()) -> Ended:
    """How a command with this body ends."""
    with pytest.raises(Ended) as ended:
        command(run)(list(argv))
    return ended.value


def raises(error):

    def run(argv, situation):
        raise error

    return run


# what is raised -> exit status, what is said
KNOWN = [
    (InputError('lr=-1: expected a number above 0'), 1, 'error: lr=-1: expected a number above 0'),
    (InputError('one\ntwo'), 1, 'error: one\nerror: two'),
    (UnknownNameError("no backbone 'x'"), 1, "error: no backbone 'x'"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/data/x.pth'), 1, 'error: /data/x.pth: No space left on'),
    (OSError(errno.EROFS, os.strerror(errno.EROFS), '/data/x'), 1, 'error: /data/x: Read-only file system;'),
    (FileNotFoundError('no config here'), 1, 'error: no config here'),
    (MemoryError(), 1, 'error: out of memory (MemoryError): lower the batch_size'),
    (ModuleNotFoundError("No module named 'tensorboard'", name='tensorboard'), 1,
     "error: the package 'tensorboard' is not there (No module named 'tensorboard'); install it"),
    (KeyboardInterrupt(), 130, 'interrupted'),
]  # yapf: disable


@pytest.mark.parametrize('error, status, said', KNOWN, ids=[type(error).__name__ for error, _, _ in KNOWN])
def test_what_the_user_can_mend_is_one_line(error, status, said, capsys):
    ended = ending(raises(error))
    assert ended.code == status and str(ended).startswith(said)
    printed = capsys.readouterr()
    assert printed.err.strip() == str(ended) and not printed.out


@pytest.mark.parametrize('there', [True, False])
def test_what_is_unexpected_leaves_a_report_in_the_work_directory_or_elsewhere(there, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary.tempfile, 'gettempdir', lambda: str(tmp_path))
    work_dir = tmp_path / 'work'

    def run(argv, situation):
        situation.use(str(work_dir), resumable=True)
        if there:
            work_dir.mkdir()
            (work_dir / 'log').touch()
        {}['nothing']

    ended = ending(run)
    report = next((work_dir if there else tmp_path).glob('error-*.txt'))
    assert ended.code == 3
    assert str(ended) == f'error: KeyError: nothing (unexpected; the report is {report})'
    text = report.read_text()
    assert 'Traceback' in text and "{}['nothing']" in text and 'command' in text and 'torch' in text


def test_a_report_that_cannot_be_written_is_no_second_error(monkeypatch):
    monkeypatch.setattr(boundary.tempfile, 'gettempdir', lambda: '/nowhere')
    assert str(ending(raises(KeyError('x')))) == \
        'error: KeyError: x (unexpected, and no report could be written; --traceback shows it)'


def test_traceback_shows_the_stack_and_the_line(capsys):
    ended = ending(raises(InputError('wrong')), ['--traceback'])
    shown = capsys.readouterr().err
    assert ended.code == 1 and 'in run' in shown and shown.endswith('error: wrong\n')


def test_an_error_of_a_worker_is_its_last_line():
    text = (
        'Caught BadImageError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File\n'
        'mmbackbones.BadImageError: cannot read image x.jpg: the file is empty')
    assert str(ending(raises(InputError(text)))) == 'error: cannot read image x.jpg: the file is empty'


def test_folders_that_stay_empty_are_removed_and_others_stay(tmp_path):
    (tmp_path / 'mine').mkdir()
    for name in ('new/deep', 'mine/new', 'kept'):

        def run(argv, situation, path=tmp_path / name):
            situation.use(str(path), resumable=True)
            (path / 'vis').mkdir(parents=True)
            if path.name == 'kept':
                (path / 'log').touch()
            raise InputError('wrong')

        ending(run)
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['kept', 'log', 'mine']


def test_several_processes_say_it_once_or_with_the_number_of_the_one(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(boundary.time, 'sleep', waited.append)
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank, said in ((0, 'error: wrong'), (1, 'error (process 1 of 2): wrong')):
        monkeypatch.setenv('RANK', str(rank))
        assert str(ending(raises(InputError('wrong')))) == said
    # the first speaks at once; the launcher ends the others, which fail alike, before they speak
    assert waited[0] < 1 and waited[1] > 5


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        f'{sys.executable} -m mmbackbones list | head -n 1', shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith('name') and not done.stderr


# command line -> exit status, what the one line must say
COMMANDS = [
    ('', 2, 'required: COMMAND'),
    ('nosuch', 2, 'invalid choice'),
    ('list --family nosuch', 1, "no family 'nosuch'"),
    ('list --document 9', 1, "no document '9'"),
    ('list --implementation x', 1, "no implementation 'x'"),
    ('list --max-params x', 2, '--max-params'),
    ('info swin', 1, 'did you mean swin_'),
    ('info timm:mobilenetv3', 1, 'did you mean mobilenetv3_large_100, mobilenetv3_large_075'),
    ('info timm:mobilenetv3', 1, 'timm:mobilenetv3_'),
    ('info timm:resnet50.nosuch', 1, "timm has no weights 'nosuch' of resnet50; it has a1_in1k"),
    ('info timm:vit_tiny_patch16_224', 1, 'stride 16 alone'),
    ('info torchvision:nosuch', 1, "torchvision has no network 'nosuch'"),
    ('info x:y', 1, "no library 'x'"),
    ('info swin_t --nosuch', 2, '--nosuch'),
    ('info swin_t --js', 2, '--js'),
    ('check nosuch.py', 1, "no config 'nosuch.py'"),
    ('check /', 1, 'is a folder'),
    ('check mmdet::nosuch/x.py', 1, "no config 'mmdet::nosuch/x.py'"),
    ('swap mmdet::retinanet/retinanet_r50_fpn_1x_coco.py nosuch', 1, "no backbone 'nosuch'"),
    ('swap mmdet::retinanet/retinanet_r50_fpn_1x_coco.py swin_t -o /dev/null/x.py', 1, '/dev/null'),
    ('bench swin_t --against nosuch', 1, "swin_t has no peer 'nosuch'"),
    ('bench swin_t --against plain --json /nowhere/x.json', 1, '/nowhere'),
    ('bench swin_t --against plain --chart x.nosuch', 1, 'x.nosuch'),
]


@pytest.mark.parametrize('line, status, said', COMMANDS, ids=[line or 'none' for line, _, _ in COMMANDS])
def test_every_command_ends_in_one_line(line, status, said, capsys):
    assert cli.main(line.split()) == status
    printed = capsys.readouterr()
    error, = printed.err.strip().splitlines()
    assert error.startswith('error: ') and said in error and not printed.out


# files of a config -> what the one line says of config.py
CONFIGS = {
    'syntax': (dict(config='model = dict('), 'config.py is no valid Python'),
    'syntax of a base': (dict(config="_base_ = './base.py'", base='model = dict('), 'base.py is no valid Python'),
    'missing base': (dict(config="_base_ = './nosuch.py'"), 'inherits what is not there'),
    'missing base of a package': (dict(config="_base_ = 'mmdet::nosuch/x.py'"), 'inherits what is not there'),
    'itself': (dict(config="_base_ = './config.py'"), 'inherits itself'),
    'a circle': (dict(config="_base_ = './base.py'", base="_base_ = './config.py'"), 'inherits itself'),
    'an error': (dict(config='a = 1\nb = a / 0'), 'raises ZeroDivisionError in line 2'),
    'an error of a base': (dict(config="_base_ = './base.py'",
                                base='a = [][1]'), 'base.py raises IndexError in line 1'),
    'an exit': (dict(config='import sys\nsys.exit()'), 'raises SystemExit in line 2'),
    'no UTF-8': (dict(config='a = 1\xff'), 'is not in UTF-8'),
    'empty': (dict(config=''), 'has no model'),
    'an import': (dict(config="custom_imports = dict(imports=['nosuch'])"), 'PYTHONPATH'),
    'a dict for a number': (dict(config="_base_ = './base.py'\na = dict(b=1)",
                                 base='a = 1'), 'cannot be read as a config'),
}


@pytest.mark.parametrize('case', CONFIGS)
def test_configs_that_cannot_be_read_are_named(case, tmp_path, capsys):
    files, said = CONFIGS[case]
    for name, text in files.items():
        (tmp_path / f'{name}.py').write_bytes(text.encode('latin-1'))
    path = str(tmp_path / 'config.py')
    assert cli.main(['check', path]) == 1
    checked, = capsys.readouterr().err.strip().splitlines()
    with pytest.raises(Ended) as ended:
        training.train([path, '--work-dir', str(tmp_path / 'work')])
    trained, = str(ended.value).splitlines()
    assert said in checked and said in trained and ended.value.code == 1
    assert not (tmp_path / 'work').exists()


# one change of a config that trains -> what the one line says, with its key
MUTATIONS = [
    ('train_dataloader.batch_size=0', 'train_dataloader.batch_size=0: expected a whole number from 1 up'),
    ('train_dataloader.batch_size=two', "train_dataloader.batch_size='two'"),
    ('train_dataloader.num_workers=-1', 'train_dataloader.num_workers=-1'),
    ('train_dataloader.num_worker=1', "train_dataloader has no option 'num_worker'; did you mean num_workers"),
    ('train_dataloader.drop_last=x', "train_dataloader.drop_last='x'"),
    ('train_dataloader.sampler.type=DefaultSample', 'train_dataloader.sampler: type='),
    ('train_dataloader.sampler.shuffled=True', "train_dataloader.sampler (DefaultSampler) has no argument 'shuffled'"),
    ('val_dataloader.persistent_workers=True', 'val_dataloader.persistent_workers=True needs num_workers'),
    ('train_dataloader.dataset.pipeline.3.type=Resise', "pipeline[3]: type='Resise' is not known; did you mean Resize"),
    ('train_dataloader.dataset.pipeline.3.scale=None', 'train_dataloader.dataset.pipeline[3]'),
    ('train_dataloader.dataset.pipeline.4.prob=2', 'train_dataloader.dataset.pipeline[4]'),
    ('train_dataloader.dataset.type=CocoDatset', "dataset: type='CocoDatset' is not known; did you mean CocoDataset"),
    ('optim_wrapper.optimizer.lr=-1', 'optim_wrapper.optimizer.lr=-1 (AdamW): Invalid learning rate'),
    ('optim_wrapper.optimizer.lr=nan', 'optim_wrapper.optimizer.lr=nan: expected a finite number'),
    ('optim_wrapper.optimizer.lr=fast', "optim_wrapper.optimizer.lr='fast'"),
    ('optim_wrapper.optimizer.type=Adamw', 'did you mean AdamW'),
    ('optim_wrapper.optimizer.momentun=1', "optim_wrapper.optimizer (AdamW) has no argument 'momentun'"),
    ('optim_wrapper.optimizer=None', 'optim_wrapper has no optimizer'),
    ('optim_wrapper=None', 'no optim_wrapper'),
    ('optim_wrapper.paramwise_cfg=dict(custom_keys=1)', 'optim_wrapper.paramwise_cfg'),
    ('param_scheduler.0.type=LinearLr', 'did you mean LinearLR'),
    ('param_scheduler.1.gamma=x', "param_scheduler[1].gamma='x' (MultiStepLR): expected a number"),
    ('train_cfg.max_epochs=0', 'train_cfg.max_epochs=0: expected a whole number from 1 up'),
    ('train_cfg.max_epoch=1', "train_cfg (EpochBasedTrainLoop) has no argument 'max_epoch'; did you mean max_epochs"),
    ('train_cfg.val_interval=0', 'train_cfg.val_interval=0'),
    ('train_cfg.type=EpochLoop', 'train_cfg: type='),
    ('default_hooks.logger.intervals=1', "default_hooks.logger (LoggerHook) has no argument 'intervals'"),
    ('default_hooks.checkpoint.interval=x',
     "default_hooks.checkpoint.interval='x' (CheckpointHook): expected a number"),
    ('default_hooks.checkpoint.max_keep_ckpts=None', 'default_hooks.checkpoint.max_keep_ckpts=None'),
    ('default_hooks.logger.interval=-1', 'default_hooks.logger'),
    ('custom_hooks=[dict(type=EMAHok)]', 'custom_hooks[0]: type=\'EMAHok\' is not known; did you mean EMAHook'),
    ('val_evaluator.metric=bboxx', 'val_evaluator'),
    ('val_evaluator.type=CocoMetrics', 'did you mean CocoMetric'),
    ('val_evaluator.metrc=bbox', "val_evaluator (CocoMetric) has no argument 'metrc'; did you mean metric"),
    ('visualizer.vis_backends=[dict(type=TensorbordVisBackend)]', 'did you mean TensorboardVisBackend'),
    ('visualizer.vis_backends=[dict(type=TensorboardVisBackend)]', 'visualizer'),
    ('log_processor.window_sise=1', "log_processor (LogProcessor) has no argument 'window_sise'"),
    ('model.neck.out_chanels=8', "model.neck (FPN) has no argument 'out_chanels'; did you mean out_channels"),
    ('model.train_cfg.rpn.assigner.type=MaxIouAssigner', 'did you mean MaxIoUAssigner'),
    ('model.train_cfg.rcnn.sampler.num=many', 'model.'),
    ('model.data_preprocessor.mean=[1,2]', 'model.data_preprocessor.mean has 2 values'),
    ('model.data_preprocessor.std=[1,0,1]', 'expected values above 0'),
    ('model.roi_head.bbox_head.num_classes=80', 'model.roi_head.bbox_head.num_classes=80, expected 4'),
    ('model.type=FasterRCN', 'did you mean FasterRCNN'),
    ('default_scope=mmdett', "default_scope='mmdett': no such package"),
    ('randomness.seed=-1', 'randomness.seed'),
    ('randomness.sed=1', "randomness has no key 'sed'; did you mean seed"),
    ('optim_wraper.optimizer.lr=1',
     "the config has no 'optim_wraper', and nothing reads it; did you mean optim_wrapper"),
    ('param_scheduler.7.end=1', 'param_scheduler is a list of 2; expected a number from 0 to 1'),
    ('model.backbone.depth.x=1', 'model.backbone.depth is 18, which has no keys'),
    ('runner_type=Other', 'runner_type'),
]


@pytest.mark.parametrize('option, said', MUTATIONS, ids=[option for option, _ in MUTATIONS])
def test_one_wrong_value_is_said_with_its_key_before_anything_is_trained(option, said, shapes, tiny_config, tmp_path):
    work_dir = tmp_path / 'work'
    with pytest.raises(Ended) as ended:
        training.train([
            str(tiny_config), '--data-root',
            str(shapes), '--work-dir',
            str(work_dir), '--backbone-weights', 'none', '--cfg-options', option
        ])
    assert ended.value.code == 1, str(ended.value)
    assert str(ended.value).startswith('error: ') and said in str(ended.value)
    assert not list(work_dir.rglob('*.pth'))


def test_a_key_that_nothing_is_known_to_read_is_a_warning(tiny_config, shapes, tmp_path, capsys):
    with pytest.raises(Ended):
        training.train([
            str(tiny_config), '--data-root',
            str(shapes), '--work-dir',
            str(tmp_path / 'work'), '--cfg-options', 'model.train_cfg.rpn.alowed_border=1', 'train_cfg.max_epochs=0'
        ])
    warning, = [line for line in capsys.readouterr().out.splitlines() if line.startswith('Warning: --cfg-options')]
    assert 'model.train_cfg.rpn had no \'alowed_border\'; did you mean allowed_border' in warning


@pytest.mark.parametrize('argv, status, said', [
    (['--seed', '-1'], 1, '--seed -1: expected a seed from 0'),
    (['--seed', 'x'], 2, '--seed'),
    (['--cfg-options', 'model'], 2, "'model': expected KEY=VALUE"),
    (['--cfg-options', 'model.a=[1,2'], 2, "model.a=[1,2: ']' is missing"),
    (['--launcher', 'mpi'], 2, '--launcher'),
    (['--nosuch'], 2, '--nosuch'),
    (['--resum'], 2, '--resum'),
    (['--data-root', '/nowhere'], 1, '/nowhere'),
], ids=lambda value: ' '.join(value) if isinstance(value, list) else None)  # yapf: disable
def test_options_of_training_are_said_in_one_line(argv, status, said, tiny_config, tmp_path):
    with pytest.raises(Ended) as ended:
        training.train([str(tiny_config), '--work-dir', str(tmp_path / 'work'), *argv])
    line, = str(ended.value).splitlines()
    assert ended.value.code == status and line.startswith('error: ') and said in line
    assert not (tmp_path / 'work').exists()


@pytest.mark.slow
@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_says_how_it_goes_on_and_leaves_no_process(number, status, shapes, tiny_config,
                                                                             tmp_path):
    config, work_dir = tmp_path / 'config.py', tmp_path / 'work'
    config.write_text(tiny_config.read_text().replace('max_epochs=3, val_interval=3',
                                                      'max_epochs=10000, val_interval=20000'))
    running = tool(
        'train.py',
        config,
        '--data-root',
        shapes,
        '--work-dir',
        work_dir,
        start=True,
        start_new_session=True,
        # a shell has what runs in its background ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while not (work_dir / 'last_checkpoint').exists():
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.1)
    if number == signal.SIGINT:  # a terminal sends it to all of the group
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == status
    assert said.rstrip().endswith(f'interrupted; go on with --resume (checkpoints are in {work_dir})')
    assert 'Traceback' not in said
    assert not re.search('OneDL|faster_coco_eval', said)
    for _ in range(100):
        left = subprocess.run(['pgrep', '-s', str(running.pid)], capture_output=True, text=True).stdout.split()
        if not left:
            break
        time.sleep(0.1)
    assert not left
