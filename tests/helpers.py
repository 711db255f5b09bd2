"""What several tests use: the repository's configs, a model from one with images to train on, and its tools."""
import copy
import functools
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmbackbones.meta import on_meta

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py') if path.parent.name != '_base_')
# recipes of their own: the demo's, and that which fits a small COCO
OWN_RECIPES = [f'configs/detection/{name}.py' for name in ('mask_rcnn_odconv_r18_shapes', 'faster_rcnn_odconv_r50_fit')]
DETECTORS = [path for path in CONFIGS if path.startswith('configs/detection/') and path not in OWN_RECIPES]
CLASSIFIERS = [path for path in CONFIGS if path.startswith('configs/classification/')]


@functools.lru_cache(maxsize=None)
def read(path: str) -> Config:
    return Config.fromfile(ROOT / path)


def load(path: str) -> Config:
    """A config of its own for each test: tests change theirs."""
    return copy.deepcopy(read(path))


@contextmanager
def scope_of(cfg: Config):
    """The config's own default scope for a while: one process builds detectors and classifiers."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        yield


def build(cfg: Config, device: str = 'cpu') -> torch.nn.Module:
    model = {**cfg.model}
    if cfg.get('data_preprocessor'):  # as MMEngine's runner does
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with scope_of(cfg), on_meta() if device == 'meta' else torch.device(device):
        return MODELS.build(model)


def images(cfg: Config, size: int = 64) -> dict:
    """Two images of noise with what the model is to learn from them: two objects each, or a class."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(256, (3, size, size), generator=generator, dtype=torch.uint8) for _ in range(2)]
    if cfg.default_scope == 'mmpretrain':
        from mmpretrain.structures import DataSample
        return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(label) for label in range(2)])
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    boxes = torch.tensor([[4., 6., 40., 44.], [30., 20., 60., 58.]])
    masks = np.zeros((2, size, size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    shape = dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1., 1.))
    samples = []
    for _ in inputs:
        sample = DetDataSample(metainfo=dict(img_id=0, **shape))
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([0, 1]), masks=BitmapMasks(masks, size, size))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def shared_data(name: str) -> Path:
    """A file or folder of the real data that some machines have; where it is not, the test is skipped."""
    path = Path(os.environ.get('MMBACKBONES_SHARED', ROOT.parent / 'shared')) / 'data' / name
    if not path.exists():
        pytest.skip(f'no real data at {path}; MMBACKBONES_SHARED names the folder that holds data/{name}')
    return path


def tool(name: str, *args, start: bool = False, programs: Optional[Path] = None, **kwargs):
    """Run a file of ``tools/`` in a process of its own, from outside the repository.

    Args:
        name: file name; shell scripts are run by bash.
        args: its arguments.
        start: return the running process instead of waiting for it.
        programs: a folder to put before all others on PATH.
        kwargs: for ``subprocess``; ``env`` is added to the environment.

    Returns:
        CompletedProcess | Popen: stdout holds stderr too.
    """
    program = ['bash'] if name.endswith('.sh') else [sys.executable]
    folders = [str(programs)] if programs else []
    path = os.pathsep.join([*folders, str(Path(sys.executable).parent), os.environ['PATH']])
    env = {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1', 'MMBACKBONES_DATA': '', **kwargs.pop('env', {})}
    command = [*program, str(ROOT / 'tools' / name), *map(str, args)]
    kwargs = dict(dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd='/'), env=env, **kwargs)
    return subprocess.Popen(command, **kwargs) if start else subprocess.run(command, **kwargs)


class Payload:
    """Unpickled the ordinary way, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f'open({self.path!r}, "w").close()', )
