"""Kill training at random moments, resume it, and compare with a run that was left alone.

python benchmarks/reliability/kills.py --count 200
"""
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch  # noqa: E402
from common import OK, Record, Result, forked, main  # noqa: E402
from mmengine.config import Config  # noqa: E402

import mmbackbones.models  # noqa: E402, F401
from mmbackbones.datasets import make_shapes  # noqa: E402
from mmbackbones.training import train  # noqa: E402
from mmbackbones.weights import read_checkpoint  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'tests' / 'tiny_faster_rcnn.py'
KILLS_PER_RUN = 3
TIMEOUT = 180

BEST = dict(default_hooks=dict(checkpoint=dict(save_best='coco/bbox_mAP', max_keep_ckpts=2)))
EVERY_EPOCH = dict(train_cfg=dict(max_epochs=4, val_interval=1))
ITERATIONS = dict(
    train_cfg=dict(_delete_=True, by_epoch=False, max_iters=22, val_interval=6),
    log_processor=dict(by_epoch=False),
    param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=15)])
BY_ITERATION = dict(default_hooks=dict(checkpoint=dict(by_epoch=False, interval=4, save_best='coco/bbox_mAP')))
MOSAIC = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='CachedMosaic', img_scale=(96, 96), max_cached_images=10),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]


class Kind(NamedTuple):
    """A way to train.

    Attributes:
        changes: of the tiny config, in turn.
        processes: how many.
    """
    changes: List[dict]
    processes: int = 1


KINDS: Dict[str, Kind] = {
    'epochs, best':
    Kind([BEST, EVERY_EPOCH]),
    'epochs, best, EMA':
    Kind([BEST, EVERY_EPOCH,
          dict(custom_hooks=[dict(type='EMAHook', momentum=0.1, update_buffers=True)])]),
    'epochs, accumulation':
    Kind([BEST, EVERY_EPOCH, dict(optim_wrapper=dict(accumulative_counts=4))]),
    'epochs, plateau, early stopping':
    Kind([
        BEST,
        dict(train_cfg=dict(max_epochs=5, val_interval=1)),
        dict(
            custom_hooks=[dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=3, min_delta=0.5)],
            param_scheduler=[
                dict(type='ReduceOnPlateauLR', monitor='coco/bbox_mAP', rule='greater', patience=1, factor=0.5)
            ])
    ]),
    'epochs, saved within, schedule by iteration':
    Kind([EVERY_EPOCH, BY_ITERATION, dict(param_scheduler=ITERATIONS['param_scheduler'])]),
    'epochs, saved within, one batch for all shapes':
    Kind([
        EVERY_EPOCH, BY_ITERATION,
        dict(train_dataloader=dict(batch_sampler=None, num_workers=0), param_scheduler=ITERATIONS['param_scheduler'])
    ]),
    'epochs, cached mosaic in the main process':
    Kind([EVERY_EPOCH, dict(train_dataloader=dict(num_workers=0, dataset=dict(pipeline=MOSAIC)))]),
    'epochs, own file names':
    Kind([EVERY_EPOCH,
          dict(default_hooks=dict(checkpoint=dict(filename_tmpl='od_{:03d}.pth', max_keep_ckpts=1)))]),
    'iterations, infinite sampler':
    Kind([
        ITERATIONS, BY_ITERATION,
        dict(train_dataloader=dict(sampler=dict(type='InfiniteSampler', _delete_=True), batch_sampler=None))
    ]),
    'iterations, accumulation, EMA':
    Kind([
        ITERATIONS, BY_ITERATION,
        dict(
            optim_wrapper=dict(accumulative_counts=3),
            custom_hooks=[dict(type='EMAHook', momentum=0.1)],
            train_dataloader=dict(sampler=dict(type='InfiniteSampler', _delete_=True), batch_sampler=None))
    ]),
    'iterations, passes, shapes in batches':
    Kind([ITERATIONS, BY_ITERATION, dict(train_dataloader=dict(num_workers=0))]),
    'two processes, best, accumulation':
    Kind([BEST, EVERY_EPOCH, dict(optim_wrapper=dict(accumulative_counts=2))], processes=2),
}
# one in so many runs has several processes, each of which takes seconds to start
SEVERAL = 10


def _write_config(kind: Kind, path: Path) -> Path:
    cfg = Config.fromfile(TINY)
    cfg.merge_from_dict(dict(default_hooks=dict(logger=dict(interval=100))))
    for change in kind.changes:
        cfg = Config(Config._merge_a_into_b(copy.deepcopy(change), cfg._cfg_dict))
    cfg.dump(path)
    return path


def _run(config: Path, data: Path, work_dir: Path, kind: Kind, resume: bool, kill_after: Optional[float]) -> Result:
    """Train, until it is done or its time is up."""
    argv = [str(config), '--data-root', str(data), '--work-dir', str(work_dir), '--backbone-weights', 'none']
    argv += ['--resume'] if resume else []
    if kind.processes == 1:
        sys.argv = ['train.py', *argv]
        return forked(lambda: train(argv), kill_after or TIMEOUT)
    start = time.monotonic()
    command = ['bash', str(ROOT / 'tools' / 'dist_train.sh'), str(config), str(kind.processes), *argv[1:]]
    env = dict(os.environ, PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=env)
    try:
        output, _ = process.communicate(timeout=kill_after or TIMEOUT)
        status = process.returncode
    except subprocess.TimeoutExpired:
        # the launcher alone: the processes that it started must notice
        process.send_signal(signal.SIGKILL)
        output, status = process.communicate()[0], None
    return Result(status, output, time.monotonic() - start)


def _differences(a: Any, b: Any, where: str) -> Iterator[str]:
    """Where nested containers are not equal bit for bit."""
    if isinstance(a, torch.Tensor):
        if not (isinstance(b, torch.Tensor) and torch.equal(a, b)):
            yield where
    elif isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            if key not in a or key not in b:
                yield f'{where}.{key} is in one alone'
            else:
                yield from _differences(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b)):
            yield from _differences(x, y, f'{where}[{index}]')
    elif not (type(a) is type(b) and a == b):
        yield f'{where}: {a} and {b}'


def _compare(whole: Path, killed: Path) -> str:
    """What is not equal between the results of two runs; empty where all is."""
    names = [{path.name for path in folder.glob('*.pth')} for folder in (whole, killed)]
    # a kill between two removals may leave the last but one best beside the best
    extra = {name for name in names[1] - names[0] if not name.startswith('best_')}
    if names[0] - names[1] or extra:
        return f'checkpoints {sorted(names[1])} instead of {sorted(names[0])}'
    said = []
    for name in sorted(names[0]):
        a, b = (read_checkpoint(str(folder / name)) for folder in (whole, killed))
        for part in ('state_dict', 'optimizer', 'param_schedulers', 'ema_state_dict', 'accumulated_gradients',
                     'resume_state'):
            said += _differences(a.get(part), b.get(part), f'{name}: {part}')
        losses = [each['message_hub']['log_scalars']['train/loss'].data[0].tolist() for each in (a, b)]
        said += _differences(*losses, f'{name}: losses')
    return '; '.join(said[:3])


def run(count: int, seed: int) -> Iterator[Record]:
    """Kill ``count`` times, in as many runs as that takes; the kinds take turns, and the seed says which is first."""
    rng = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix='kills'))
    make_shapes(folder / 'data', num_train=12, num_val=4, image_size=96)
    singles = [name for name, kind in KINDS.items() if kind.processes == 1]
    several = [name for name, kind in KINDS.items() if kind.processes > 1]
    whole: Dict[str, float] = {}
    kills = runs = 0
    try:
        while kills < count:
            name = several[0] if runs % SEVERAL == SEVERAL - 1 else singles[(runs + seed) % len(singles)]
            kind, stem = KINDS[name], f'kind{list(KINDS).index(name)}'
            runs += 1
            config = folder / f'{stem}.py'
            if name not in whole:
                _write_config(kind, config)
                result = _run(config, folder / 'data', folder / stem, kind, False, None)
                if result.status != 0:
                    yield Record(name, 'uninterrupted', 'failed', result.output[-2000:])
                    return
                whole[name] = result.seconds
            work_dir = folder / 'killed'
            moments = []
            resume = False
            for _ in range(min(KILLS_PER_RUN, count - kills)):
                # the first second only loads the data; two processes start for ten
                moment = rng.uniform(0.3, 1.0) * whole[name]
                moments.append(round(moment, 2))
                result = _run(config, folder / 'data', work_dir, kind, resume, moment)
                if result.status not in (None, 0):
                    break
                resume = True
            if result.status in (None, 0):
                result = _run(config, folder / 'data', work_dir, kind, True, None)
            label = f'killed after {moments} s'
            if result.status != 0:
                verdict, detail = 'lost' if result.status is not None else 'hung', result.output[-1500:]
            else:
                detail = _compare(folder / stem, work_dir)
                verdict = 'unequal' if detail else OK
            for moment in moments:
                kills += 1
                yield Record(name, label, verdict, detail)
            if verdict != OK and os.environ.get('KEEP'):
                return
            shutil.rmtree(work_dir, ignore_errors=True)
    finally:
        if not os.environ.get('KEEP'):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main('Killed and resumed', run, 200)
