"""A training whose loss is no number stops, and says where."""
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..files import write_atomically
from ..messages import listed, some_of
from ..registry import HOOKS
from .checkpoint import TrainingError

__all__ = ['FiniteLossHook']

SHOWN_IMAGES = 8


def _plain(sample: Any) -> Any:
    """A sample's annotations as tensors and plain containers, which any reader of checkpoints takes."""
    if hasattr(sample, 'all_items'):  # mmengine's BaseDataElement
        return {name: _plain(value) for name, value in sample.all_items()}
    if isinstance(getattr(sample, 'tensor', None), torch.Tensor):  # boxes
        return sample.tensor
    if isinstance(sample, dict):
        return {str(key): _plain(value) for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return [_plain(value) for value in sample]
    if isinstance(sample, (torch.Tensor, str, bool, int, float, type(None))):
        return sample
    return str(sample)


def _image_paths(data_batch: Any) -> List[str]:
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    paths = [getattr(sample, 'img_path', None) for sample in samples]
    return [str(path) for path in paths if path]


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a training whose loss was NaN or infinite in several iterations on end.

    One such step happens under mixed precision, where it is left out. In single precision the weights are lost with the
    first; no checkpoint is saved from them (:class:`CheckpointHook`). The batch of the first such step is kept for a
    replay, as tensors and paths, beside the checkpoints.

    Args:
        patience: iterations on end. Defaults to 3.

    Raises:
        TrainingError: it names the first iteration, the loss terms and the images.
    """
    priority = 'ABOVE_NORMAL'

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.count = 0
        self.first = ''

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Optional[Dict[str, Any]] = None) -> None:
        terms = {
            name: float(value.detach() if isinstance(value, torch.Tensor) else value)
            for name, value in (outputs or {}).items()
            if 'loss' in name and (isinstance(value, float) or isinstance(value, torch.Tensor) and value.numel() == 1)
        }
        wrong = {name: value for name, value in terms.items() if not abs(value) < float('inf')}
        if not wrong:
            self.count = 0
            return
        if not self.count:
            self.first = self._describe(runner, data_batch, wrong)
        self.count += 1
        if self.count >= self.patience:
            raise TrainingError(f'{self.first}, and in the {self.patience - 1} after it, so training stops. Lower the '
                                f'learning rate, lengthen the warm-up, clip gradients '
                                f'(optim_wrapper.clip_grad=dict(max_norm=1)), or look at these images and their boxes')

    def _describe(self, runner: Runner, data_batch: Any, wrong: Dict[str, float]) -> str:
        rank = f' of process {get_rank()}' if get_world_size() > 1 else ''
        suffix = f'_rank{get_rank()}' if get_world_size() > 1 else ''
        path = Path(runner.work_dir) / f'nonfinite_iter_{runner.iter + 1}{suffix}.pth'
        write_atomically(path, lambda file: torch.save(_plain(data_batch), file))
        paths = _image_paths(data_batch)
        terms = listed(f'{name}={value}' for name, value in wrong.items())
        return (f'the loss is not finite in iteration {runner.iter + 1}{rank} ({terms}; images '
                f'{some_of(paths, SHOWN_IMAGES) or "without a path"}; the batch is kept in {path})')
