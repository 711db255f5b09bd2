"""What ``tools/train.py`` and ``tools/test.py`` do around MMEngine's Runner.

In this order: read the config, apply the options, check everything that can be checked, start the processes' group,
build the runner, run. Whatever is wrong is said before a model is built.
"""
import json
from pathlib import Path
from typing import List, Optional, Union

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import LoggerHook

from ..boundary import Situation
from ..config.check import check_config
from ..errors import InputError
from ..machine import describe_run
from ..weights import look_at_checkpoint
from .lock import lock_work_dir
from .options import build_parser, read_command, set_training
from .preflight import prepare
from .processes import global_rank
from .resumable import make_resumable
from .runner import FlexibleRunner, Runner
from .start import check_fit, check_initial_weights, choose_start, load_whole, warn_of_random_backbone
from .strategy import use_strategy
from .tta import use_tta

__all__ = ['run_test', 'run_training']


def refuse(config: str, problems: List[str]) -> None:
    if problems:
        raise InputError('\n'.join(f'{config}: {problem}' for problem in problems))


def leave_group() -> None:
    """Leave the processes' group; only where all went well: after an error others may wait in a collective."""
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def build_runner(cfg: Config) -> Union[Runner, FlexibleRunner]:
    """The runner of a config, with what it runs on written into its log folder."""
    if cfg.get('runner_type') == 'FlexibleRunner':
        use_strategy(cfg)
        runner = FlexibleRunner.from_cfg(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    if get_rank() == 0:
        (Path(runner.log_dir) / 'environment.json').write_text(json.dumps(describe_run(), indent=2) + '\n')
    return runner


def run_training(argv: Optional[List[str]], situation: Situation) -> None:
    """Train.

    Args:
        argv: command line without the program's name, or None for ``sys.argv``.
        situation: is told the work directory.
    """
    parser = build_parser(
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
        help="pretrained weights of the backbone (FILE::PREFIX: one of several sets in a file), or 'none' for random "
        'ones and nothing frozen')
    parser.add_argument(
        '--partial-weights',
        action='store_true',
        help='load what fits from checkpoints that do not fit as a whole, such as those of a detector of other classes '
        '(load_from), and say what stays as initialised')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the actual batch over all processes')
    args, cfg = read_command(parser, argv)
    situation.use(cfg.work_dir, resumable=True)
    set_training(cfg, args)
    if global_rank() == 0:
        refuse(args.config, check_config(cfg, ['train', 'val']))
    make_resumable(cfg)  # after the check, which speaks of the config as it was written
    prepare(cfg, ['train', 'val'], args.skip_data_check)
    with lock_work_dir(cfg.work_dir):
        choose_start(cfg, args.resume, args.partial_weights)
        if not args.backbone_weights:
            warn_of_random_backbone(cfg)
        runner = build_runner(cfg)
        runner.logger.info(args.randomness)
        if cfg.get('load_from'):
            check_fit(runner, cfg.load_from)
        if not cfg.get('resume'):
            check_initial_weights(runner, args.partial_weights)
        runner.train()
        leave_group()


def run_test(argv: Optional[List[str]], situation: Situation) -> None:
    """Evaluate a checkpoint.

    Args:
        argv: command line without the program's name, or None for ``sys.argv``.
        situation: is told the work directory.
    """
    parser = build_parser(
        'Evaluate a checkpoint on the test data of a config.',
        'python tools/test.py configs/detection/faster_rcnn_odconv_r50.py '
        'work_dirs/faster_rcnn_odconv_r50/epoch_12.pth')
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="merge the results of several views of each image: by the config's tta_model and tta_pipeline, or of the "
        'image and its mirror image')
    args, cfg = read_command(parser, argv)
    situation.use(cfg.work_dir, resumable=False)
    if not cfg.get('test_dataloader'):
        raise InputError(f'{args.config} has no test_dataloader: nothing to evaluate.')
    if args.tta:
        use_tta(cfg)
    if args.amp:
        cfg.test_cfg.fp16 = True
    load_whole(cfg, args.checkpoint)
    cfg.resume = False
    if global_rank() == 0:
        look_at_checkpoint(cfg.load_from)  # before the runner writes: a file that cannot be read leaves no folder
        refuse(args.config, check_config(cfg, ['test']))
    prepare(cfg, ['test'], args.skip_data_check)
    runner = build_runner(cfg)
    runner.logger.info(args.randomness)
    check_fit(runner, cfg.load_from)
    batches = len(runner.test_dataloader)
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook):  # ten lines of progress for a small data set too
            hook.interval = max(1, min(hook.interval, batches // 10))
    runner.test()
    leave_group()
