"""What the evaluators of a run compare with."""
import os
from typing import Dict, List, NamedTuple, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import METRICS

from ..errors import InputError
from .uses import Use, check_file, is_remote, step_name

__all__ = ['Evaluator', 'check_evaluators', 'find_evaluators']

# steps that move boxes; those that MMDetection's test pipelines have
MOVING = ('Resize', 'FixScaleResize', 'FixShapeResize', 'ResizeShortestEdge', 'RandomResize', 'RandomChoiceResize',
          'RandomFlip', 'RandomCrop', 'Pad')


class Evaluator(NamedTuple):
    """A metric of a config.

    Attributes:
        key: where it stands in the config.
        node: its config.
        kind: ``'coco'``, ``'voc'`` or ``'other'``.
        truth: whether it compares with annotations.
    """
    key: str
    node: dict
    kind: str
    truth: bool

    @property
    def ann_file(self) -> Optional[str]:
        """Its annotation file, where it has one on this machine."""
        path = self.node.get('ann_file')
        return None if not path or self.node.get('backend_args') or is_remote(path) else path

    @property
    def draws_masks(self) -> bool:
        metric = self.node.get('metric', 'bbox')
        return self.kind == 'coco' and 'segm' in (metric if isinstance(metric, (list, tuple)) else [metric])

    def reads(self, path: str) -> bool:
        """Whether its annotation file is this one, by whatever name."""
        return self.ann_file is not None and os.path.isfile(path) and os.path.samefile(self.ann_file, path)


def find_evaluators(cfg: Config, loader: str) -> List[Evaluator]:
    """The metrics of a loader."""
    root, nodes = f'{loader}_evaluator', cfg.get(f'{loader}_evaluator') or []
    if 'metrics' in nodes:  # MMEngine's Evaluator written out
        root, nodes = f'{root}.metrics', nodes['metrics']
    several = isinstance(nodes, (list, tuple))
    found = []
    for index, node in enumerate(nodes if several else [nodes]):
        key = root + (f'[{index}]' if several else '')
        with METRICS.switch_scope_and_registry(cfg.get('default_scope', 'mmengine')) as registry:
            metric = node['type'] if isinstance(node['type'], type) else registry.get(node['type'])
        # by name: MMDetection is not imported for a classifier
        names = {parent.__name__ for parent in metric.__mro__} if isinstance(metric, type) else set()
        kind = 'other' if 'LVISMetric' in names else 'coco' if 'CocoMetric' in names else 'voc' \
            if 'VOCMetric' in names else 'other'
        truth = not node.get('format_only') and 'Dump' not in str(node['type'])
        found.append(Evaluator(key, node, kind, truth))
    return found


def check_evaluators(evaluators: Sequence[Evaluator], uses: Sequence[Use], changes: Dict[str, str],
                     warnings: List[str]) -> None:
    """Check what evaluators demand of files and pipelines, and find their annotation files.

    Args:
        evaluators: those of a loader; a relative path that is meant below the data root is changed in place.
        uses: the data sets of the loader.
        changes: config key -> value; what is changed is added.
        warnings: what is changed is said.

    Raises:
        InputError: missing file or step.
    """
    for evaluator in evaluators:
        path = evaluator.ann_file
        if path and not os.path.isfile(path):
            below = [os.path.join(use.dataset.data_root or '', path) for use in uses]
            found = next((candidate for candidate in below if os.path.isfile(candidate)), None)
            if found is None:
                check_file(path, 'annotation file', f'{evaluator.key}.ann_file',
                           'Expected: the file that the data set reads, with its data_root before it.')
            evaluator.node['ann_file'] = changes[f'{evaluator.key}.ann_file'] = found
            warnings.append(f'{evaluator.key}.ann_file={path!r} is not there, and taken as {found!r}, below the data '
                            f'root')
        _check_output(evaluator)
        for use in uses:
            _check_pipeline(evaluator, use)


def _check_output(evaluator: Evaluator) -> None:
    prefix = evaluator.node.get('outfile_prefix')
    if evaluator.node.get('format_only') and not prefix:
        raise InputError(
            f'{evaluator.key} has format_only=True and no outfile_prefix: the results would go nowhere. Set '
            f"it, for example {evaluator.key}.outfile_prefix='work_dirs/test'.")
    if not prefix or is_remote(prefix):
        return
    folder = os.path.abspath(os.path.dirname(prefix))
    while not os.path.exists(folder):  # what is missing is made when the results are written
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise InputError(f'{evaluator.key}.outfile_prefix={prefix!r}: cannot write into {folder}. Choose another.')


def _check_pipeline(evaluator: Evaluator, use: Use) -> None:
    """Refuse a pipeline that does not hand on what the evaluator compares with, or something else."""
    if not use.steps:
        return
    if evaluator.kind == 'coco' and not evaluator.node.get('ann_file'):
        pack = use.step('PackDetInputs')
        if pack is not None and 'instances' not in pack.get('meta_keys', ()):
            raise InputError(f'{evaluator.key} has no ann_file, and the pipeline of {use.key} does not hand on the '
                             f'annotations. Set {evaluator.key}.ann_file to the annotation file of the data set.')
    if evaluator.kind == 'voc' and evaluator.truth:
        names = [step_name(step) for step in use.steps]
        if 'LoadAnnotations' not in names:
            raise InputError(
                f'{evaluator.key} compares with the annotations that the pipeline of {use.key} loads, and it '
                f"loads none: add dict(type='LoadAnnotations', with_bbox=True) before PackDetInputs.")
        moved = [name for name in names[names.index('LoadAnnotations'):] if name in MOVING]
        if moved:
            raise InputError(
                f'{evaluator.key} compares boxes in the original image, and in the pipeline of {use.key} '
                f'{moved[0]} comes after LoadAnnotations and moves the annotated ones: put LoadAnnotations '
                f'behind it.')
