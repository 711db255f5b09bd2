"""Annealing of the attentions' temperature in dynamic convolutions."""
from typing import Optional

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS

__all__ = ['TemperatureAnnealingHook']


@HOOKS.register_module()
class TemperatureAnnealingHook(Hook):
    """Lower the temperature of every dynamic convolution linearly, iteration by iteration, then leave it at its end.

    A high temperature makes the attentions nearly uniform, so that all kernels learn at the start (DyConv, section
    3.3). The schedule of ODConv and DyConv: 30 to 1 over the first 10 epochs on ImageNet, none in detection. The value
    depends on the iteration alone and lies in the checkpoints as a buffer, so a resumed run goes on where it was.

    A model that is averaged by an ``EMAHook`` has the temperature of the iteration too, not an average of past ones: it
    would lag behind, and the weights would meet a temperature that they were not trained at.

    Args:
        start: temperature before the first iteration. Defaults to 30.
        end: temperature after ``epochs``. Defaults to 1.
        epochs: how many epochs it takes. Defaults to 10.

    Raises:
        ValueError: at the start of training, for a model without any temperature, or for arguments not above 0.
    """
    priority = 'NORMAL'

    def __init__(self, start: float = 30., end: float = 1., epochs: int = 10):
        if min(start, end, epochs) <= 0:
            raise ValueError(f'TemperatureAnnealingHook: start={start}, end={end} and epochs={epochs} must be above 0')
        self.start = start
        self.end = end
        self.epochs = epochs

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        averaged = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        self.temperatures = [
            buffer for each in (model, *averaged) for name, buffer in each.named_buffers()
            if name.rpartition('.')[2] == 'temperature'
        ]
        if not self.temperatures:
            raise ValueError(
                'TemperatureAnnealingHook: the model has no layer with a temperature (ODConv2d, DyConv2d); '
                'remove the hook from custom_hooks')
        self.iters = self.epochs * len(runner.train_dataloader)
        print_log(
            f'temperature of {len(self.temperatures)} layers: {self.start} to {self.end} in {self.iters} '
            'iterations',
            logger='current')
        # a run that is resumed behind the end too: an older checkpoint may hold an average
        self._set(self.temperature_at(runner.iter))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        if runner.iter <= self.iters:
            self._set(self.temperature_at(runner.iter))

    def _set(self, temperature: float) -> None:
        for buffer in self.temperatures:
            buffer.fill_(temperature)

    def temperature_at(self, iteration: int) -> float:
        """Temperature in an iteration, counted from 0."""
        progress = min(iteration / self.iters, 1.)
        return self.start + (self.end - self.start) * progress
