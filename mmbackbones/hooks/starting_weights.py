"""Weights of a whole model (``load_from``, ``--resume``, ``tools/test.py``), loaded strictly by MMEngine's runner."""
from collections import OrderedDict
from typing import Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..registry import HOOKS
from ..weights import Report, load_part
from ..weights.parts import inner_model

__all__ = ['StartingWeightsHook']


@HOOKS.register_module()
class StartingWeightsHook(Hook):
    """Put what fits the model, with the model's own names, into a checkpoint before the runner loads it.

    The runner itself loads whatever has a matching name, and logs the rest. Here weights are found and translated as a
    backbone's are, what does not fit is an error, and what was loaded is counted part by part.

    Args:
        source: the checkpoint, for messages.
        prefix: only look below it in the file. Defaults to None: wherever weights are that fit.
        partial: load what fits and leave the rest as initialised.
        resize: tables of another image or window size may be interpolated, as in fine-tuning.
        remedy: what to do about weights that do not fit, for the message.

    Raises:
        CheckpointError: when the runner loads, if the weights do not fit.
    """
    # hooks that copy the weights, such as EMA's, must find them translated
    priority = 'VERY_HIGH'

    def __init__(self,
                 source: str,
                 prefix: Optional[str] = None,
                 partial: bool = False,
                 resize: bool = False,
                 remedy: str = ''):
        self.source, self.prefix = source, prefix
        self.partial, self.resize, self.remedy = partial, resize, remedy

    def find(self, runner: Runner, checkpoint: dict) -> Report:
        """What of a checkpoint the model takes; nothing is loaded.

        Raises:
            CheckpointError: it does not fit.
        """
        source = f'checkpoint {self.source}'
        return load_part(
            inner_model(runner.model),
            checkpoint,
            source,
            self.prefix,
            self.partial,
            resize=self.resize,
            remedy=self.remedy,
            dry=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        report = self.find(runner, checkpoint)
        present = report.module.state_dict()
        # what stays as it is too: the runner finds the whole model, and has nothing to warn of
        weights = OrderedDict({**present, **report.taken})
        # the names are the present ones: modules need not translate older ones of theirs
        weights._metadata = present._metadata
        checkpoint['state_dict'] = weights
        if get_rank() == 0:
            print_log(f'Weights from {self.source}: {report.summary("not used")}', logger='current')
