"""Fixtures shared by the tests: data, a tiny detector and processes to run it in; which test runs first."""
import functools
import gc
import logging
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Callable

import pytest

# Before torch is imported. Threads that wait for each other in a spin slow everything where tests run side by side.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.config.utils  # noqa: E402
from helpers import ROOT, shared_data  # noqa: E402
from yapf.yapflib import yapf_api  # noqa: E402

# MMEngine parses a hundred metafiles anew, half a second, for each config of a package that it reads.
mmengine.config.utils.load = functools.lru_cache(maxsize=None)(mmengine.config.utils.load)
_format, _formatted = yapf_api.FormatCode, {}


def _format_once(text: str, **kwargs):
    """MMEngine formats the text of one config seven times in a run, which takes as long as some trainings here."""
    key = (text, repr(kwargs))
    if key not in _formatted:
        _formatted[key] = _format(text, **kwargs)
    return _formatted[key]


yapf_api.FormatCode = _format_once


def pytest_collection_modifyitems(items):
    """The slow ones first, so that no worker is left alone with one when the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not walk through it at every turn."""
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def cache_of_the_tests(tmp_path_factory):
    """What data checks keep does not go to the home of whoever runs the tests."""
    os.environ['MMBACKBONES_CACHE'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def case_folder(tmp_path, monkeypatch) -> Callable[[str], Path]:
    """Gives a copy of a folder of ``shared/cases``, and makes it the current one; without them, the test is skipped."""

    def copy(name: str) -> Path:
        cases = Path(os.environ.get('MMBACKBONES_SHARED', ROOT.parent / 'shared')) / 'cases'
        if not cases.is_dir():
            pytest.skip(f'no cases at {cases}; MMBACKBONES_SHARED names the folder that holds them')
        folder = tmp_path / 'cases' / name
        shutil.copytree(cases / name, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob('*')):
            path.chmod(0o755)
        for parent in (tmp_path, tmp_path / 'cases'):  # the cases look for it at either place
            shutil.copyfile(cases / 'base_faster.py', parent / 'base_faster.py')
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.fixture(autouse=True)
def no_visualizer_is_left():
    """MMEngine names them by the second: the run of the next test would write into a folder that is gone."""
    yield
    visualization = sys.modules.get('mmengine.visualization')
    for kind in visualization.Visualizer.__subclasses__() if visualization else ():
        kind._instance_dict.clear()


@pytest.fixture(scope='session')
def coco_mini() -> Path:
    """160 images of COCO 2017 in MMDetection's layout, where this machine has them."""
    return shared_data('coco_mini')


@pytest.fixture(scope='session')
def cifar10(tmp_path_factory) -> Path:
    """CIFAR-10 as class folders of JPEG files, four of each for training and four for testing, where it is."""
    archive = shared_data('cifar10_jpeg.zip')
    root = tmp_path_factory.mktemp('data') / 'cifar10'
    with zipfile.ZipFile(archive) as files:
        first = ('0000.jpg', '0001.jpg', '0002.jpg', '0003.jpg')
        files.extractall(root, [name for name in files.namelist() if name.endswith(first)])
    return root


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """A generated data set: 12 training and 4 validation images of 96 x 96 pixels."""
    from mmbackbones.datasets.shapes import make_shapes
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(root, num_train=12, num_val=4, image_size=96)
    return root


@pytest.fixture(scope='session')
def tiny_config() -> Path:
    """The config file of a tiny Faster R-CNN on shapes; its data root must be given by ``--data-root``."""
    return ROOT / 'tests' / 'tiny_faster_rcnn.py'


@pytest.fixture
def quiet() -> None:
    """MMEngine logs each parameter's options, a thousand lines for some models."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)
