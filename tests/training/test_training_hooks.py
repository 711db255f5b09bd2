"""What a run trusts, keeps and refuses: checkpoints of others, losses that are no numbers, folders in use."""
import os
import subprocess
import sys
import uuid

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmbackbones.errors import InputError
from mmbackbones.hooks.checkpoint import TrainingError, newest_checkpoint
from mmbackbones.training.lock import lock_work_dir
from mmbackbones.training.resumable import make_resumable
from mmbackbones.weights import read_checkpoint, use_safe_loading


class Model(BaseModel):
    """One weight; its loss is NaN in the iterations of ``bad``."""

    def __init__(self, bad=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.bad = bad
        self.calls = 0

    def forward(self, x, mode='tensor'):
        if mode == 'predict':
            return [self.weight.detach()]
        self.calls += 1
        return dict(loss_box=(self.weight * x).mean() * (float('nan') if self.calls in self.bad else 1))


class Metric(BaseMetric):
    """Grows while the weight shrinks."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=-Metric.model.weight.sum().item())


def build(work_dir, max_epochs=3, resume=None, model=None, scale=1., **options) -> Runner:
    """A runner as the tools make it, with a model of one weight and four samples."""
    use_safe_loading()
    cfg = Config(
        dict(
            work_dir=str(work_dir),
            launcher='none',
            default_scope='mmengine',
            train_dataloader=dict(
                dataset=[dict(x=torch.full((3, ), scale * index)) for index in range(1, 5)],
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_size=1,
                num_workers=0,
                collate_fn=dict(type='default_collate')),
            val_dataloader=dict(dataset=[dict(x=torch.ones(3))], sampler=dict(type='DefaultSampler', shuffle=False)),
            val_evaluator=[],
            val_cfg=dict(),
            train_cfg=dict(by_epoch=True, max_epochs=max_epochs, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=options.pop('accumulate', 1)),
            default_hooks=dict(
                checkpoint={
                    'type': 'CheckpointHook',
                    'interval': 1,
                    **options.pop('checkpoint', {})
                },
                logger=dict(type='LoggerHook', interval=100)),
            load_from=None if resume is None else str(resume),
            resume=resume is not None,
            randomness=dict(seed=0),
            experiment_name=uuid.uuid4().hex,  # MMEngine's visualizers are known by it
            **options))
    # lists of tensors are no configs
    data, cfg.train_dataloader.dataset = cfg.train_dataloader.dataset, []
    make_resumable(cfg)
    runner_args = {key: cfg.get(key) for key in cfg if key not in ('train_dataloader', 'val_evaluator')}
    runner_args.pop('model', None)
    Metric.model = model = model or Model()
    train_loader = dict(cfg.train_dataloader, dataset=Data(data))
    return Runner(model, cfg=cfg, train_dataloader=train_loader, val_evaluator=[Metric()], **runner_args)


class Data(list):
    """A list that, as a data set, has attributes."""


def names(folder) -> set:
    return {path.name for path in folder.glob('*.pth')}


BEST = dict(checkpoint=dict(save_best='score', rule='greater'))


def test_nothing_of_a_checkpoint_is_run_or_removes_what_is_not_the_runs_own(tmp_path):
    build(tmp_path / 'work', 2, **BEST).train()
    trace, victim = tmp_path / 'ran', tmp_path / 'victim'
    victim.mkdir()
    (victim / 'best_of_years.pth').write_text('mine')
    path = tmp_path / 'work' / 'epoch_2.pth'
    checkpoint = read_checkpoint(path)
    checkpoint['meta']['config'] = f'open({str(trace)!r}, "w").close()'
    for claim in (victim, victim / 'best_of_years.pth', tmp_path / 'work' / '..' / 'victim' / 'best_of_years.pth'):
        checkpoint['message_hub']['runtime_info'].update(best_ckpt=str(claim), best_score=-100., keep_ckpt_ids=['../x'])
        checkpoint['message_hub']['resumed_keys'].update(best_ckpt=True, best_score=True, keep_ckpt_ids=True)
        torch.save(checkpoint, path)
        build(tmp_path / 'work', 3, resume=path, checkpoint=dict(BEST['checkpoint'], max_keep_ckpts=1)).train()
        assert (victim / 'best_of_years.pth').read_text() == 'mine' and not trace.exists()


def test_a_run_resumed_into_another_folder_leaves_the_old_one_alone(tmp_path):
    build(tmp_path / 'old', 2, **BEST).train()
    before = names(tmp_path / 'old')
    build(tmp_path / 'new', 4, resume=tmp_path / 'old' / 'epoch_2.pth', **BEST).train()
    assert names(tmp_path / 'old') == before
    assert {'epoch_3.pth', 'epoch_4.pth', 'best_score_epoch_4.pth'} <= names(tmp_path / 'new')


def test_the_best_checkpoint_is_there_whenever_the_run_is_killed(tmp_path, monkeypatch):
    runner = build(tmp_path, 3, **BEST)
    hook = next(each for each in runner.hooks if type(each).__name__ == 'CheckpointHook')
    seen, remove = [], hook._remove

    def watch(path):
        seen.append(sorted(name for name in names(tmp_path) if name.startswith('best')))
        remove(path)

    monkeypatch.setattr(hook, '_remove', watch)
    runner.train()
    assert seen == [[f'best_score_epoch_{n}.pth', f'best_score_epoch_{n + 1}.pth'] for n in (1, 2)]
    assert names(tmp_path) == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'best_score_epoch_3.pth'}


def test_a_validation_that_a_kill_has_cut_off_is_made_first(tmp_path):
    stopping = [dict(type='EarlyStoppingHook', monitor='score', rule='greater', patience=9)]
    runner = build(tmp_path, 2, custom_hooks=stopping, **BEST)
    whole = dict(runner.train().state_dict())
    (tmp_path / 'best_score_epoch_2.pth').unlink()  # as if killed before its validation
    path = tmp_path / 'epoch_2.pth'
    checkpoint = read_checkpoint(path)
    checkpoint['message_hub']['runtime_info'].update(best_score=-100.)
    torch.save(checkpoint, path)
    resumed = build(tmp_path, 2, resume=path, custom_hooks=stopping, **BEST)
    assert torch.equal(resumed.train().state_dict()['weight'], whole['weight'])
    assert 'best_score_epoch_2.pth' in names(tmp_path)
    counts = [[(hook.wait_count, hook.best_score) for hook in each.hooks if isinstance(hook, EarlyStoppingHook)]
              for each in (runner, resumed)]
    assert counts[0] == counts[1]


def test_a_new_run_in_an_old_folder_does_not_adopt_the_old_ones_end(tmp_path):
    build(tmp_path, 3).train()
    assert newest_checkpoint(tmp_path)[0].endswith('epoch_3.pth')
    killed = build(tmp_path, 3)
    killed.train_loop.run_epoch = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert newest_checkpoint(tmp_path) == (None, [])
    build(tmp_path, 2).train()
    assert newest_checkpoint(tmp_path)[0].endswith('epoch_2.pth')
    # going back to an earlier checkpoint gives up those after it
    back = build(tmp_path, 3, resume=tmp_path / 'epoch_1.pth')
    back.train_loop.run_epoch = killed.train_loop.run_epoch
    with pytest.raises(KeyboardInterrupt):
        back.train()
    assert newest_checkpoint(tmp_path)[0].endswith('epoch_1.pth')


@pytest.mark.parametrize('template', ['odconv_ep{}.pth', '{:03d}.pth', 'a+b({}).pth'])
def test_own_file_names_are_found(template, tmp_path):
    build(tmp_path, 2, checkpoint=dict(filename_tmpl=template)).train()
    assert newest_checkpoint(tmp_path, template) == (str(tmp_path / template.format(2)), [])
    (tmp_path / 'last_checkpoint').unlink()
    assert newest_checkpoint(tmp_path, template) == (str(tmp_path / template.format(2)), [])


@pytest.mark.parametrize('content', ['', '\n', '.', '/', 'nowhere/epoch_9.pth', 'epoch_9.pth', 'a\nb', '\0'])
def test_a_pointer_without_a_file_does_not_lead_elsewhere(content, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    torch.save(dict(state_dict={}), 'epoch_7.pth')
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text(content)
    assert newest_checkpoint(tmp_path / 'work') == (None, [])


def test_gradients_between_two_updates_survive(tmp_path):
    options = dict(accumulate=3)
    whole = build(tmp_path / 'whole', 3, **options).train().state_dict()
    build(tmp_path / 'cut', 3, **options).train()
    assert read_checkpoint(tmp_path / 'cut' / 'epoch_1.pth')['accumulated_gradients'][0]['weight'].any()
    resumed = build(tmp_path / 'cut', 3, resume=tmp_path / 'cut' / 'epoch_1.pth', **options).train().state_dict()
    assert torch.equal(whole['weight'], resumed['weight'])


def test_an_epoch_goes_on_in_its_middle(tmp_path):
    options = dict(checkpoint=dict(by_epoch=False, interval=3))
    whole = build(tmp_path / 'whole', 3, **options)
    expected = whole.train().state_dict()
    for middle in ('iter_3.pth', 'iter_6.pth', 'iter_9.pth', 'iter_12.pth'):
        resumed = build(tmp_path / 'cut', 3, resume=tmp_path / 'whole' / middle, **options)
        assert torch.equal(resumed.train().state_dict()['weight'], expected['weight'])
        assert (resumed.epoch, resumed.iter) == (whole.epoch, whole.iter) == (3, 12)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_finite_checkpoint(tmp_path):
    with DefaultScope.overwrite_default_scope('mmengine'), pytest.raises(TrainingError) as error:
        build(tmp_path, 3, model=Model(bad=(6, ))).train()
    for text in ('iteration 6 ', 'loss_box=nan', 'nonfinite_iter_6.pth', 'clip_grad'):
        assert text in str(error.value)
    assert names(tmp_path) == {'epoch_1.pth', 'nonfinite_iter_6.pth'}
    assert read_checkpoint(tmp_path / 'nonfinite_iter_6.pth')['x'].shape == (1, 3)
    # the last steps of an epoch: the weights are looked at before they are saved
    with pytest.raises(TrainingError, match='weights are no longer finite .weight.* epoch 2'):
        build(tmp_path / 'late', 3, model=Model(bad=(8, ))).train()
    assert names(tmp_path / 'late') == {'epoch_1.pth', 'nonfinite_iter_8.pth'}


def test_what_will_differ_is_said(tmp_path, capsys):
    build(tmp_path, 1).train()
    path = tmp_path / 'epoch_1.pth'
    build(tmp_path, 2, resume=path).train()
    assert 'does not equal' not in capsys.readouterr().out
    checkpoint = read_checkpoint(path)
    checkpoint['resume_state'].update(world_size=8)
    torch.save(checkpoint, path)
    build(tmp_path, 2, resume=path).train()
    assert 'processes: 8 before, now 1' in capsys.readouterr().out


HOLD = """
import sys, time
from mmbackbones.training.lock import lock_work_dir
with lock_work_dir(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def test_one_run_at_a_time_in_a_folder(tmp_path):
    other = subprocess.Popen([sys.executable, '-c', HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'held\n'
    with pytest.raises(InputError) as error, lock_work_dir(tmp_path, patience=0.1):
        pass
    for text in (f'process {other.pid} on {os.uname().nodename}', str(tmp_path), '--work-dir'):
        assert text in str(error.value)
    other.kill()
    other.wait()
    with lock_work_dir(tmp_path, patience=5):
        pass
    with lock_work_dir(tmp_path, patience=0):
        pass
