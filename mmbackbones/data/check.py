"""What can be known to be wrong with data before a model is built, each said in one clear error."""
import json
import os
from typing import Iterator, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..errors import InputError
from ..head_classes import check_head_classes

__all__ = ['check_data']

SHOWN = 10
LARGE_FILE = 50 * 2**20  # bytes; parsing takes seconds from here on

LAYOUT = ('Expected layout: <data root>/annotations/instances_{train,val}2017.json, '
          '<data root>/{train,val}2017/*.jpg')


def _leaves(dataset: dict, key: str) -> Iterator[Tuple[str, dict]]:
    """The data sets inside wrappers such as RepeatDataset, MultiImageMixDataset or ConcatDataset, with their keys."""
    if 'dataset' in dataset:
        yield from _leaves(dataset['dataset'], f'{key}.dataset')
    elif 'datasets' in dataset:
        for index, inner in enumerate(dataset['datasets']):
            yield from _leaves(inner, f'{key}.datasets[{index}]')
    else:
        yield key, dataset


def _remote(path: str) -> bool:
    return '://' in path


def _check_path(path: str, kind: str, key: str, layout: str) -> None:
    """Raise if a local file (``kind`` is 'annotation file') or folder ('image folder') is not there."""
    exists = os.path.isfile if kind == 'annotation file' else os.path.isdir
    if not _remote(path) and not exists(path):
        raise InputError(
            f'{kind} not found: {os.path.abspath(path)} (config key {key}). Pass --data-root FOLDER (or set '
            f'MMBACKBONES_DATA) if the data lies elsewhere. {layout}'.rstrip())


def _names(names: Sequence[str]) -> str:
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(repr(str(name)) for name in names[:SHOWN]) + more


class _CocoFile:
    """A parsed annotation file, reduced to what the checks compare.

    Args:
        path: the JSON file.

    Raises:
        InputError: if it is not in COCO's detection format.
    """
    REQUIRED = dict(
        images=('id', 'file_name', 'height', 'width'),
        categories=('id', 'name'),
        annotations=('id', 'image_id', 'category_id', 'bbox'))

    def __init__(self, path: str) -> None:
        if os.path.getsize(path) > LARGE_FILE:
            print(f'Checking {path} ({os.path.getsize(path) / 2**20:.0f} MiB) ...', flush=True)
        try:
            with open(path, encoding='utf-8') as file:
                content = json.load(file)
        except ValueError as error:
            raise InputError(f'{path} is not JSON: {error}. It may be cut off: fetch or write it again.') from error
        for part, keys in self.REQUIRED.items():
            if not isinstance(content, dict) or not isinstance(content.get(part), list):
                raise InputError(f'{path} is not in COCO format: expected an object with the lists '
                                 f'{", ".join(self.REQUIRED)}; {part} is missing.')
            for index, entry in enumerate(content[part]):
                missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
                if missing:
                    raise InputError(f'{path} is not in COCO format: {part}[{index}] has no {", ".join(missing)}.')
        if not content['images']:
            raise InputError(f'{path} lists no images.')
        self.path = path
        self.categories = [category['name'] for category in content['categories']]
        self.first_image = content['images'][0]['file_name']

    def check_classes(self, classes: Sequence[str], key: str) -> Optional[str]:
        """Compare with the classes of the data set.

        Returns:
            str | None: a warning about categories that are left out.

        Raises:
            InputError: if a class is not in the file, or the order differs: labels follow the file's order.
        """
        absent = [name for name in classes if name not in self.categories]
        unused = [name for name in self.categories if name not in classes]
        remedy = (f"Set the classes of this file, and num_classes of the model's heads to their number: "
                  f"{key}.metainfo=dict(classes=(...)).")
        if absent:
            raise InputError(f'{self.path} does not match the classes of {key}. Classes that the file lacks: '
                             f'{_names(absent)}. Categories of the file that are no class: {_names(unused) or "none"}. '
                             f'{remedy}')
        used = [name for name in self.categories if name in classes]
        if used != list(classes):
            raise InputError(f'{self.path} lists the classes of {key} in another order, and labels follow the file: '
                             f'{_names(used)}. Expected by the config: {_names(classes)}. {remedy}')
        if unused:
            return (f'{self.path}: annotations of these categories are ignored, they are no classes of {key}: '
                    f'{_names(unused)}')
        return None


def _read_as_coco(dataset_class: type) -> bool:
    """Whether a data set class reads its file the way MMDetection's CocoDataset does."""
    if not hasattr(dataset_class, 'COCOAPI'):
        return False
    from mmdet.datasets import CocoDataset
    return dataset_class.load_data_list is CocoDataset.load_data_list


def check_data(cfg: Config, loaders: Sequence[str]) -> List[str]:
    """Check the data sets and evaluators that a run is going to read.

    Args:
        cfg: the config.
        loaders: which of ``'train'``, ``'val'``, ``'test'`` the run uses.

    Returns:
        list[str]: warnings.

    Raises:
        InputError: missing file or folder, wrong format, categories or number of classes that do not match.
    """
    warnings, parsed = [], {}
    scope = cfg.get('default_scope', 'mmengine')
    for loader in loaders:
        root_key = f'{loader}_dataloader'
        if not cfg.get(root_key):
            continue
        for key, leaf in _leaves(cfg[root_key]['dataset'], f'{root_key}.dataset'):
            with DATASETS.switch_scope_and_registry(scope) as registry:
                dataset_class = leaf['type'] if isinstance(leaf['type'], type) else registry.get(leaf['type'])
                if dataset_class is None:
                    raise InputError(f'unknown data set type {leaf["type"]!r} (config key {key}.type)')
                if not issubclass(dataset_class, BaseDataset):
                    continue
                # lazy: it joins the paths and resolves the classes exactly as the run will, and reads nothing
                dataset = DATASETS.build(dict(leaf, pipeline=[], lazy_init=True, _scope_=scope))
            if leaf.get('backend_args') or getattr(dataset, 'download', False):
                continue  # in an object store, or fetched by the data set itself
            coco = _read_as_coco(dataset_class)
            layout = LAYOUT if coco else ''
            if dataset.ann_file:
                _check_path(dataset.ann_file, 'annotation file', f'{key}.ann_file', layout)
            for name in ('img', 'img_path'):
                if dataset.data_prefix.get(name):
                    _check_path(dataset.data_prefix[name], 'image folder', f'{key}.data_prefix', layout)
            if not coco:
                continue
            if dataset.ann_file not in parsed:
                parsed[dataset.ann_file] = _CocoFile(dataset.ann_file)
            file, classes = parsed[dataset.ann_file], dataset.metainfo['classes']
            warnings.append(file.check_classes(classes, key))
            image = os.path.join(dataset.data_prefix['img'], file.first_image)
            if not _remote(image) and not os.path.isfile(image):
                raise InputError(
                    f'{os.path.abspath(image)} not found, the first image of {file.path}: the image folder '
                    f'(config key {key}.data_prefix) and the annotation file do not belong together, or '
                    f'the download is not complete.')
            check_head_classes(cfg.model, len(classes), key)
        evaluators = cfg.get(f'{loader}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            if evaluator.get('ann_file') and not evaluator.get('backend_args'):
                _check_path(evaluator['ann_file'], 'annotation file', f'{loader}_evaluator.ann_file', LAYOUT)
    return [warning for warning in warnings if warning]
