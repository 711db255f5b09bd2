"""Randomness that is a function of the step, not of the history.

MMEngine seeds once at the start: after a resume the generators stand elsewhere than they did in the interrupted run.
"""
import random
from typing import Optional

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.sampler import seed_cpu
from ..registry import HOOKS

__all__ = ['RandomSeedHook', 'seed_worker']

# the two moments that seeds are drawn for; they keep the streams apart
EPOCH, ITERATION = 0, 1


def _seed_everything(*numbers: int) -> None:
    """Seed python, numpy and torch (all devices) with a mix of the numbers."""
    torch.manual_seed(seed_cpu(*numbers))


def seed_worker(worker_id: int) -> None:
    """The ``worker_init_fn`` of the training data loader: seed from the number that torch drew for this epoch.

    MMEngine's own gives a worker the same seed in every epoch, so that image n of each epoch is augmented alike.

    Args:
        worker_id: number of the worker, already part of ``torch.initial_seed()``.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


@HOOKS.register_module()
class RandomSeedHook(Hook):
    """Reseed at each epoch and iteration from (seed, step, rank): a resumed run goes on as if never interrupted.

    The seed is the runner's (``randomness=dict(seed=...)``, ``--seed``). This is for what the model draws; samples are
    seeded by :class:`~mmbackbones.datasets.sampler.NumberedSampler`. Without it, workers of the data loader follow in
    epoch-based loops if it has ``worker_init_fn=dict(type='mmbackbones.hooks.random_seed.seed_worker')`` and
    ``persistent_workers=False``: torch draws their seed at the start of each epoch.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        _seed_everything(runner.seed, get_rank(), EPOCH, runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        _seed_everything(runner.seed, get_rank(), ITERATION, runner.iter)
