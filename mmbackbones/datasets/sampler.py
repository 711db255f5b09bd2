"""A sampler whose samples are augmented by their place in the run, not by what was loaded before."""
import random
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import Sampler

from ..registry import DATA_SAMPLERS

__all__ = ['NumberedSampler', 'seed_cpu']


def seed_cpu(*numbers: int) -> int:
    """Seed python, numpy and torch's generator of the CPU, where samples are made, with a mix of the numbers.

    Returns:
        int: the seed.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    return seed


class _Numbered(int):
    """An index of the data set that knows its place in the run."""
    place = (0, 0)


class _SeededItems:
    """What torch's data loader calls with the indices of a batch: each sample is drawn with a seed of its own.

    Args:
        dataset: where the samples come from.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.rank = get_rank()

    def __call__(self, indices: Sequence[int]) -> List[Any]:
        return [self._item(index) for index in indices]

    def _item(self, index: int) -> Any:
        if isinstance(index, _Numbered):
            seed_cpu(self.seed, self.rank, *index.place, int(index))
        return self.dataset[int(index)]


@DATA_SAMPLERS.register_module()
class NumberedSampler(Sampler):
    """Another sampler, with the augmentation of each sample seeded by (seed, rank, epoch, place in the epoch, index).

    A worker's generators otherwise stand where all the samples that it has loaded have left them: then a resumed run,
    or one with another number of workers, sees other augmentations. For iteration-based loops the epoch stays 0, and
    the place counts from the start of the run.

    Args:
        dataset: the data set; batches are fetched from it by its ``__getitems__``, which is set here.
        sampler: config of the sampler that chooses the indices.
        seed: of the run. Defaults to None: that of the other sampler.
    """

    def __init__(self, dataset: Any, sampler: Dict[str, Any], seed: Optional[int] = None) -> None:
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.epoch = 0
        self._start = 0
        self._skipped_inside = False
        own = getattr(self.sampler, 'seed', None)
        dataset.__getitems__ = _SeededItems(dataset, (seed if seed is not None else own) or 0)

    def __iter__(self) -> Iterator[int]:
        start, self._start = self._start, 0
        indices = iter(self.sampler)
        if not self._skipped_inside:
            for _ in range(start):
                next(indices)
        for place, index in enumerate(indices, start):
            numbered = _Numbered(index)
            numbered.place = (self.epoch, place)
            yield numbered

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """What seeds and, in most samplers, the order depend on."""
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def start_at(self, place: int) -> None:
        """Leave out the first indices when it is iterated next; what comes keeps its places."""
        self._start = place

    def _skip(self, places: int) -> None:
        self.sampler.skip(places)
        self._start, self._skipped_inside = places, True

    def __getattr__(self, name: str) -> Any:
        if name == 'sampler':  # not there yet: being unpickled
            raise AttributeError(name)
        value = getattr(self.sampler, name)
        return self._skip if name == 'skip' else value
