"""MMEngine's runners, of which an error names the part of the config that it comes from."""
import contextlib
import copy
import os
import random
from typing import Any, Iterator, Optional, Set, Union

import numpy as np
import torch
from mmengine._strategy import BaseStrategy
from mmengine.dist import barrier, get_rank
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import BaseLoop
from mmengine.runner import FlexibleRunner as _FlexibleRunner
from mmengine.runner import LogProcessor
from mmengine.runner import Runner as _Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.utils.data import DataLoader

from ..boundary import heed_signals
from ..config.blame import blamed, building
from ..config.parts import SPLITS, scope_of
from ..errors import UserError
from ..files import TEMPORARY
from ..hooks.checkpoint import BACKEND

__all__ = ['FlexibleRunner', 'Runner']

# parts of a config by the time at which they are first used
EVERYTHING = ('model', 'data_preprocessor', 'strategy', *(f'{split}_dataloader' for split in SPLITS), 'optim_wrapper',
              'param_scheduler', *(f'{split}_cfg' for split in SPLITS))
LATE = ('default_hooks', 'custom_hooks', *(f'{split}_evaluator' for split in SPLITS), 'visualizer', 'log_processor')


@contextlib.contextmanager
def _same_randomness() -> Iterator[None]:
    """Within, random numbers may be drawn: what comes after draws as if none had been."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _apart(dataset: Any) -> Any:
    """A data set with the same data whose pipeline, which may remember images, is another."""
    dataset = copy.copy(dataset)
    if hasattr(dataset, 'pipeline'):
        dataset.pipeline = copy.deepcopy(dataset.pipeline)
    if hasattr(dataset, 'dataset'):
        dataset.dataset = _apart(dataset.dataset)
    if isinstance(getattr(dataset, 'datasets', None), (list, tuple)):
        dataset.datasets = [_apart(each) for each in dataset.datasets]
    return dataset


class _Blaming:
    """What both runners do: whatever is wrong in the config is said with its key, and before the first iteration.

    Evaluators are built before any data are read, and of each data set one sample is loaded before the training starts.
    """
    _passed: Set[str] = set()

    def _building(self, key: str, tree: Any):
        return building((key, ), tree if isinstance(tree, (dict, list, tuple)) else {}, scope_of(self.cfg))

    def _key_of(self, kind: str, part: Any) -> str:
        """Which of ``train_dataloader``, ``val_dataloader``, ... a part of the config is."""
        found = [split for split in SPLITS if getattr(self, f'_{split}_{kind}', None) is part]
        return f'{found[0]}_{kind}' if found else kind

    def _hook_key(self, hook: Any) -> str:
        for name, each in (self.cfg.get('default_hooks') or {}).items():
            if each == hook:
                return f'default_hooks.{name}'
        custom = list(self.cfg.get('custom_hooks') or ())
        return f'custom_hooks[{custom.index(hook)}]' if hook in custom else 'hooks'

    def build_visualizer(self, visualizer: Optional[dict] = None) -> Visualizer:
        """Build the visualizer, and start what it writes to, which may not be installed."""
        backends = (visualizer or {}).get('vis_backends') if isinstance(visualizer, dict) else None
        names = [each.get('name', each.get('type')) for each in backends or () if isinstance(each, dict)]
        with self._building('visualizer', visualizer):
            built = super().build_visualizer(visualizer)
            for name in names if get_rank() == 0 else ():
                built.get_backend(name).experiment
        return built

    def build_log_processor(self, log_processor: dict) -> LogProcessor:
        with self._building('log_processor', log_processor):
            return super().build_log_processor(log_processor)

    def register_hook(self, hook: Union[Hook, dict], priority: Union[str, int, None] = None) -> None:
        with self._building(self._hook_key(hook), copy.copy(hook)):
            super().register_hook(hook, priority)

    def build_evaluator(self, evaluator: Union[dict, list, Evaluator]) -> Evaluator:
        with self._building(self._key_of('evaluator', evaluator), evaluator):
            return super().build_evaluator(evaluator)

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        with self._building('train_cfg', loop):
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        with self._building('val_cfg', loop):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        with self._building('test_cfg', loop):
            return super().build_test_loop(loop)

    def build_dataloader(self,
                         dataloader: Union[DataLoader, dict],
                         seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Build a data loader, and load the first sample of its data set."""
        if isinstance(dataloader, DataLoader):
            return dataloader
        key = self._key_of('dataloader', dataloader)
        with self._building(key, dataloader):
            loader = super().build_dataloader(dataloader, seed, diff_rank_seed)
            if hasattr(loader.dataset, '__getitem__'):
                with _same_randomness():
                    _apart(loader.dataset)[0]
        return loader

    def call_hook(self, fn_name: str, **kwargs) -> None:
        heed_signals()
        for hook in self.hooks:  # MMEngine's own cuts the stack of a TypeError, which tells whose it is
            if hasattr(hook, fn_name):
                getattr(hook, fn_name)(self, **kwargs)
        self._passed = self._passed | {fn_name}

    def train(self) -> nn.Module:
        """Train. An error of what is used for the first time is one of the config, if it comes from a part of it.

        Raises:
            InputError: it names the key.
        """
        with self._running():
            if isinstance(self._val_evaluator, (dict, list)):
                self._val_evaluator = self.build_evaluator(self._val_evaluator)
            return super().train()

    def test(self) -> dict:
        """Evaluate; errors as in training."""
        with self._running():
            if isinstance(self._test_evaluator, (dict, list)):
                self._test_evaluator = self.build_evaluator(self._test_evaluator)
            return super().test()

    def _used_for_the_first_time(self) -> Iterator[str]:
        """Keys of the config whose parts have not worked yet, so that their settings may be at fault."""
        steps = [f'{split}_iter' for split in SPLITS if f'before_{split}_iter' in self._passed]
        if not all(f'after_{step}' in self._passed for step in steps) or not steps:
            yield from EVERYTHING
        if not {'after_train_epoch', 'after_val_epoch'} <= self._passed:
            yield from LATE

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self._passed = set()
        try:
            yield
        except (UserError, OSError):
            raise
        except Exception as error:
            tree = {key: self.cfg[key] for key in self._used_for_the_first_time() if self.cfg.get(key)}
            found = blamed(error, tree)
            if found is None:
                raise
            with building(*found, scope_of(self.cfg)):
                raise


class Runner(_Blaming, _Runner):
    """MMEngine's Runner, whose errors name the key of the config; see :class:`_Blaming`."""

    def setup_env(self, env_cfg: dict) -> None:
        with self._building('env_cfg', env_cfg):
            super().setup_env(env_cfg)

    def build_model(self, model: Union[nn.Module, dict]) -> nn.Module:
        with self._building('model', model):
            return super().build_model(model)

    def build_optim_wrapper(self, optim_wrapper: Union[BaseOptimWrapper, dict]) -> BaseOptimWrapper:
        with self._building('optim_wrapper', optim_wrapper):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with self._building('param_scheduler', scheduler):
            return super().build_param_scheduler(scheduler)


class FlexibleRunner(_Blaming, _FlexibleRunner):
    """MMEngine's FlexibleRunner, for its strategies (DDP, FSDP, DeepSpeed); errors name the key of the config.

    The model is built at once and not when the training starts, so that its starting weights are checked as those of
    :class:`Runner` are. Checkpoints are written beside their names and renamed: a kill leaves the old one or the new.
    """

    def __init__(self, model: Union[nn.Module, dict], **kwargs):
        super().__init__(model, **kwargs)
        with self._building('model', self.cfg.get('model')):
            self.model = self.strategy.build_model(self.model)

    def build_strategy(self, strategy: Optional[dict] = None, **kwargs) -> BaseStrategy:
        with self._building('strategy', strategy):
            return super().build_strategy(strategy, **kwargs)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        if fn_name == 'before_save_checkpoint':  # DDP's names would be others than those of the model
            consume_prefix_in_state_dict_if_present(kwargs['checkpoint']['state_dict'], 'module.')
        super().call_hook(fn_name, **kwargs)

    def save_checkpoint(self,
                        out_dir: str,
                        filename: str,
                        *args,
                        backend_args: Optional[dict] = None,
                        **kwargs) -> None:
        """Save a checkpoint of a local folder; arguments of MMEngine's method."""
        if backend_args != dict(backend=BACKEND):  # an object store writes whole files by itself
            super().save_checkpoint(out_dir, filename, *args, backend_args=backend_args, **kwargs)
            return
        prefix, suffix = TEMPORARY.format(filename).split('*')
        temporary = f'{prefix}{self.timestamp}{suffix}'
        super().save_checkpoint(out_dir, temporary, *args, **kwargs)
        barrier()  # strategies that shard write a folder, each process its files
        if self.rank == 0:
            os.replace(os.path.join(out_dir, temporary), os.path.join(out_dir, filename))
        barrier()
