"""MMEngine's training loops, with what a run that was killed in the middle needs to go on there."""
from typing import Any, Iterator, Sequence

from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from torch.utils.data import BatchSampler

from ..registry import LOOPS

__all__ = ['EpochBasedTrainLoop', 'IterBasedTrainLoop']


@LOOPS.register_module()
class EpochBasedTrainLoop(_EpochBasedTrainLoop):
    """An epoch may begin in its middle, where a checkpoint was saved there (``by_epoch=False`` of the hook).

    Attributes:
        batch (int): batches of this epoch that are done.
    """
    batch = 0

    # the parent's goes over all batches, with no way to leave out some
    def run_epoch(self) -> None:
        """Iterate what is left of one epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in self._remaining():
            self.run_iter(idx, data_batch)
        self.batch = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Iterate one batch."""
        self.batch = idx + 1
        super().run_iter(idx, data_batch)

    def _remaining(self) -> Iterator[Any]:
        """Batches with their numbers in the epoch. Where the order can be known without loading, nothing is."""
        start, loader = self.batch, self.dataloader
        plain = type(loader.batch_sampler) is BatchSampler and hasattr(loader.sampler, 'start_at')
        if start and plain:
            loader.sampler.start_at(min(start * loader.batch_size, len(loader.sampler)))
            yield from enumerate(loader, start)
            return
        for idx, data_batch in enumerate(loader):
            if idx >= start:
                yield idx, data_batch

    def validation_is_due(self) -> bool:
        """Whether the epoch that was done last ends with a validation."""
        if self.batch or not self._epoch or self.runner.val_loop is None or self._epoch < self.val_begin:
            return False
        self._decide_current_val_interval()
        return self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs


@LOOPS.register_module()
class IterBasedTrainLoop(_IterBasedTrainLoop):
    """Knows whether a validation follows the iteration that was done last."""

    def validation_is_due(self) -> bool:
        """Whether the iteration that was done last is followed by a validation."""
        if not self._iter or self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        self._decide_current_val_interval()
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters
