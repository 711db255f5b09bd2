"""The options of training and evaluation, and the config with them applied."""
import argparse
import inspect
import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..boundary import Parser
from ..config.files import load_config
from ..config.parts import check_kinds, scope_of
from ..config.scopes import register
from ..config.tree import nodes
from ..errors import InputError
from ..messages import did_you_mean
from ..weights import use_safe_loading, use_strict_initializers
from .cfg_options import ConfigOptions, apply_options
from .processes import global_rank
from .start import check_named_weights, set_backbone_weights, set_partial

__all__ = ['build_parser', 'guard_images', 'move_data_root', 'read_command', 'set_randomness', 'set_training']

DATA_VARIABLE = 'MMBACKBONES_DATA'
MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
IMAGE_LOADERS = ('LoadImageFromFile', 'mmcv.LoadImageFromFile', 'mmdet.LoadImageFromFile',
                 'mmpretrain.LoadImageFromFile')


def build_parser(description: str, example: str) -> argparse.ArgumentParser:
    """The options that training and evaluation share."""
    parser = Parser(
        description=description, epilog=f'Example: {example}', formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config name>)')
    parser.add_argument(
        '--data-root',
        default=os.environ.get(DATA_VARIABLE),
        help=f'folder with the data, in place of the data_root of the config; {DATA_VARIABLE} in the environment does '
        'the same')
    parser.add_argument(
        '--bad-images',
        choices=('error', 'skip'),
        default='error',
        help='what to do about a missing, cut off or undecodable image: stop (default), or log it and go on; in '
        'evaluation its objects then count as missed')
    parser.add_argument(
        '--skip-data-check',
        action='store_true',
        help='do not read annotations and images before the run; what is wrong with them may then go unnoticed')
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision (needs a GPU), in float16 or as --amp-dtype says')
    parser.add_argument(
        '--amp-dtype',
        choices=('float16', 'bfloat16'),
        help='what mixed precision computes in; bfloat16 needs no loss scaling. Implies --amp')
    parser.add_argument('--seed', type=int, help="random seed (default: the config's randomness.seed, or 0)")
    parser.add_argument(
        '--deterministic',
        action='store_true',
        default=None,
        help="use deterministic algorithms only; slower on a GPU (default: the config's randomness.deterministic)")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override values of the config, for example train_dataloader.batch_size=4 param_scheduler.0.end=10 '
        '"train_pipeline=[dict(type=LoadImageFromFile), ...]"')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='who starts the processes')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by the launcher')
    return parser


def _normal(path: str) -> str:
    """A path in one spelling: no ``./``, no double or trailing slashes, the home folder written out."""
    return os.path.normpath(os.path.expanduser(path))


def _below(path: str, root: str) -> Optional[str]:
    """What follows the root in a path: '' for the root itself; None for a path elsewhere."""
    path = _normal(path)
    if path == root:
        return ''
    if root == os.curdir:
        return None  # any relative text would be below it
    return path[len(root.rstrip('/')) + 1:] if path.startswith(f'{root.rstrip("/")}/') else None


def _data_roots(cfg: Config) -> List[str]:
    """The folders that the config names as roots, without those inside of others."""
    if cfg.get('data_root'):
        return [_normal(cfg.data_root)]
    roots = {
        _normal(node)
        for path, node in nodes(cfg._cfg_dict) if path[-1:] == ('data_root', ) and isinstance(node, str) and node
    }
    return sorted(root for root in roots if not any(other != root and _below(root, other) for other in roots))


def _move(node: Any, old: str, new: str, key: Any = None) -> Any:
    """Put the new root before every path below the old one; containers keep their types, and names are left alone."""
    if isinstance(node, str):
        inner = _below(node, old) if node and key != 'type' else None
        if inner is None:
            return node
        moved = os.path.join(new, inner) if inner else new
        return f'{moved}/' if node.endswith('/') and not moved.endswith('/') else moved
    if isinstance(node, dict):
        for name, child in node.items():
            if name != 'metainfo':
                node[name] = _move(child, old, new, name)
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(_move(child, old, new, key) for child in node)
    return node


def move_data_root(cfg: Config, data_root: str) -> None:
    """Put another folder in place of the config's ``data_root``, wherever it is written out.

    Args:
        cfg: changed in place. Where it has no ``data_root`` of its own, that of its data sets is taken; of several in
            each other the outermost.
        data_root: the new folder.

    Raises:
        InputError: the config names no data root, or several beside each other.
    """
    old = _data_roots(cfg)
    if len(old) != 1:
        raise InputError(f'--data-root: {cfg.filename} has {"no data_root" if not old else f"several: {old}"}. '
                         f'Set the paths with --cfg-options, for example train_dataloader.dataset.data_root=FOLDER.')
    _move(cfg._cfg_dict, old[0], os.path.expanduser(data_root).rstrip('/') or '/')


def set_randomness(cfg: Config, in_file: dict, seed: Optional[int], deterministic: Optional[bool]) -> str:
    """Seed and determinism: an option before the config, the config before the defaults.

    Args:
        cfg: its ``randomness`` is completed, and may come from ``--cfg-options``.
        in_file: the ``randomness`` of the config's file.
        seed: ``--seed``, or None.
        deterministic: ``--deterministic``, or None.

    Returns:
        str: which values there are, and where each comes from.

    Raises:
        InputError: another value or key than MMEngine takes.
    """
    randomness = dict(cfg.get('randomness') or {})
    known = [name for name in inspect.signature(Runner.set_randomness).parameters if name != 'self']
    for key in randomness:
        if key not in known:
            raise InputError(f'randomness has no key {key!r}{did_you_mean(key, known)}; it has {", ".join(known)}')
    sources = {
        key: 'config' if value == in_file.get(key) else '--cfg-options'
        for key, value in randomness.items() if value is not None
    }
    for key, value, default in (('seed', seed, 0), ('deterministic', deterministic, False)):
        if value is not None:
            randomness[key], sources[key] = value, f'--{key}'
        elif key not in sources:
            randomness[key], sources[key] = default, 'default'
    value = randomness['seed']
    if type(value) is not int or not 0 <= value < 2**32:
        source = '--seed ' if sources['seed'] == '--seed' else 'randomness.seed='
        raise InputError(f'{source}{value!r}: expected a seed from 0 to {2**32 - 1}')
    for key in ('deterministic', 'diff_rank_seed'):
        if not isinstance(randomness.get(key, False), bool):
            raise InputError(f'randomness.{key}={randomness[key]!r}: expected True or False')
    cfg.randomness = randomness
    return 'Randomness: ' + ', '.join(f'{key} {randomness[key]} ({sources[key]})' for key in sources)


def guard_images(cfg: Config, bad_images: str) -> None:
    """Put ``mmbackbones.LoadImageFromFile`` in place of MMCV's in every pipeline of the config.

    Args:
        cfg: changed in place.
        bad_images: ``'error'`` or ``'skip'``; skipping means another image in training, and a blank one in evaluation,
            where leaving an image out would flatter the result.
    """
    for path, node in nodes(cfg._cfg_dict):
        if isinstance(node, dict) and node.get('type') in IMAGE_LOADERS:
            evaluation = str(path[0]).startswith(('val', 'test', 'tta'))
            node['type'] = 'mmbackbones.LoadImageFromFile'
            node['on_error'] = bad_images if bad_images == 'error' or not evaluation else 'blank'


def drop_hooks(cfg: Config) -> None:
    """Leave out default hooks that are None. MMEngine does so with its own, and fails on those that a config adds."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in MMENGINE_HOOKS]:
        del hooks[name]
        if global_rank() == 0:
            print_log(f'default_hooks.{name}=None: the hook is left out')


def set_precision(args: argparse.Namespace) -> None:
    """Apply ``--amp-dtype`` to whatever autocasts in this process: training, validation and evaluation.

    Args:
        args: its ``amp`` is set where a dtype is given.

    Raises:
        InputError: there is no GPU, or one that does not compute in bfloat16.
    """
    args.amp = args.amp or args.amp_dtype is not None
    if args.amp and not torch.cuda.is_available():
        raise InputError('--amp: mixed precision needs a GPU, and torch sees none. Leave the option out.')
    if args.amp_dtype == 'bfloat16' and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError('--amp-dtype bfloat16: this GPU does not compute in it. Take float16.')
    if args.amp_dtype:
        torch.set_autocast_dtype('cuda', getattr(torch, args.amp_dtype))


def read_command(parser: argparse.ArgumentParser, argv: Optional[List[str]]) -> Tuple[argparse.Namespace, Config]:
    """The options, and the config with those of them applied that training and evaluation share."""
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_loading()
    use_strict_initializers()
    cfg = load_config(args.config, lazy=True)
    in_file = dict(cfg.get('randomness') or {})
    if args.data_root:
        move_data_root(cfg, args.data_root)
    register(scope_of(cfg))
    for warning in apply_options(cfg, args.cfg_options or {}):
        if global_rank() == 0:
            print_log(f'Warning: {warning}')
    check_kinds(cfg)
    drop_hooks(cfg)
    register(scope_of(cfg))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs',
                                                                        Path(args.config.rpartition('::')[2]).stem)
    args.randomness = set_randomness(cfg, in_file, args.seed, args.deterministic)
    guard_images(cfg, args.bad_images)
    set_precision(args)
    return args, cfg


def set_training(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of training alone.

    Args:
        cfg: changed in place.
        args: the options.

    Raises:
        InputError: the config has nothing to train, or an option does not suit it.
    """
    if not cfg.get('train_dataloader'):
        raise InputError(f'{args.config} has no train_dataloader: nothing to train.')
    if args.backbone_weights is not None:
        set_backbone_weights(cfg, args.backbone_weights)
    check_named_weights(cfg)
    if args.partial_weights:
        set_partial(cfg)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if args.amp_dtype:
            cfg.optim_wrapper.dtype = args.amp_dtype
        # bfloat16 reaches as far as float32: there is nothing to scale
        cfg.optim_wrapper.setdefault('loss_scale', 1. if args.amp_dtype == 'bfloat16' else 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(f'--auto-scale-lr: {args.config} does not say which batch its learning rate is for; add '
                             f'auto_scale_lr=dict(base_batch_size=16), with the right number.')
        cfg.auto_scale_lr.enable = True
    if cfg.get('default_scope') == 'mmpretrain':
        # as MMPretrain's own tool does: stack in the workers, not in the main process
        cfg.train_dataloader.setdefault('collate_fn', dict(type='default_collate'))
    # workers that outlive an epoch remember what they have loaded: a resumed run would not know it
    cfg.train_dataloader.persistent_workers = False
