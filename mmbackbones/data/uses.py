"""Which data sets a run reads, and how: through wrappers, by the steps of their pipelines."""
import os
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..config.tree import nodes
from ..errors import InputError
from .coco import INPUT, TRAIN, TRUTH
from .pictures import Loading

__all__ = ['Use', 'check_file', 'find_uses', 'is_remote', 'step_name']


class Use(NamedTuple):
    """A data set of a run, and how it is read.

    Attributes:
        key: where it stands in the config, such as ``train_dataloader.dataset``.
        split: ``'train'``, ``'val'`` or ``'test'``.
        leaf: its config.
        dataset: built, with paths joined and classes resolved as the run will, but nothing read.
        role: what its annotations are for: ``TRAIN``, ``TRUTH`` or ``INPUT``.
        steps: of its pipeline, those inside of others too.
        loading: how its images are loaded.
    """
    key: str
    split: str
    leaf: dict
    dataset: BaseDataset
    role: str
    steps: List[dict]
    loading: Loading

    def step(self, name: str) -> Optional[dict]:
        """The first step of the pipeline of some type."""
        return next((step for step in self.steps if step_name(step) == name), None)

    @property
    def remote(self) -> bool:
        """Whether the data lies elsewhere, or is fetched by the data set itself."""
        backend = self.leaf.get('backend_args') or dict(backend='local')
        return backend.get('backend') != 'local' or getattr(self.dataset, 'download', False) or is_remote(
            self.dataset.ann_file)


def step_name(step: dict) -> str:
    """Type of a step without its scope; configs in pure Python name classes."""
    kind = step['type']
    return kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]


def is_remote(path: Any) -> bool:
    return isinstance(path, str) and '://' in path


def _leaves(dataset: dict, key: str) -> Iterator[Tuple[str, dict]]:
    """The data sets inside wrappers such as RepeatDataset, MultiImageMixDataset or ConcatDataset, with their keys."""
    if 'dataset' in dataset:
        yield from _leaves(dataset['dataset'], f'{key}.dataset')
    elif 'datasets' in dataset:
        for index, inner in enumerate(dataset['datasets']):
            yield from _leaves(inner, f'{key}.datasets[{index}]')
    else:
        yield key, dataset


def _loading(steps: List[dict], model: dict) -> Loading:
    step = next((step for step in steps if step_name(step) == 'LoadImageFromFile'), None if steps else {})
    if step is None:
        return Loading(color_type=None)
    mean = (model.get('data_preprocessor') or {}).get('mean')
    return Loading(
        step.get('color_type', 'color'),
        step.get('imdecode_backend') or 'cv2',
        step.get('on_error', 'error') != 'error',
        len(mean) if isinstance(mean, (list, tuple)) else None)


def find_uses(cfg: Config, loader: str, truth: bool) -> List[Use]:
    """The data sets of a loader.

    Args:
        cfg: the config.
        loader: ``'train'``, ``'val'`` or ``'test'``.
        truth: whether an evaluator compares with the annotations.

    Raises:
        InputError: unknown type, or missing files.
    """
    uses = []
    root_key, scope = f'{loader}_dataloader', cfg.get('default_scope', 'mmengine')
    for key, leaf in _leaves(cfg[root_key]['dataset'], f'{root_key}.dataset'):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            dataset_class = leaf['type'] if isinstance(leaf['type'], type) else registry.get(leaf['type'])
            if dataset_class is None:
                raise InputError(f'unknown data set type {leaf["type"]!r} (config key {key}.type)')
            if not issubclass(dataset_class, BaseDataset):
                continue
            # lazy: it joins the paths and resolves the classes exactly as the run will, and reads nothing
            dataset = DATASETS.build(dict(leaf, pipeline=[], lazy_init=True, _scope_=scope))
        # in their order; those that hold others come before them
        steps = [node for _, node in nodes(leaf.get('pipeline', [])) if isinstance(node, dict) and 'type' in node]
        role = TRUTH if truth else INPUT
        if loader == 'train':
            # images without labels, as in semi-supervised training, come without this step
            labelled = not steps or any(step_name(step) == 'LoadAnnotations' for step in steps)
            role = TRAIN if labelled else INPUT
        use = Use(key, loader, leaf, dataset, role, steps, _loading(steps, cfg.get('model') or {}))
        if not use.remote:
            _check_paths(use)
        uses.append(use)
    return uses


def _check_paths(use: Use) -> None:
    """Raise where the annotation file or an image folder is not there."""
    coco = hasattr(use.dataset, 'COCOAPI')
    layout = ' Expected layout: <data root>/annotations/instances_{train,val}2017.json, ' \
             '<data root>/{train,val}2017/*.jpg' if coco else ''
    remedy = f'Pass --data-root FOLDER (or set MMBACKBONES_DATA) if the data lies elsewhere.{layout}'
    if coco and not use.dataset.ann_file:
        raise InputError(f'no annotation file is given (config key {use.key}.ann_file). {remedy}')
    check_file(use.dataset.ann_file, 'annotation file', f'{use.key}.ann_file', remedy)
    for name in ('img', 'img_path', 'sub_data_root'):
        folder = use.dataset.data_prefix.get(name)
        if folder and not is_remote(folder) and not os.path.isdir(folder):
            raise InputError(
                f'image folder not found: {os.path.abspath(folder)} (config key {use.key}.data_prefix). {remedy}')


def check_file(path: str, kind: str, key: str, remedy: str) -> None:
    """Raise where a file is given and is not there, or is no file: reading a pipe would never return."""
    if path and not os.path.isfile(path):
        state = 'is no regular file' if os.path.exists(path) else 'not found'
        raise InputError(f'{kind} {state}: {os.path.abspath(path)} (config key {key}). {remedy}')
