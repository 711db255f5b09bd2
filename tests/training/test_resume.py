"""An interrupted run resumes to the same result, and a kill while saving breaks no checkpoint."""
import os
import random
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tool

from mmbackbones.hooks.checkpoint import newest_checkpoint
from mmbackbones.hooks.random_seed import RandomSeedHook, seed_worker
from mmbackbones.training import train
from mmbackbones.weights import read_checkpoint

# Saves 12 MB after every iteration. With a third argument the system ends the process, as abruptly as SIGKILL, when a
# file grows beyond that number of bytes: in the middle of writing it.
SAVING = """
import resource
import signal
import sys
import torch
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmbackbones.hooks.checkpoint import newest_checkpoint
from mmbackbones.weights import use_safe_loading


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1000, 3000)

    def forward(self, x, mode='tensor'):
        return dict(loss=self.layer(x).mean())


use_safe_loading()
if len(sys.argv) > 3:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
work_dir = sys.argv[1]
start, broken = newest_checkpoint(work_dir)
assert not broken, broken
runner = Runner(
    Model(),
    work_dir=work_dir,
    load_from=start,
    resume=start is not None,
    train_dataloader=dict(dataset=[dict(x=torch.ones(1000))] * 4, sampler=dict(type='InfiniteSampler'), batch_size=1,
                          collate_fn=dict(type='default_collate')),
    train_cfg=dict(by_epoch=False, max_iters=int(sys.argv[2])),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    default_hooks=dict(checkpoint=dict(
        type='mmbackbones.CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=2)))
runner.train()
"""


def _wait_for(process: subprocess.Popen, text: str) -> None:
    """Read the output of a process up to the line that holds the text."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f'{text!r} never came:\n{"".join(seen[-40:])}')


def _kill(process: subprocess.Popen) -> None:
    """SIGKILL a process and its data loading workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def _assert_same(a, b, where: str = '') -> None:
    """Compare nested containers bit for bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _assert_same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b)):
            _assert_same(x, y, f'{where}[{index}]')
    else:
        assert a == b, f'{where}: {a} != {b}'


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bits(shapes, tiny_config, tmp_path, capfd):
    command = [str(tiny_config), '--data-root', str(shapes), '--seed', '3', '--work-dir']
    train([*command, str(tmp_path / 'whole')])

    killed = tool('train.py', *command, tmp_path / 'killed', start=True, start_new_session=True)
    _wait_for(killed, 'Epoch(train) [2][3/6]')
    _kill(killed)
    assert {path.name for path in (tmp_path / 'killed').glob('*.pth')} == {'epoch_1.pth'}
    capfd.readouterr()
    train([*command, str(tmp_path / 'killed'), '--resume'])
    assert re.search(r'Resuming from .*/killed/epoch_1\.pth', ''.join(capfd.readouterr()))

    a, b = (read_checkpoint(str(tmp_path / name / 'epoch_3.pth')) for name in ('whole', 'killed'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        _assert_same(a[part], b[part], part)
    losses_a, losses_b = (checkpoint['message_hub']['log_scalars']['train/loss'].data[0] for checkpoint in (a, b))
    assert len(losses_a) == 18 and losses_a.tolist() == losses_b.tolist()


@pytest.mark.slow
def test_kill_while_saving_leaves_the_newest_checkpoint_whole(tmp_path):
    rng = random.Random(0)
    script, work_dir = tmp_path / 'saving.py', tmp_path / 'work'
    script.write_text(SAVING)
    command = [sys.executable, script, work_dir]
    subprocess.run([*command, '1'], check=True, capture_output=True)

    half = (work_dir / 'iter_1.pth').stat().st_size // 2
    ended = subprocess.run([*command, '100', str(half)], capture_output=True)
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    assert newest_checkpoint(work_dir) == (str(work_dir / 'iter_1.pth'), [])

    reached = 1
    for _ in range(2):
        process = subprocess.Popen([*command, '100000'],
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT,
                                   text=True,
                                   start_new_session=True)
        _wait_for(process, f'Saving checkpoint at {reached + 2} iterations')
        time.sleep(rng.uniform(0, 0.3))
        _kill(process)
        newest, broken = newest_checkpoint(work_dir)
        assert broken == []
        number = read_checkpoint(newest)['meta']['iter']
        assert number > reached
        reached = number
        # what MMEngine's own tools would resume from
        read_checkpoint((work_dir / 'last_checkpoint').read_text())

    subprocess.run([*command, str(reached + 2)], check=True, capture_output=True)
    assert {path.name for path in work_dir.glob('*.pth')} == {f'iter_{reached + 1}.pth', f'iter_{reached + 2}.pth'}
    assert not list(work_dir.glob('.*')), 'temporary files of killed runs are removed at the next save'


def test_resume_passes_over_a_broken_checkpoint_and_names_it(tmp_path):
    for number in (9, 10, 11):
        torch.save(dict(state_dict=dict(w=torch.full((100, ), number))), tmp_path / f'epoch_{number}.pth')
    newest = tmp_path / 'epoch_11.pth'
    newest.write_bytes(newest.read_bytes()[:-200])
    (tmp_path / 'last_checkpoint').write_text(str(newest))
    chosen, broken = newest_checkpoint(tmp_path)
    assert chosen == str(tmp_path / 'epoch_10.pth')
    assert len(broken) == 1 and 'epoch_11.pth' in broken[0]
    assert newest_checkpoint(tmp_path / 'empty') == (None, [])


def test_resume_takes_the_run_that_was_last_not_the_highest_number(tmp_path):
    for number in (1, 2, 12):
        torch.save(dict(state_dict=dict(w=torch.full((100, ), number))), tmp_path / f'epoch_{number}.pth')
    last = tmp_path / 'last_checkpoint'
    last.write_text(str(tmp_path / 'epoch_1.pth'))
    # 12 is of an earlier run; 1 is where last_checkpoint points; 2 was saved when the kill came
    for number, time_ in ((12, 100), (1, 200), (2, 220)):
        os.utime(tmp_path / f'epoch_{number}.pth', (time_, time_))
    os.utime(last, (210, 210))
    assert newest_checkpoint(tmp_path) == (str(tmp_path / 'epoch_2.pth'), [])
    os.utime(tmp_path / 'epoch_2.pth', (100, 100))
    assert newest_checkpoint(tmp_path) == (str(tmp_path / 'epoch_1.pth'), [])


class _Drawn(torch.utils.data.Dataset):
    """What numpy, python and torch draw in a worker."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.random.random(), random.random(), torch.rand(()).item()


def test_workers_draw_anew_in_each_epoch_and_alike_after_a_resume():
    loader = torch.utils.data.DataLoader(_Drawn(), num_workers=2, worker_init_fn=seed_worker)

    def epoch(number):
        hook.before_train_epoch(SimpleNamespace(seed=0, epoch=number))
        return torch.stack([torch.stack(item) for item in loader])  # (4, 3, 1)

    hook = RandomSeedHook()
    first, second, again = epoch(0), epoch(1), epoch(1)
    assert torch.equal(second, again)
    assert not (first == second).any()
    assert len(first.unique()) == first.numel()
