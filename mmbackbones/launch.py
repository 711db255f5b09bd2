"""What ``tools/train.py`` and ``tools/test.py`` do around MMEngine's Runner.

In this order: read the config, apply the options, check everything that can be checked, start the processes' group,
build the runner, run. Whatever is wrong is said before a model is built.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import torch
import torch.distributed as torch_dist
from mmengine.config import Config, DictAction
from mmengine.dist import broadcast_object_list, get_rank, init_dist
from mmengine.hooks import LoggerHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from .check import check_config
from .checks import InputError, check_data, check_processes, check_work_dir
from .compat import installed_stack
from .hooks.checkpoint import newest_checkpoint
from .models import BaseBackbone
from .transforms import BadImageError
from .version import __version__
from .weights import CheckpointError, extract_state_dict, load_strictly, read_checkpoint, use_safe_loading

__all__ = ['guard_images', 'move_data_root', 'set_backbone_weights', 'test', 'train']

DATA_VARIABLE = 'MMBACKBONES_DATA'
IMAGE_LOADERS = ('LoadImageFromFile', 'mmcv.LoadImageFromFile', 'mmdet.LoadImageFromFile',
                 'mmpretrain.LoadImageFromFile')


def _parser(description: str, example: str) -> argparse.ArgumentParser:
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


def _report_user_errors(run: Callable[[Optional[List[str]]], None]) -> Callable:
    """Say what the user can mend in one line, without a stack of calls."""

    def wrapped(argv: Optional[List[str]] = None) -> None:
        try:
            run(argv)
        except (InputError, CheckpointError) as error:
            sys.exit(f'error: {error}')
        except BadImageError as error:
            # raised in a data loading worker, it comes with the worker's stack
            sys.exit(f'error: {str(error).strip().splitlines()[-1].split("BadImageError: ")[-1]}')
        # on success only: after an error others may still wait in a collective, and leaving it could block
        if torch_dist.is_initialized():
            torch_dist.destroy_process_group()

    wrapped.__doc__ = run.__doc__
    return wrapped


def _nodes(node: Any, path: Tuple = ()) -> Iterator[Tuple[Tuple, Any]]:
    """Every value below a config, with the keys that lead to it; a container comes before what it holds."""
    yield path, node
    if isinstance(node, dict):
        for key, child in list(node.items()):
            yield from _nodes(child, (*path, key))
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _nodes(child, (*path, index))


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
        old = sorted(
            {node.rstrip('/')
             for path, node in _nodes(cfg._cfg_dict) if path[-1:] == ('data_root', ) and node})
    if len(old) != 1:
        raise InputError(f'--data-root: {cfg.filename} has {"no data_root" if not old else f"several: {old}"}. '
                         f'Set the paths with --cfg-options, for example train_dataloader.dataset.data_root=FOLDER.')
    old, new = old[0].rstrip('/'), os.path.expanduser(data_root).rstrip('/') or '/'

    def replace(text: str) -> str:
        if text == old or text.startswith(f'{old}/'):
            return os.path.join(new, text[len(old):].lstrip('/')) if text != old else new
        return text

    _replace_strings(cfg._cfg_dict, replace)


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


def guard_images(cfg: Config, bad_images: str) -> None:
    """Put ``mmbackbones.LoadImageFromFile`` in place of MMCV's in every pipeline of the config.

    Args:
        cfg: changed in place.
        bad_images: ``'error'`` or ``'skip'``; skipping means another image in training, and a blank one in evaluation,
            where leaving an image out would flatter the result.
    """
    for path, node in _nodes(cfg._cfg_dict):
        if isinstance(node, dict) and node.get('type') in IMAGE_LOADERS:
            evaluation = str(path[0]).startswith(('val', 'test', 'tta'))
            node['type'] = 'mmbackbones.LoadImageFromFile'
            node['on_error'] = bad_images if bad_images == 'error' or not evaluation else 'blank'


def _read_command(parser: argparse.ArgumentParser, argv: Optional[List[str]]) -> Tuple[argparse.Namespace, Config]:
    """The options, and the config with those of them applied that training and evaluation share."""
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_loading()
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


def _set_training(cfg: Config, args: argparse.Namespace) -> None:
    if not cfg.get('train_dataloader'):
        raise InputError(f'{args.config} has no train_dataloader: nothing to train.')
    if args.backbone_weights:
        set_backbone_weights(cfg, args.backbone_weights)
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
    # a resumed epoch augments as the interrupted one did, see RandomSeedHook
    cfg.train_dataloader.worker_init_fn = dict(type='mmbackbones.hooks.random_seed.seed_worker')
    cfg.train_dataloader.persistent_workers = False
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmbackbones.RandomSeedHook')]
    if cfg.launcher != 'none':
        # each process has batch statistics of its own; the checkpoint holds what was validated
        cfg.custom_hooks.append(dict(type='SyncBuffersHook'))
    hooks = cfg.setdefault('default_hooks', {})
    checkpoint = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint and checkpoint['type'] in ('CheckpointHook', 'mmengine.CheckpointHook'):
        checkpoint['type'] = 'mmbackbones.CheckpointHook'


def _global_rank() -> int:
    """Number of this process among all, before the group exists."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0)))


def _local_size() -> int:
    """Number of processes on this machine, as the launcher tells it."""
    local_rank = int(os.environ.get('SLURM_LOCALID', os.environ.get('LOCAL_RANK', 0)))
    return int(os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('SLURM_NTASKS_PER_NODE') or local_rank + 1)


def _start_group(cfg: Config) -> None:
    """Join the processes into one group: NCCL with GPUs, Gloo without."""
    if cfg.launcher == 'none':
        return
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', dict(backend='nccl')))
        return
    # MMEngine would call torch.cuda.set_device and hand device_ids to DDP
    if cfg.launcher == 'slurm':
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                               check=True,
                               capture_output=True,
                               text=True)
        os.environ.setdefault('MASTER_ADDR', hosts.stdout.split()[0])
        os.environ.setdefault('MASTER_PORT', '29500')
        os.environ.update(
            RANK=os.environ['SLURM_PROCID'],
            LOCAL_RANK=os.environ['SLURM_LOCALID'],
            WORLD_SIZE=os.environ['SLURM_NTASKS'])
    torch_dist.init_process_group('gloo')
    # torchrun sets OMP_NUM_THREADS=1, which leaves cores idle where there are fewer processes than cores
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // _local_size()))
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))


def _prepare(cfg: Config, loaders: List[str]) -> None:
    """Check what can be checked, then start the group. The first process reads the data for all."""
    if cfg.launcher != 'none':
        if dict(pytorch='RANK', slurm='SLURM_PROCID')[cfg.launcher] not in os.environ:
            raise InputError(f'--launcher {cfg.launcher} is for processes that it started. Start them with '
                             f'tools/dist_train.sh, tools/dist_test.sh or tools/slurm_train.sh, which set this option.')
        check_processes(_local_size(), torch.cuda.device_count())
    if _global_rank() == 0:
        check_work_dir(cfg.work_dir)
        for warning in check_data(cfg, loaders):
            print_log(f'Warning: {warning}')
    _start_group(cfg)


def _choose_start(cfg: Config, resume: Optional[str]) -> None:
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


def _warn_of_random_backbone(cfg: Config) -> None:
    backbone = cfg.model.get('backbone')
    if get_rank() == 0 and cfg.get('default_scope') == 'mmdet' and not cfg.get('load_from') and backbone \
            and not backbone.get('init_cfg') and not backbone.get('pretrained'):
        print_log('Warning: the backbone starts from random weights. Published figures need pretrained ones: '
                  '--backbone-weights FILE; --backbone-weights none says that random ones are meant.')


def _environment() -> dict:
    """What is needed to run the same thing again: versions, commit, command line."""
    versions = {
        name: ' '.join(f'{dist} {version}' for dist, version in found)
        for name, found in installed_stack().items()
    }
    for name in ('torchvision', 'numpy', 'pycocotools', 'timm'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    checkout = Path(__file__).resolve().parents[1]
    git = subprocess.run(
        ['git', '-C', str(checkout), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
        capture_output=True,
        text=True) if (checkout / '.git').exists() else None
    return dict(
        mmbackbones=__version__,
        commit=git.stdout.strip() or None if git else None,
        command=[sys.executable, *sys.argv],
        python=platform.python_version(),
        platform=platform.platform(),
        devices=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        versions=versions)


def _build_runner(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    if get_rank() == 0:
        (Path(runner.log_dir) / 'environment.json').write_text(json.dumps(_environment(), indent=2) + '\n')
    return runner


def _check_fit(runner: Runner, path: str, partly: bool = False) -> None:
    """Load the weights of a checkpoint strictly, which the runner itself does not.

    Args:
        runner: its model takes the weights.
        path: the checkpoint.
        partly: only refuse what matches nothing, as in fine-tuning for other classes.

    Raises:
        CheckpointError: if the file is broken, holds code, or does not fit the model.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    weights = extract_state_dict(read_checkpoint(path), prefix='')
    if not partly or not weights.keys() & model.state_dict().keys():
        load_strictly(model, weights, source=f'checkpoint {path}')


def _check_backbone(runner: Runner, path: str) -> None:
    """Refuse weights in which a backbone of another package does not find all of its own; it would not say so itself.

    Raises:
        CheckpointError: it names the keys that are missing.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if isinstance(model.backbone, BaseBackbone):  # strict already
        return
    # what such a file has beyond the backbone, a classifier, is left out
    load_strictly(model.backbone, extract_state_dict(read_checkpoint(path)), f'checkpoint {path}', omitted=('', ))


@_report_user_errors
def train(argv: Optional[List[str]] = None) -> None:
    """Train: the command ``tools/train.py``.

    Args:
        argv: command line without the program's name. Defaults to None: ``sys.argv``.
    """
    parser = _parser(
        'Train a detector or classifier.',
        'python tools/train.py configs/detection/faster_rcnn_odconv_r50.py --data-root data/coco --backbone-weights '
        'odconv_r50.pth')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='FILE',
        help='go on from a checkpoint; without a file, from the newest intact one in the work directory')
    parser.add_argument(
        '--backbone-weights',
        metavar='FILE',
        help="pretrained weights of the backbone, or 'none' for random ones and nothing frozen")
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the actual batch over all processes')
    args, cfg = _read_command(parser, argv)
    _set_training(cfg, args)
    if _global_rank() == 0:
        problems = check_config(cfg)
        if problems:
            raise InputError('\n'.join(f'{args.config}: {problem}' for problem in problems))
    _prepare(cfg, ['train', 'val'])
    _choose_start(cfg, args.resume)
    if not args.backbone_weights:
        _warn_of_random_backbone(cfg)
    runner = _build_runner(cfg)
    if cfg.get('load_from'):
        _check_fit(runner, cfg.load_from, partly=not cfg.get('resume'))
    elif args.backbone_weights not in (None, 'none'):
        _check_backbone(runner, args.backbone_weights)
    runner.train()


@_report_user_errors
def test(argv: Optional[List[str]] = None) -> None:
    """Evaluate: the command ``tools/test.py``.

    Args:
        argv: command line without the program's name. Defaults to None: ``sys.argv``.
    """
    parser = _parser(
        'Evaluate a checkpoint on the test data of a config.',
        'python tools/test.py configs/detection/faster_rcnn_odconv_r50.py '
        'work_dirs/faster_rcnn_odconv_r50/epoch_12.pth')
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    args, cfg = _read_command(parser, argv)
    if not cfg.get('test_dataloader'):
        raise InputError(f'{args.config} has no test_dataloader: nothing to evaluate.')
    if args.amp:
        cfg.test_cfg.fp16 = True
    cfg.load_from, cfg.resume = args.checkpoint, False
    _prepare(cfg, ['test'])
    runner = _build_runner(cfg)
    _check_fit(runner, args.checkpoint)
    batches = len(runner.test_dataloader)
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook):  # ten lines of progress for a small data set too
            hook.interval = max(1, min(hook.interval, batches // 10))
    runner.test()
