"""What a resumed run needs besides MMEngine's own: to go on as if it had never been interrupted, or to say why not."""
from typing import Any, Iterator, List, Optional

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import Runner

from ..registry import HOOKS
from ..weights.parts import inner_model
from .checkpoint import GRADIENTS

__all__ = ['ResumeHook']

STATE = 'resume_state'


def _transforms(node: Any) -> Iterator[Any]:
    """Every transform below a data set or a pipeline, through their wrappers."""
    for name in ('dataset', 'datasets', 'pipeline', 'transforms', '_dataset'):
        inner = vars(node).get(name) if hasattr(node, '__dict__') else None
        for child in inner if isinstance(inner, (list, tuple)) else () if inner is None else (inner, ):
            if name in ('pipeline', 'transforms'):
                yield child
            yield from _transforms(child)


def _is_state(state: Any) -> bool:
    """Whether a checkpoint holds what :meth:`ResumeHook.before_save_checkpoint` writes."""
    return isinstance(state, dict) and type(state.get('batch')) is int and state['batch'] >= 0 and all(
        isinstance(kept, (list, tuple)) and len(kept) == 2 and type(kept[0]) is int and type(kept[1]) is float
        for kept in state.get('early_stopping', ()))


@HOOKS.register_module()
class ResumeHook(Hook):
    """Keeps in checkpoints, and restores, what MMEngine leaves out.

    These are: how far the epoch had come, gradients that were accumulated, the counts of early stopping. A checkpoint
    is of the time before its validation: where one was due, a resumed run makes it before it goes on, so that the best
    checkpoint, schedulers that look at the metric, and early stopping are as they would have been. What cannot be
    restored is said at the start.

    Nothing that a checkpoint says is taken on trust: its config is left out, where MMEngine would run it as Python.
    """
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.state: dict = {}
        self.gradients: Optional[dict] = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner.cfg.get('resume'):
            return
        checkpoint['meta'].pop('config', None)
        hub = checkpoint.get('message_hub')
        if isinstance(hub, dict):
            hub['log_scalars'] = {
                key: value
                for key, value in hub.get('log_scalars', {}).items() if isinstance(value, HistoryBuffer)
            }
        state = checkpoint.get(STATE)
        self.state = state if _is_state(state) else {}
        gradients = checkpoint.get(GRADIENTS)
        if isinstance(gradients, list) and len(gradients) == get_world_size():
            self.gradients = gradients[get_rank()]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'optimizer' not in checkpoint:  # a best one: nothing is resumed from it
            return
        loader = runner.train_dataloader
        state = dict(
            batch=getattr(runner.train_loop, 'batch', 0),
            batches=len(loader),
            world_size=get_world_size(),
            batch_size=loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None),
            torch=str(torch.__version__),
            device=_device_name())
        stopping = [(hook.wait_count, float(hook.best_score)) for hook in self._early_stopping(runner)]
        checkpoint[STATE] = dict(state, early_stopping=stopping)

    def before_train(self, runner: Runner) -> None:
        own = self._own_randomness(runner)
        if not runner.iter:
            if own:
                print_log(
                    f'A resumed run will not equal an uninterrupted one to the last bit: {"; ".join(own)}',
                    logger='current')
            return
        differences = own + self._differences(runner)
        if differences:
            print_log(
                'Warning: the rest of this run does not equal that of an uninterrupted one: '
                f'{"; ".join(differences)}',
                logger='current')
        for hook, kept in zip(self._early_stopping(runner), self.state.get('early_stopping', ())):
            hook.wait_count, hook.best_score = kept
        if hasattr(runner.train_loop, 'batch') and self.state.get('batches') == len(runner.train_dataloader):
            runner.train_loop.batch = min(self.state['batch'], len(runner.train_dataloader))
        self._restore_gradients(runner)
        if getattr(runner.train_loop, 'validation_is_due', bool)():
            print_log('Validating first: the checkpoint is of the time before its validation', logger='current')
            runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.train_dataloader.num_workers == 0:  # workers start each epoch without what they had cached, too
            for transform in _transforms(runner.train_dataloader.dataset):
                if isinstance(getattr(transform, 'results_cache', None), list):
                    transform.results_cache.clear()

    def _restore_gradients(self, runner: Runner) -> None:
        if self.gradients is None:
            return
        for name, parameter in inner_model(runner.model).named_parameters():
            gradient = self.gradients.get(name)
            if gradient is not None and gradient.shape == parameter.shape:
                parameter.grad = gradient.to(parameter.device, parameter.dtype)
        print_log(f'{len(self.gradients)} accumulated gradients are restored: none is lost', logger='current')
        self.gradients = None

    @staticmethod
    def _early_stopping(runner: Runner) -> List[EarlyStoppingHook]:
        return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]

    def _own_randomness(self, runner: Runner) -> List[str]:
        """What depends on the samples before, or has generators of its own."""
        loop, found = runner.train_loop, []
        kinds = {type(each).__name__: each for each in _transforms(runner.train_dataloader.dataset)}
        caching = sorted(name for name, each in kinds.items() if hasattr(each, 'results_cache'))
        if caching and not hasattr(loop, 'run_epoch'):
            found.append(f'{", ".join(caching)} mixes in images that were loaded before')
        for name in sorted(name for name in kinds if name.startswith('Albu')):
            found.append(f'{name} has random generators of its own')
        if getattr(loop, 'fast_forward_on_resume', False):
            found.append('train_cfg.fast_forward_on_resume starts the data anew')
        if torch.cuda.is_available() and not runner.deterministic:
            found.append('on a GPU, --deterministic is not given')
        return found

    def _differences(self, runner: Runner) -> List[str]:
        """What is not as it was when the checkpoint was saved."""
        loader, said = runner.train_dataloader, []
        batch_size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
        if not self.state:
            return ['the checkpoint does not say how it was trained (it is not from these tools)']
        for key, now, words in (('world_size', get_world_size(), 'processes'), ('batch_size', batch_size,
                                                                                'images a process and step'),
                                ('batches', len(loader), 'steps an epoch'), ('torch', str(torch.__version__), 'torch'),
                                ('device', _device_name(), 'device')):
            if self.state.get(key) != now:
                said.append(f'{words}: {self.state.get(key)} before, now {now}')
        return said


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
