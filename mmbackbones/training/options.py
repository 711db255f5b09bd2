"""The options of training and evaluation, and the config with them applied."""
import argparse
import os
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import torch
from mmengine.config import Config, DictAction

from ..errors import InputError
from ..plan import nodes
from ..weights import use_safe_loading, use_strict_initializers
from .resumable import make_resumable
from .start import check_named_weights, set_backbone_weights, set_partial

__all__ = ['build_parser', 'guard_images', 'move_data_root', 'read_command', 'set_training']

DATA_VARIABLE = 'MMBACKBONES_DATA'
IMAGE_LOADERS = ('LoadImageFromFile', 'mmcv.LoadImageFromFile', 'mmdet.LoadImageFromFile',
                 'mmpretrain.LoadImageFromFile')


def build_parser(description: str, example: str) -> argparse.ArgumentParser:
    """The options that training and evaluation share."""
    parser = argparse.ArgumentParser(
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
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (needs a GPU)')
    parser.add_argument('--seed', type=int, default=0, help='random seed (default: 0)')
    parser.add_argument(
        '--deterministic', action='store_true', help='use deterministic algorithms only; slower on a GPU')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, for example train_dataloader.batch_size=4')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='who starts the processes')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by the launcher')
    return parser


def _replace_strings(node: Any, replace: Callable[[str], str]) -> Any:
    """Apply a function to every string below a config; containers keep their types."""
    if isinstance(node, str):
        return replace(node)
    if isinstance(node, dict):
        for key, child in node.items():
            node[key] = _replace_strings(child, replace)
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(_replace_strings(child, replace) for child in node)
    return node


def move_data_root(cfg: Config, data_root: str) -> None:
    """Put another folder in place of the config's ``data_root``, wherever it is written out.

    Args:
        cfg: changed in place. Where it has no ``data_root`` of its own, that of its data sets is taken.
        data_root: the new folder.

    Raises:
        InputError: if the config names no data root, or several.
    """
    old = [cfg.data_root] if cfg.get('data_root') else []
    if not old:
        old = sorted({node.rstrip('/') for path, node in nodes(cfg._cfg_dict) if path[-1:] == ('data_root', ) and node})
    if len(old) != 1:
        raise InputError(f'--data-root: {cfg.filename} has {"no data_root" if not old else f"several: {old}"}. '
                         f'Set the paths with --cfg-options, for example train_dataloader.dataset.data_root=FOLDER.')
    old, new = old[0].rstrip('/'), os.path.expanduser(data_root).rstrip('/') or '/'

    def replace(text: str) -> str:
        if text == old or text.startswith(f'{old}/'):
            return os.path.join(new, text[len(old):].lstrip('/')) if text != old else new
        return text

    _replace_strings(cfg._cfg_dict, replace)


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


def read_command(parser: argparse.ArgumentParser, argv: Optional[List[str]]) -> Tuple[argparse.Namespace, Config]:
    """The options, and the config with those of them applied that training and evaluation share."""
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_loading()
    use_strict_initializers()
    if not os.path.isfile(args.config):
        raise InputError(f'{args.config}: no such config file (looked from {os.getcwd()})')
    cfg = Config.fromfile(args.config)
    if args.data_root:
        move_data_root(cfg, args.data_root)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(args.config).stem)
    if not 0 <= args.seed < 2**32:
        raise InputError(f'--seed {args.seed}: expected 0 to {2**32 - 1}')
    cfg.randomness = dict(seed=args.seed, deterministic=args.deterministic)
    guard_images(cfg, args.bad_images)
    if args.amp and not torch.cuda.is_available():
        raise InputError('--amp: mixed precision needs a GPU, and torch sees none. Leave the option out.')
    return args, cfg


def set_training(cfg: Config, args: argparse.Namespace) -> None:
    if not cfg.get('train_dataloader'):
        raise InputError(f'{args.config} has no train_dataloader: nothing to train.')
    if args.backbone_weights is not None:
        set_backbone_weights(cfg, args.backbone_weights)
    check_named_weights(cfg)
    if args.partial_weights:
        set_partial(cfg)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(f'--auto-scale-lr: {args.config} does not say which batch its learning rate is for; add '
                             f'auto_scale_lr=dict(base_batch_size=16), with the right number.')
        cfg.auto_scale_lr.enable = True
    if cfg.get('default_scope') == 'mmpretrain':
        # as MMPretrain's own tool does: stack in the workers, not in the main process
        cfg.train_dataloader.setdefault('collate_fn', dict(type='default_collate'))
    make_resumable(cfg)
