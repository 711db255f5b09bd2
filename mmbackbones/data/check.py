"""One check of the data sets of a run, before anything is built: what it uses, what not, and what would be wrong.

It judges by what the reader, the pipeline and the evaluator of MMDetection take from the files. A format has a module
of its own (``coco``, ``voc``) that reads files and says what was found in a use of them; what is true of boxes, masks
and images of any format is in ``boxes``, ``masks`` and ``pictures``.
"""
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from mmengine.config import Config

from ..config.head_classes import check_head_classes
from ..errors import InputError
from .cache import file_hash, look_up, store
from .coco import INPUT, TRUTH, CocoFile, CocoUse
from .evaluators import Evaluator, check_evaluators, find_evaluators
from .findings import Findings
from .pictures import Loading, check_pictures
from .repair import write_repaired
from .uses import Use, find_uses
from .voc import VocSet, VocUse

__all__ = ['Report', 'apply_changes', 'check_data']


class Report(NamedTuple):
    """What a check says.

    Attributes:
        summaries: a line for each data set.
        warnings: what is doubtful, or was repaired.
        changes: config key -> value, of files that are read in place of others.
    """
    summaries: List[str]
    warnings: List[str]
    changes: Dict[str, str]


class _Reading(NamedTuple):
    """A COCO file and one use of it, by a data set or an evaluator."""
    path: str
    keys: List[str]  # of the config, that name the file
    use: CocoUse
    folder: Optional[str]  # of the images; None where they are checked with another reading
    loading: Loading
    title: str


class _Check:
    """State of one check: parsed files, and what is said."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.report = Report([], [], {})
        self.parsed: Dict[str, CocoFile] = {}
        self.digests: Dict[str, str] = {}
        self.readings: Dict[str, List[_Reading]] = {}
        self.repairs: Dict[str, Dict[str, str]] = {}

    def file(self, path: str) -> CocoFile:
        real = os.path.realpath(path)
        if real not in self.parsed:
            self.parsed[real] = CocoFile(path)
        return self.parsed[real]

    def digest(self, path: str) -> str:
        real = os.path.realpath(path)
        if real not in self.digests:
            try:
                self.digests[real] = file_hash(path)
            except OSError as error:
                raise InputError(f'cannot read {path}: {error.strerror}') from error
        return self.digests[real]

    def run(self, loaders: Sequence[str]) -> Report:
        for loader in loaders:
            if not self.cfg.get(f'{loader}_dataloader'):
                continue
            evaluators = find_evaluators(self.cfg, loader) if loader != 'train' else []
            uses = find_uses(self.cfg, loader, any(evaluator.truth for evaluator in evaluators))
            check_evaluators(evaluators, uses, self.report.changes, self.report.warnings)
            for use in uses:
                self.check_use(use, uses, evaluators)
            self.check_other_files(evaluators, uses)
        self.repair()
        return self.report

    def check_use(self, use: Use, uses: Sequence[Use], evaluators: Sequence[Evaluator]) -> None:
        title = use.split if len(uses) == 1 else use.key
        if use.remote:
            self.report.summaries.append(
                f'{title}: the data of {use.key} ({use.leaf["type"]}) is elsewhere, or fetched '
                f'by the data set itself, and not checked')
        elif _reads_as_coco(type(use.dataset)):
            self.check_coco(use, title, evaluators)
        elif _reads_as_voc(type(use.dataset)):
            self.check_voc(use, title)
        else:
            self.report.summaries.append(f'{title}: of {use.key} ({use.leaf["type"]}) only the paths were checked: its '
                                         f'format is not known here')
        if use.leaf.get('indices') is not None:
            missed = '; for the evaluator, the objects of all others count as missed' if any(
                evaluator.truth and evaluator.ann_file for evaluator in evaluators) else ''
            self.report.warnings.append(f'{use.key}.indices takes a part of the images{missed}')
        if use.role == TRUTH and use.leaf.get('filter_cfg') and not use.dataset.test_mode:
            self.report.warnings.append(f'{use.key}.filter_cfg leaves out images of the evaluation: set test_mode=True')

    def check_coco(self, use: Use, title: str, evaluators: Sequence[Evaluator]) -> None:
        path, classes = use.dataset.ann_file, use.dataset.metainfo.get('classes')
        mine = [evaluator for evaluator in evaluators if evaluator.kind == 'coco']
        same = [evaluator for evaluator in mine if evaluator.reads(path)]
        # with a file of its own, the evaluator does not compare with the data set's
        role = INPUT if use.role == TRUTH and mine and all(e.ann_file for e in mine) and not same else use.role
        load = use.step('LoadAnnotations') or {}
        filters = use.dataset.filter_cfg or {}
        reading = _Reading(
            path, [f'{use.key}.ann_file', *(f'{evaluator.key}.ann_file' for evaluator in same)],
            CocoUse(
                role=role,
                classes=classes,
                masks=bool(load.get('with_mask')) or any(evaluator.draws_masks for evaluator in same),
                polygons_only=not load.get('poly2mask', True),
                filter_empty=bool(filters.get('filter_empty_gt')) and not use.dataset.test_mode,
                min_size=0 if use.dataset.test_mode else filters.get('min_size', 0)),
            use.dataset.data_prefix.get('img', ''), use.loading, title)
        self.read(reading, use.key)

    def read(self, reading: _Reading, key: str) -> None:
        """Check one use of a COCO file, or find that this was done."""
        start = time.monotonic()
        self.readings.setdefault(os.path.realpath(reading.path), []).append(reading)
        cache_key = dict(
            file=self.digest(reading.path),
            path=os.path.abspath(reading.path),
            use=reading.use,
            folder=os.path.abspath(reading.folder) if reading.folder is not None else None,
            loading=reading.loading,
            key=key)
        findings = look_up(cache_key)
        known = findings is not None
        if findings is None:
            file = self.file(reading.path)
            warning = file.check_classes(reading.use.classes, key)
            findings = file.judge(reading.use)
            if warning:
                findings.warnings.say(warning)
            if reading.folder is not None:
                check_pictures(file.pictures(reading.folder), reading.loading, findings, reading.title)
        check_head_classes(self.cfg.get('model') or {}, len(reading.use.classes), key)
        if findings.repairs:
            self.repairs.setdefault(os.path.realpath(reading.path),
                                    {}).update(zip(findings.repairs.counts, findings.repairs.lines()))
        self.say(findings, reading.title, reading.path, key, start, known)
        if not known:
            store(cache_key, findings)

    def say(self, findings: Findings, title: str, path: str, key: str, start: float, known: bool) -> None:
        """Add the lines of a data set to the report.

        Raises:
            InputError: for the errors among them.
        """
        if findings.errors:
            lines = findings.errors.lines()
            more = f'; and {len(lines) - 4} more kinds of faults' if len(lines) > 4 else ''
            images = any(line.startswith(('images that cannot', 'none of the images')) for line in lines)
            remedy = 'Mend the data; --skip-data-check goes on regardless, and no result is to be trusted then.' \
                if not images else f'Does {key}.data_prefix belong to the annotations, and is the download complete? ' \
                '--bad-images skip goes on without bad images.'
            raise InputError(f'{path} ({key}): {"; ".join(lines[:4])}{more}. {remedy}')
        spent = 'as checked before' if known else f'checked in {time.monotonic() - start:.1f} s'
        self.report.summaries.append(f'{findings.summary(title)} ({spent})')
        self.report.warnings.extend(f'{path}: {line}' for line in findings.warnings.lines())

    def check_voc(self, use: Use, title: str) -> None:
        start, dataset = time.monotonic(), use.dataset
        classes = dataset.metainfo.get('classes')
        if not isinstance(classes, (list, tuple)) or len(set(classes)) < len(classes):
            raise InputError(f'the classes of {use.key} are {classes!r}, expected a tuple of different names: '
                             f'{use.key}.metainfo=dict(classes=(...)).')
        filters = dataset.filter_cfg or {}
        if dataset.test_mode and filters.get('bbox_min_size') is not None:
            raise InputError(f'{use.key}.filter_cfg.bbox_min_size is for training, and test_mode=True: remove one.')
        if dataset.test_mode:
            filters = {}
        how = VocUse(use.role, classes, bool(filters.get('filter_empty_gt')), filters.get('min_size', 0),
                     filters.get('bbox_min_size'))
        folder = dataset.sub_data_root
        cache_key = dict(
            file=self.digest(dataset.ann_file),
            path=os.path.abspath(dataset.ann_file),
            folder=os.path.abspath(folder),
            subs=[dataset.ann_subdir, dataset.img_subdir],
            use=how,
            loading=use.loading)
        findings = look_up(cache_key)
        known = findings is not None
        if findings is None:
            files = VocSet(dataset.ann_file, folder, dataset.ann_subdir, dataset.img_subdir)
            findings = files.judge(how)
            check_pictures(files.pictures(), use.loading, findings, title)
        check_head_classes(self.cfg.get('model') or {}, len(classes), use.key)
        self.say(findings, title, dataset.ann_file, use.key, start, known)
        if not known:
            store(cache_key, findings)
        voc = type(dataset).METAINFO.get('classes')
        if use.split != 'train' and dataset.metainfo.get('dataset_type') and tuple(classes) != tuple(voc or classes):
            said = f'{use.key}: in a folder named {dataset.metainfo["dataset_type"]}, VOCMetric prints the names of ' \
                f'the {len(voc)} classes of Pascal VOC in its table, in place of those of the config'
            if len(classes) > len(voc):
                raise InputError(f'{said}, which has {len(classes)}. Rename the folder.')
            self.report.warnings.append(f'{said}; the figures are right, in the order of the config')

    def check_other_files(self, evaluators: Sequence[Evaluator], uses: Sequence[Use]) -> None:
        """Judge annotation files of evaluators that are not those of the data sets, and compare them."""
        coco = [use for use in uses if not use.remote and _reads_as_coco(type(use.dataset))]
        if not coco or len(coco) < len(uses):
            return
        for evaluator in evaluators:
            path = evaluator.ann_file
            if evaluator.kind != 'coco' or path is None:
                continue
            if len(coco) == 1 and evaluator.reads(coco[0].dataset.ann_file):
                continue
            self.compare(evaluator, coco)
            use = coco[0]
            if not any(evaluator.reads(use.dataset.ann_file) for use in coco):
                self.read(
                    _Reading(
                        path, [f'{evaluator.key}.ann_file'],
                        CocoUse(TRUTH if evaluator.truth else INPUT, use.dataset.metainfo['classes'],
                                evaluator.draws_masks), None, use.loading, evaluator.key), evaluator.key)

    def compare(self, evaluator: Evaluator, uses: Sequence[Use]) -> None:
        """Refuse an evaluator's file that is about other images or numbers categories in another way.

        Raises:
            InputError: it says what differs.
        """
        truth = self.file(evaluator.ann_file)
        there = {entry['id']: entry for entry in truth.images}
        shown = {}
        for use in uses:
            file = self.file(use.dataset.ann_file)
            shown.update({entry['id']: entry for entry in file.images})
        said = f'{evaluator.key}.ann_file ({truth.path}) is not about the images of ' \
               f'{", ".join(use.key for use in uses)} ({", ".join(use.dataset.ann_file for use in uses)})'
        remedy = f'Set {evaluator.key}.ann_file to the annotation file of the data set.'
        if not evaluator.truth:  # only the numbers of the categories are taken from it
            return
        missing = [number for number in shown if number not in there]
        extra = [number for number in there if number not in shown]
        if missing or extra:
            raise InputError(f'{said}: {len(missing)} of {len(shown)} images are not in it, and {len(extra)} of its '
                             f'{len(there)} are not in the data set. {remedy}')
        other = [
            number for number, entry in shown.items()
            if os.path.basename(entry['file_name']) != os.path.basename(there[number]['file_name'])
        ]
        if other:
            raise InputError(f'{said}: {len(other)} images have the same id and another file name, first '
                             f'{shown[other[0]]["file_name"]!r} and {there[other[0]]["file_name"]!r}. {remedy}')

    def repair(self) -> None:
        """Write copies of the files that need repair, and have the run read those."""
        for real, repairs in self.repairs.items():
            readings = self.readings[real]
            path = readings[0].path
            copy = write_repaired(path, self.digest(path), list(repairs),
                                  lambda: self.file(path).repaired(list(repairs)),
                                  self.cfg.get('work_dir') or 'work_dirs')
            for key in {key for reading in readings for key in reading.keys}:
                self.report.changes[key] = copy
            self.report.warnings.append(f'{path}: {"; ".join(repairs.values())}. The run reads the copy {copy}')
        apply_changes(self.cfg, self.report.changes)


def _reads_as_coco(dataset_class: type) -> bool:
    """Whether a data set class reads its file the way MMDetection's CocoDataset does."""
    if not hasattr(dataset_class, 'COCOAPI'):
        return False
    from mmdet.datasets import CocoDataset
    return all(
        getattr(dataset_class, name) is getattr(CocoDataset, name) for name in ('load_data_list', 'parse_data_info'))


def _reads_as_voc(dataset_class: type) -> bool:
    """Whether a data set class reads its files the way MMDetection's XMLDataset does."""
    if not hasattr(dataset_class, 'sub_data_root'):
        return False
    from mmdet.datasets import XMLDataset
    return all(
        getattr(dataset_class, name) is getattr(XMLDataset, name)
        for name in ('load_data_list', 'parse_data_info', '_parse_instance_info'))


def check_data(cfg: Config, loaders: Sequence[str]) -> Report:
    """Check the data sets and evaluators that a run is going to read.

    Args:
        cfg: the config. Where a file needs repair, or a path is meant below the data root, it is changed in place.
        loaders: which of ``'train'``, ``'val'``, ``'test'`` the run uses.

    Returns:
        Report: what is used and what is doubtful.

    Raises:
        InputError: missing file or folder, wrong format, what would make a result wrong without a word, categories or
            numbers of classes that do not match.
    """
    return _Check(cfg).run(loaders)


def apply_changes(cfg: Config, changes: Dict[str, str]) -> None:
    """Set values of a config.

    Args:
        cfg: changed in place.
        changes: key, such as ``val_dataloader.dataset.datasets[0].ann_file`` -> value.
    """
    for key, value in changes.items():
        *parents, last = key.replace('[', '.').replace(']', '').split('.')
        node: Any = cfg
        for part in parents:
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
        node[last] = value
