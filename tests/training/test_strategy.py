"""MMEngine's FlexibleRunner and its strategies do what its Runner does."""
import pytest
import torch
from helpers import tool
from mmengine.config import Config

from mmbackbones.errors import InputError
from mmbackbones.training.strategy import use_strategy
from mmbackbones.weights import read_checkpoint


@pytest.mark.slow
def test_two_processes_of_a_strategy_train_stop_and_go_on_to_the_weights_of_the_runner(tmp_path, shapes, tiny_config):
    flexible = 'runner_type=FlexibleRunner'
    for folder, *options in (
        ('runner', 'train_cfg.max_epochs=2'),
        ('flexible', 'train_cfg.max_epochs=1', flexible),
        ('flexible', 'train_cfg.max_epochs=2', flexible),
    ):
        resume = ['--resume'] if (tmp_path / folder).exists() else []
        done = tool('dist_train.sh', tiny_config, 2, '--data-root', shapes, '--work-dir', tmp_path / folder, *resume,
                    '--cfg-options', 'default_hooks.checkpoint.interval=1', *options)
        assert done.returncode == 0, done.stdout
    by_runner, by_strategy = (
        read_checkpoint(str(tmp_path / folder / 'epoch_2.pth'))['state_dict'] for folder in ('runner', 'flexible'))
    assert by_runner.keys() == by_strategy.keys()
    assert all(torch.equal(weight, by_strategy[name]) for name, weight in by_runner.items())


@pytest.mark.parametrize('strategy, said', [
    (dict(type='FSDPStrategy'), 'torch sees none'),
    (dict(type='DeepSpeedStrategy'), 'torch sees none'),
])
@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_strategies_that_shard_say_that_they_need_gpus(strategy, said):
    with pytest.raises(InputError, match=said):
        use_strategy(Config(dict(launcher='pytorch', strategy=strategy)))


def test_shards_that_no_run_can_go_on_from_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(launcher='pytorch', strategy=dict(type='FSDPStrategy')))
    use_strategy(cfg)
    assert cfg.strategy.state_dict_cfg == 'full'
    cfg.strategy.state_dict_cfg = 'local'
    with pytest.raises(InputError, match="expected 'full'"):
        use_strategy(cfg)
