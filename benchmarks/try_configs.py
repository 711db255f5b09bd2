"""Whether every detector of configs/ runs on real images: each takes one training step and is evaluated on a few.

All in one process, from random weights, with the config's own augmentation at a fraction of its image sizes. The loss
should be finite and the AP close to zero; whether networks learn is for fit_coco_mini.py to tell.
"""
import argparse
import contextlib
import io
import math
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbackbones.training.options import move_data_root
from mmbackbones.training.start import set_backbone_weights

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'detection'
# other data, and runs by tools/demo.py
EXCLUDED = ('mask_rcnn_odconv_r18_shapes', )
NUM_IMAGES = 4


class KeepMetrics(Hook):
    """Keeps what the evaluation found."""

    def __init__(self):
        self.metrics = {}

    def after_val_epoch(self, runner: Runner, metrics: dict = None) -> None:
        self.metrics = metrics


def scaled(value: Any, factor: float) -> Any:
    """A size in pixels, or sizes nested in tuples and lists, times ``factor``."""
    if isinstance(value, (list, tuple)):  # a list is a choice among sizes, a tuple is a size
        return type(value)(scaled(each, factor) for each in value)
    return round(value * factor)


def shrink(node: Any, factor: float) -> None:
    """Scale the image sizes in a pipeline, in place."""
    if isinstance(node, (list, tuple)):
        for each in node:
            shrink(each, factor)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ('scale', 'scales', 'crop_size'):
                node[key] = scaled(value, factor)
            else:
                shrink(value, factor)


def run(path: Path, data_root: str, factor: float, work_dir: str) -> dict:
    """One step and an evaluation.

    Returns:
        dict: the loss, and the metrics of COCO.
    """
    cfg = Config.fromfile(path)
    cfg.work_dir = work_dir
    move_data_root(cfg, data_root)
    set_backbone_weights(cfg, 'none')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
        dataset = loader.dataset
        if dataset.type == 'RepeatDataset':
            dataset.times, dataset = 1, dataset.dataset
        shrink(dataset.pipeline, factor)
        dataset.indices = NUM_IMAGES
    cfg.train_dataloader.batch_size = NUM_IMAGES
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None)
    cfg.visualizer = dict(type='mmengine.Visualizer', name=path.stem)  # one of each name in a process
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    keeper = KeepMetrics()
    runner.register_hook(keeper)
    runner.train()
    return dict(loss=runner.message_hub.get_scalar('train/loss').current(), **keeper.metrics)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python benchmarks/try_configs.py --data-root ../shared/data/coco_mini 'yolov3_*'")
    parser.add_argument('names', nargs='*', default=['*'], help='names of configs, or patterns; without, all')
    parser.add_argument('--data-root', required=True, help='a COCO data set in its usual layout')
    parser.add_argument('--factor', type=float, default=0.25, help="of the configs' image sizes (default: 0.25)")
    args = parser.parse_args()
    paths = [
        path for path in sorted(CONFIGS.glob('*.py'))
        if path.stem not in EXCLUDED and any(fnmatch(path.stem, name) for name in args.names)
    ]
    if not paths:
        parser.error(f'no config of {CONFIGS} is called {" or ".join(args.names)}')
    print(f'{"config":32}{"loss":>10}{"box AP":>8}{"mask AP":>9}{"seconds":>9}')
    failed = 0
    for path in paths:
        start = time.time()
        try:
            # pycocotools prints tables of its own
            with tempfile.TemporaryDirectory() as work_dir, contextlib.redirect_stdout(io.StringIO()):
                found = run(path, args.data_root, args.factor, work_dir)
            if not math.isfinite(found['loss']):
                raise ValueError(f'the loss is {found["loss"]}')
        except Exception as error:  # the others are to run too
            failed += 1
            print(f'{path.stem:32}FAILED: {type(error).__name__}: {error}', flush=True)
            continue
        box, mask = (f'{found[key]:.3f}' if key in found else '-' for key in ('coco/bbox_mAP', 'coco/segm_mAP'))
        print(f'{path.stem:32}{found["loss"]:10.2f}{box:>8}{mask:>9}{time.time() - start:9.1f}', flush=True)
    sys.exit(f'{failed} of {len(paths)} failed' if failed else 0)


if __name__ == '__main__':
    main()
