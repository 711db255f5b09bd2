"""Where a run starts: from which weights, and from which checkpoint it goes on."""
import inspect
import os
from typing import Any, Mapping, Optional

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import Runner

from ..config.meta_run import model_class
from ..config.tree import dotted, find_root, get, nodes
from ..errors import InputError
from ..hooks import StartingWeightsHook
from ..hooks.checkpoint import newest_checkpoint
from ..weights import CheckpointError, check_own_loaders, load_part, look_at_checkpoint, read_checkpoint, split_source
from ..weights.parts import inner_model

__all__ = [
    'check_fit', 'check_initial_weights', 'check_named_weights', 'check_resumable', 'choose_start', 'load_whole',
    'set_backbone_weights', 'set_partial', 'warn_of_random_backbone'
]

PARTIAL = ('To start from what fits, and leave the rest as initialised (other classes, another head), pass '
           '--partial-weights')
# what a training checkpoint of MMEngine has beside its weights
TRAINING_PARTS = ('meta', 'message_hub', 'optimizer')


def _check_named(what: str, source: Any) -> None:
    """Refuse what cannot be a checkpoint; addresses are only asked when they are read.

    Args:
        what: where it is named, for the message.
        source: file or address, with ``::PREFIX`` behind it or without.

    Raises:
        CheckpointError: it is empty, no text, a folder, or there is no such file.
    """
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source).strip():
        raise CheckpointError(f'{what}={source!r} names no checkpoint: expected a file or an address. If it comes from '
                              'a variable of the shell, that is not set')
    file = split_source(source)[0]
    if '://' in file or os.path.isfile(file):
        return
    if os.path.isdir(file):
        raise CheckpointError(f'{what}: {file} is a folder, expected a checkpoint file in it')
    is_there = os.path.exists(file)
    raise CheckpointError(f'{what}: {file}: {"no regular" if is_there else "no such"} file (looked from {os.getcwd()})')


def _is_pretrained(node: Any) -> bool:
    """Whether a value in a config is an ``init_cfg`` that loads weights, whichever way its type is written, or not."""
    if not isinstance(node, dict):
        return False
    kind = node.get('type')
    if kind is None:  # MMDetection's Pyramid Vision Transformers leave it out
        return 'checkpoint' in node
    return kind is PretrainedInit or isinstance(kind,
                                                str) and kind.rpartition('.')[2] in ('Pretrained', 'PretrainedInit')


def check_named_weights(cfg: Config) -> None:
    """Look at every place of a config that names a checkpoint, before anything is built.

    Args:
        cfg: types that are written as MMEngine's class become ``'Pretrained'``, which loads strictly.

    Raises:
        CheckpointError: one names no checkpoint, or a file that is not there.
    """
    if cfg.get('load_from') is not None:
        _check_named('load_from', cfg.load_from)
    model = cfg._cfg_dict.get('model') or {}
    for path, node in list(nodes(model)):
        what, key, owner = dotted(('model', *path)), path[-1] if path else None, get(model, path[:-1])
        if _is_pretrained(node):
            node['type'] = 'Pretrained'
            holder = next((each for each in (get(model, path[:-depth])
                                             for depth in (1, 2)) if isinstance(each, dict) and 'type' in each), {})
            ours = str(holder.get('type')).startswith('mmbackbones.')
            # ours know names of published weights, too
            if not ours or not str(node.get('checkpoint')).isidentifier() or node.get('checkpoint') is None:
                _check_named(f'{what}.checkpoint', node.get('checkpoint'))
        elif key == 'teacher_ckpt' and node is not None:
            _check_named(what, node)
        elif key == 'pretrained' and node is not None and 'type' in owner and not _takes_flag(cfg, owner):
            ours = str(owner['type']).startswith('mmbackbones.')
            if not isinstance(node, str) or not node:
                write = ('write pretrained=NAME, of weights that `mmbackbones info` lists, or pretrained=FILE'
                         if ours else "write, in its place, init_cfg=dict(type='Pretrained', checkpoint=FILE)")
                raise CheckpointError(f'{what}={node!r} names no weights: {write}')
            if not ours:
                _check_named(what, node)


def _takes_flag(cfg: Config, part: dict) -> bool:
    """Whether ``pretrained`` of a part is a switch, as in MMPretrain's wrapper of timm."""
    try:
        default = inspect.signature(model_class(cfg, part).__init__).parameters['pretrained'].default
    except (AttributeError, KeyError):  # the check of the model says what is wrong with its type
        return False
    return isinstance(default, bool)


def set_partial(cfg: Config) -> None:
    """Apply ``--partial-weights`` to every ``init_cfg`` that loads weights."""
    for _, node in nodes(cfg._cfg_dict.get('model') or {}):
        if _is_pretrained(node):
            node['partial'] = True


def set_backbone_weights(cfg: Config, weights: str) -> None:
    """Apply ``--backbone-weights``.

    Args:
        cfg: changed in place. With a file, its dict ``pretrained_backbone`` (the fine-tuning recipe, such as
            ``dict(frozen_stages=1, norm_eval=True)``) is merged into the backbone. In a teacher with a student, the one
            config is that of both.
        weights: a checkpoint file or address, ``FILE::PREFIX`` for weights inside a file, or ``'none'`` to train from
            random weights with nothing frozen.

    Raises:
        InputError: the model has no backbone, or something else in the config loads weights over these.
        CheckpointError: there is no such file.
    """
    root = find_root(cfg)
    if root is None:
        raise InputError(f'--backbone-weights: the model of {cfg.filename} has no backbone, or several.')
    later = [(*root[:depth], 'init_cfg') for depth in range(1, len(root) + 1)]
    later = [dotted(path) for path in later if _is_pretrained(get(cfg._cfg_dict, path))]
    later += ['load_from'] if cfg.get('load_from') and not cfg.get('resume') else []
    if later:
        raise InputError(f'--backbone-weights: {later[0]} of the config loads weights of the whole model over these. '
                         f'Leave the option out, or set --cfg-options {later[0]}=None.')
    backbone = get(cfg._cfg_dict, root)['backbone']
    if weights == 'none':
        backbone.pop('pretrained', None)
        backbone.init_cfg = None
        for key, value in (('frozen_stages', -1), ('norm_eval', False)):
            if key in backbone:
                backbone[key] = value
        return
    _check_named('--backbone-weights', weights)
    backbone.pop('pretrained', None)
    file, prefix = split_source(weights)
    backbone.init_cfg = dict(type='Pretrained', checkpoint=file, **(dict(prefix=prefix) if prefix else {}))
    backbone.update(cfg.get('pretrained_backbone', {}))


def check_resumable(checkpoint: Mapping, path: str) -> None:
    """Refuse to go on from what is no training checkpoint.

    Args:
        checkpoint: what the file holds.
        path: the file, for the message.

    Raises:
        CheckpointError: parts are missing, or are not what MMEngine saves.
    """
    missing = [part for part in TRAINING_PARTS if part not in checkpoint]
    if missing:
        raise CheckpointError(
            f'checkpoint {path} has no {", no ".join(missing)}: it holds weights alone, and no run can go on from it. '
            f'To start a new run from these weights: --cfg-options load_from={path}, without --resume')

    def is_optimizer(state: Any) -> bool:
        return isinstance(state, Mapping) and isinstance(state.get('state'), Mapping) and isinstance(
            state.get('param_groups'), (list, tuple))

    meta, hub, optimizer = (checkpoint[part] for part in TRAINING_PARTS)
    schedulers = checkpoint.get('param_schedulers', [])
    each = list(schedulers.values()) if isinstance(schedulers, Mapping) else [schedulers]
    wrong = {
        'state_dict': not isinstance(checkpoint.get('state_dict'), Mapping),
        'meta': not isinstance(meta, Mapping) or any(type(meta.get(key)) is not int or meta[key] < 0
                                                     for key in ('epoch', 'iter')),
        'message_hub': not isinstance(hub, Mapping) or any(not isinstance(hub.get(key), Mapping)
                                                           for key in ('log_scalars', 'runtime_info', 'resumed_keys')),
        # several optimizers are saved by their names
        'optimizer': not is_optimizer(optimizer) and not (isinstance(optimizer, Mapping) and optimizer
                                                          and all(map(is_optimizer, optimizer.values()))),
        'param_schedulers': not all(isinstance(many, (list, tuple)) and all(isinstance(one, Mapping) for one in many)
                                    for many in each),
    }  # yapf: disable
    broken = [part for part, is_wrong in wrong.items() if is_wrong]
    if broken:
        raise CheckpointError(
            f'checkpoint {path} is no training checkpoint of MMEngine, or broken: its '
            f'{", ".join(broken)} {"is" if len(broken) == 1 else "are"} not what training saves. Take '
            f'an earlier checkpoint, or start from its weights: --cfg-options load_from={path}')


def load_whole(cfg: Config, source: str, **options: Any) -> None:
    """Let the runner load the weights of the whole model, strictly.

    Args:
        cfg: its ``load_from`` and a hook are set.
        source: file or address, or ``FILE::PREFIX`` for weights inside a file.
        options: ``partial``, ``resize`` and ``remedy`` of :class:`StartingWeightsHook`.

    Raises:
        CheckpointError: there is no such file.
    """
    _check_named('checkpoint', source)
    cfg.load_from, prefix = split_source(source)
    hook = dict(type='mmbackbones.StartingWeightsHook', source=cfg.load_from, prefix=prefix, **options)
    # that of an earlier run stands in the config that it has left in its work directory
    others = [
        each for each in cfg.get('custom_hooks') or [] if not isinstance(each, dict) or each.get('type') != hook['type']
    ]
    cfg.custom_hooks = [*others, hook]


def choose_start(cfg: Config, resume: Optional[str], partial: bool = False) -> None:
    """Decide where training starts: the first process for all, so that no two start from different checkpoints.

    Args:
        cfg: its ``load_from``, ``resume`` and hooks are set.
        resume: a file, ``'auto'`` or None.
        partial: ``load_from`` may load what fits.

    Raises:
        CheckpointError: the checkpoint is not there, or no run can go on from it.
        InputError: a run cannot go on from a part of its weights.
    """
    if resume is None and int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)):
        resume = 'auto'
        if get_rank() == 0:
            print_log(f'Processes died and were replaced, for the {os.environ["TORCHELASTIC_RESTART_COUNT"]}. time of '
                      f'{os.environ.get("TORCHELASTIC_MAX_RESTARTS")} allowed')
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    if resume is not None and partial:
        raise InputError('--partial-weights: a run that is resumed goes on with all of its weights. Leave the option '
                         'out, or start a new run from the checkpoint with --cfg-options load_from=FILE.')
    choice = [None]
    if get_rank() == 0:
        template = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('filename_tmpl')
        if resume == 'auto':
            choice[0], broken = newest_checkpoint(cfg.work_dir, template, look_at_checkpoint)
            for line in broken:
                print_log(f'Warning: {line}. Trying the one before it.')
            print_log(f'Resuming from {choice[0]}' if choice[0] else f'No checkpoint in {cfg.work_dir} to resume from: '
                      'starting from zero')
        else:
            choice[0] = resume
            if resume is not None:
                _check_named('--resume', resume)
            elif newest_checkpoint(cfg.work_dir, template)[0]:
                print_log(f'Warning: {cfg.work_dir} holds checkpoints of an earlier run, which this one will replace. '
                          f'Pass --resume to go on with it, or --work-dir to keep it.')
        if choice[0]:
            check_resumable(look_at_checkpoint(choice[0]), choice[0])
        elif cfg.get('load_from'):
            _check_named('load_from', cfg.load_from)
            look_at_checkpoint(split_source(cfg.load_from)[0])  # before the runner writes its log
    broadcast_object_list(choice)
    if choice[0]:
        load_whole(cfg, choice[0])
        cfg.resume = True
        return
    if resume:
        cfg.resume = False
    if cfg.get('load_from'):
        load_whole(cfg, cfg.load_from, partial=partial, resize=True, remedy='' if partial else PARTIAL)


def warn_of_random_backbone(cfg: Config) -> None:
    root = find_root(cfg)
    backbone = get(cfg._cfg_dict, root).backbone if root else None
    inside = [get(cfg._cfg_dict, root[:depth]) for depth in range(1, len(root or ()) + 1)]
    if get_rank() == 0 and cfg.get('default_scope') == 'mmdet' and not cfg.get('load_from') and backbone \
            and not backbone.get('init_cfg') and not backbone.get('pretrained') \
            and not any(_is_pretrained(part.get('init_cfg')) for part in inside):
        print_log('Warning: the backbone starts from random weights. Published figures need pretrained ones: '
                  '--backbone-weights FILE; --backbone-weights none says that random ones are meant.')


def check_fit(runner: Runner, path: str) -> None:
    """Look whether the weights that :func:`load_whole` has chosen fit, before anything long begins.

    Args:
        runner: its model takes the weights.
        path: the checkpoint.

    Raises:
        CheckpointError: if the file is broken, holds code, or does not fit the model.
    """
    hook = next(hook for hook in runner.hooks if isinstance(hook, StartingWeightsHook))
    hook.find(runner, look_at_checkpoint(path))


def check_initial_weights(runner: Runner, partial: bool = False) -> None:
    """Look at the weights of modules that load them in ways of their own and would not say what they did not find.

    Args:
        runner: its model is not initialised yet.
        partial: they may load what fits.

    Raises:
        CheckpointError: it counts what was found.
    """
    model = inner_model(runner.model)
    check_own_loaders(model, partial)
    teacher, source = getattr(model, 'teacher_model', None), runner.cfg.model.get('teacher_ckpt')
    if teacher is not None and source:
        report = load_part(
            teacher, read_checkpoint(source), f'model.teacher_ckpt: checkpoint {source}', partly=partial, extras=True)
        print_log(f'Teacher from {source}: {report.summary("not used")}', logger='current')
