"""MMEngine's FlexibleRunner and its strategies do what its Runner does."""
import shutil

import pytest
import torch
from helpers import tool
from mmengine.config import Config

from mmbackbones.errors import InputError
from mmbackbones.training.strategy import use_strategy
from mmbackbones.weights import read_checkpoint


@pytest.mark.slow
def test_two_processes_of_a_strategy_go_on_where_the_runner_stopped_to_its_weights(tmp_path, shapes, tiny_config):
    weights = {}
    for name, *options in (('runner', ), ('strategy', 'runner_type=FlexibleRunner')):
        folder = tmp_path / name
        if weights:
            folder.mkdir()
            shutil.copy(tmp_path / 'runner' / 'epoch_1.pth', folder)
        done = tool('dist_train.sh', tiny_config, 2, '--data-root', shapes, '--work-dir', folder, '--resume',
                    '--cfg-options', 'train_cfg.max_epochs=2', 'default_hooks.checkpoint.interval=1', *options)
        assert done.returncode == 0, done.stdout
        assert ('Resuming from' in done.stdout) == bool(weights)
        weights[name] = read_checkpoint(str(folder / 'epoch_2.pth'))['state_dict']
    assert weights['runner'].keys() == weights['strategy'].keys()
    assert all(torch.equal(weight, weights['strategy'][name]) for name, weight in weights['runner'].items())


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
