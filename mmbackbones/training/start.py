"""Where a run starts: from which weights, and from which checkpoint it goes on."""
import os
from typing import Optional

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..errors import InputError
from ..hooks.checkpoint import newest_checkpoint
from ..model_parts import inner_model
from ..models import BaseBackbone
from ..weights import CheckpointError, extract_state_dict, load_strictly, read_checkpoint

__all__ = ['check_backbone', 'check_fit', 'choose_start', 'set_backbone_weights', 'warn_of_random_backbone']


def set_backbone_weights(cfg: Config, weights: str) -> None:
    """Apply ``--backbone-weights``.

    Args:
        cfg: changed in place. With a file, its dict ``pretrained_backbone`` (the fine-tuning recipe, such as
            ``dict(frozen_stages=1, norm_eval=True)``) is merged into ``model.backbone``.
        weights: a checkpoint file or address, or ``'none'`` to train from random weights with nothing frozen.

    Raises:
        InputError: if the model has no backbone.
    """
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise InputError(f'--backbone-weights: the model of {cfg.filename} has no backbone.')
    backbone.pop('pretrained', None)
    if weights == 'none':
        backbone.init_cfg = None
        for key, value in (('frozen_stages', -1), ('norm_eval', False)):
            if key in backbone:
                backbone[key] = value
    else:
        if '://' not in weights and not os.path.isfile(weights):
            raise CheckpointError(f'--backbone-weights {weights}: no such file (looked from {os.getcwd()})')
        backbone.init_cfg = dict(type='Pretrained', checkpoint=weights)
        backbone.update(cfg.get('pretrained_backbone', {}))


def choose_start(cfg: Config, resume: Optional[str]) -> None:
    """Decide where training starts: the first process for all, so that no two start from different checkpoints.

    Args:
        cfg: its ``load_from`` and ``resume`` are set.
        resume: a file, ``'auto'`` or None.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    choice = [None]
    if get_rank() == 0:
        if resume == 'auto':
            choice[0], broken = newest_checkpoint(cfg.work_dir)
            for line in broken:
                print_log(f'Warning: {line}. Trying the one before it.')
            print_log(f'Resuming from {choice[0]}' if choice[0] else f'No checkpoint in {cfg.work_dir} to resume from: '
                      'starting from zero')
        else:
            choice[0] = resume
            if resume is None and newest_checkpoint(cfg.work_dir)[0]:
                print_log(f'Warning: {cfg.work_dir} holds checkpoints of an earlier run, which this one will replace. '
                          f'Pass --resume to go on with it, or --work-dir to keep it.')
    broadcast_object_list(choice)
    if choice[0]:
        cfg.load_from, cfg.resume = choice[0], True
    elif resume:
        cfg.resume = False


def warn_of_random_backbone(cfg: Config) -> None:
    backbone = cfg.model.get('backbone')
    if get_rank() == 0 and cfg.get('default_scope') == 'mmdet' and not cfg.get('load_from') and backbone \
            and not backbone.get('init_cfg') and not backbone.get('pretrained'):
        print_log('Warning: the backbone starts from random weights. Published figures need pretrained ones: '
                  '--backbone-weights FILE; --backbone-weights none says that random ones are meant.')


def check_fit(runner: Runner, path: str, partly: bool = False) -> None:
    """Load the weights of a checkpoint strictly, which the runner itself does not.

    Args:
        runner: its model takes the weights.
        path: the checkpoint.
        partly: only refuse what matches nothing, as in fine-tuning for other classes.

    Raises:
        CheckpointError: if the file is broken, holds code, or does not fit the model.
    """
    model = inner_model(runner.model)
    weights = extract_state_dict(read_checkpoint(path), prefix='')
    if not partly or not weights.keys() & model.state_dict().keys():
        load_strictly(model, weights, source=f'checkpoint {path}')


def check_backbone(runner: Runner, path: str) -> None:
    """Refuse weights in which a backbone of another package does not find all of its own; it would not say so itself.

    Raises:
        CheckpointError: it names the keys that are missing.
    """
    model = inner_model(runner.model)
    if isinstance(model.backbone, BaseBackbone):  # strict already
        return
    # what such a file has beyond the backbone, a classifier, is left out
    load_strictly(model.backbone, extract_state_dict(read_checkpoint(path)), f'checkpoint {path}', omitted=('', ))
