"""Checkpoints that a kill at any moment leaves whole, and the choice of the one to resume from."""
import json
import os
import re
import string
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import torch
import torch.distributed as torch_dist
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from ..errors import UserError
from ..files import TEMPORARY, write_atomically
from ..registry import HOOKS
from ..weights import CheckpointError, read_checkpoint
from ..weights.parts import inner_model

__all__ = ['CheckpointHook', 'SaveBestHook', 'TrainingError', 'newest_checkpoint', 'pending_gradients']

BACKEND = 'mmbackbones.atomic'
LAST = 'last_checkpoint'
# checkpoints that lay in the folder when the run began, or that it went back behind
APART = '.earlier_checkpoints.json'
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')
BEST = re.compile(r'best_[^/\\]+\.pth')
GRADIENTS = 'accumulated_gradients'


class TrainingError(UserError):
    """A training that cannot go on."""


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """MMEngine's backend of local files, with an atomic ``put``."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        os.makedirs(os.path.dirname(filepath) or '.', exist_ok=True)
        write_atomically(filepath, obj)


def pending_gradients(runner: Runner) -> Optional[Dict[str, torch.Tensor]]:
    """Gradients that are accumulated and not yet applied, by the parameters' names; None between two updates."""
    wrappers = runner.optim_wrapper
    wrappers = wrappers.values() if isinstance(wrappers, OptimWrapperDict) else [wrappers]
    if all(wrapper.should_update() for wrapper in wrappers):
        return None
    named = inner_model(runner.model).named_parameters()
    return {name: parameter.grad.cpu() for name, parameter in named if parameter.grad is not None}


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's CheckpointHook, safe against a kill while it saves.

    Files are replaced, never rewritten, and an outdated checkpoint (``max_keep_ckpts``, ``save_best``) is removed after
    its successor is on the disk instead of before. What is removed is in the run's own folder, whatever a checkpoint
    that it was resumed from says. Weights that are not finite are not saved. Arguments are those of the parent; with
    ``backend_args`` that name a backend of their own (object stores), that backend decides.

    Raises:
        TrainingError: the weights are not finite.
    """
    _gradients: Optional[List[Optional[dict]]] = None
    _validated: Optional[Tuple[int, int]] = None

    def before_train(self, runner: Runner) -> None:
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)
        resumed = runner.cfg.get('load_from') if runner.iter else None
        own = not runner.iter or self._is_own(runner, resumed)
        info = runner.message_hub.runtime_info
        for key in [key for key in info if key.startswith('best_ckpt')]:
            best = info[key]
            if not (own and isinstance(best, str) and BEST.fullmatch(os.path.basename(best))):
                del info[key]
        steps = info.get('keep_ckpt_ids')
        if steps is not None and not (own and isinstance(steps, list) and all(type(step) is int for step in steps)):
            del info['keep_ckpt_ids']
        super().before_train(runner)
        self.last_ckpt = resumed
        if self.save_best is not None:  # the folder may have been moved since
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = self._in_out_dir(self.best_ckpt_path)
            else:
                self.best_ckpt_path_dict = {
                    key: self._in_out_dir(path)
                    for key, path in self.best_ckpt_path_dict.items()
                }
        if isinstance(self.file_backend, LocalBackend):
            self._set_apart(runner, resumed, own)

    def _is_own(self, runner: Runner, resumed: Optional[str]) -> bool:
        """Whether the checkpoint that the run goes on from lies in the run's own folder."""
        if not resumed:  # a runner built by hand: MMEngine's rules
            return True
        out_dir = runner.work_dir if self.out_dir is None else os.path.join(
            self.out_dir, os.path.basename(str(runner.work_dir).rstrip(os.sep)))
        return '://' not in str(resumed) and Path(resumed).resolve().parent == Path(out_dir).resolve()

    def _in_out_dir(self, path: Optional[str]) -> Optional[str]:
        return None if path is None else self.file_backend.join_path(self.out_dir, os.path.basename(path))

    @master_only
    def _set_apart(self, runner: Runner, resumed: Optional[str], own: bool) -> None:
        """Note which checkpoints are not this run's: a kill before its first one must not lead back to them."""
        if runner.iter and not resumed:
            return
        folder = Path(self.out_dir)
        step = _step_of(Path(resumed).name, self.filename_tmpl) if resumed and own else None
        found = [path for path in folder.glob('*.pth') if _step_of(path.name, self.filename_tmpl) is not None]
        apart = [path for path in found if step is None or _step_of(path.name, self.filename_tmpl) > step]
        if apart or (folder / APART).exists():
            write_atomically(folder / APART, json.dumps([_mark(path) for path in apart]).encode())
        if resumed:
            _point_at(runner, resumed)
        else:
            (Path(runner.work_dir) / LAST).unlink(missing_ok=True)

    @master_only
    def _remove_leftovers(self) -> None:
        """Remove what a killed run was writing."""
        for leftover in Path(self.out_dir).glob(TEMPORARY.format('*')):
            leftover.unlink()

    @master_only
    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # sharded checkpoints are folders
            self.file_backend.rmtree(path)

    def _check_finite(self, runner: Runner) -> None:
        """Raise if a weight is not finite: such a checkpoint is good for nothing."""
        for name, value in inner_model(runner.model).state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                last = f'; the last finite checkpoint is {self.last_ckpt}' if self.last_ckpt else ''
                raise TrainingError(
                    f'the weights are no longer finite ({name}), so no checkpoint is saved at epoch '
                    f'{runner.epoch + 1}, iteration {runner.iter + 1}{last}. Lower the learning rate, '
                    f'lengthen the warm-up, or clip gradients: optim_wrapper.clip_grad=dict(max_norm=1)')

    # MMEngine removes the outdated checkpoint before it saves, and rewrites last_checkpoint in place, in this method
    # alone; no public one lies between saving and removing.
    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._check_finite(runner)
        self._gradients = _gather(pending_gradients(runner))
        outdated = None
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            # The outdated one still exists: listed, it is removed at the next start if a kill comes first.
            on_disk = [*([] if outdated is None else [outdated]), *self.keep_ckpt_ids]
            runner.message_hub.update_info('keep_ckpt_ids', on_disk)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if isinstance(self.file_backend, LocalBackend):
            self._remove_leftovers()
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args)
        self._gradients = None
        _point_at(runner, self.last_ckpt)
        if outdated is not None:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._gradients is not None and 'optimizer' in checkpoint:
            checkpoint[GRADIENTS] = self._gradients

    def after_val_epoch(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        """Save the best, unless :class:`SaveBestHook` has done so for this validation."""
        if self._validated != (runner.epoch, runner.iter):
            super().after_val_epoch(runner, metrics)

    def save_best_now(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        """What :meth:`after_val_epoch` does, earlier."""
        super().after_val_epoch(runner, metrics)
        self._validated = runner.epoch, runner.iter

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        """As the parent's, but the last best checkpoint goes when the new one and what points at it are there."""
        if not self.save_best:
            return
        several = len(self.key_indicators) > 1
        before = dict(self.best_ckpt_path_dict) if several else {None: self.best_ckpt_path}
        if several:
            self.best_ckpt_path_dict = dict.fromkeys(before)
        else:
            self.best_ckpt_path = None
        super()._save_best_checkpoint(runner, metrics)
        for key, path in before.items():
            now = self.best_ckpt_path_dict[key] if several else self.best_ckpt_path
            if now is None:  # no better one
                if several:
                    self.best_ckpt_path_dict[key] = path
                else:
                    self.best_ckpt_path = path
            elif path is not None and path != now:
                self._remove(path)


@master_only
def _point_at(runner: Runner, checkpoint: str) -> None:
    """Name the checkpoint that a resumed run goes on from; an address in an object store as it is."""
    text = checkpoint if '://' in checkpoint else os.path.abspath(checkpoint)
    write_atomically(Path(runner.work_dir) / LAST, text.encode())


def _gather(gradients: Optional[dict]) -> Optional[List[Optional[dict]]]:
    """The gradients of all processes, in the first one; None where there are none."""
    if gradients is None or get_world_size() == 1:
        return None if gradients is None else [gradients]
    gathered = [None] * get_world_size() if is_main_process() else None
    torch_dist.gather_object(gradients, gathered)
    return gathered


@HOOKS.register_module()
class SaveBestHook(Hook):
    """Has the best checkpoint saved before schedulers and early stopping hear of the validation.

    So every checkpoint is of the time before its epoch's validation, also one that is saved again after it; a resumed
    run then validates first (:class:`ResumeHook`), and each of them hears of each validation once.
    """
    priority = 'BELOW_NORMAL'  # after EMAHook has given the weights back, before ParamSchedulerHook

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and metrics is not None:
                hook.save_best_now(runner, metrics)


def _step_of(name: str, template: str) -> Optional[int]:
    """The number in a checkpoint's file name; None where the name is not one by this template."""
    pattern, fields = '', 0
    for literal, field, *_ in string.Formatter().parse(template):
        pattern += re.escape(literal)
        if field is not None:
            pattern, fields = pattern + (r'0*(\d+)' if not fields else r'0*\1'), fields + 1
    match = re.fullmatch(pattern, name)
    return int(match[1]) if match and fields else None


def _mark(path: Path) -> List[Any]:
    """What tells whether a file is still the same."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _apart(folder: Path) -> List[List[Any]]:
    try:
        marks = json.loads((folder / APART).read_text())
    except (OSError, ValueError):
        return []
    return marks if isinstance(marks, list) else []


def newest_checkpoint(work_dir: Union[str, Path],
                      filename_tmpl: Optional[str] = None,
                      read: Callable[[str], dict] = read_checkpoint) -> Tuple[Optional[str], List[str]]:
    """The newest checkpoint of a work directory that can be read.

    ``last_checkpoint`` says how far the last run came. One saved after it was written is newer still (a kill came in
    between); those with a higher number that are older belong to a run before, and come last, or not at all where the
    run has set them apart when it began. Where ``last_checkpoint`` names a file elsewhere (the hook's ``out_dir``, or
    what the run was resumed from), that folder is searched too.

    Args:
        work_dir: the work directory.
        filename_tmpl: of the checkpoints' names, as the hook has it. Defaults to None: MMEngine's names.
        read: reads one, or raises ``CheckpointError``.

    Returns:
        tuple: the path, or None if there is no checkpoint, and one line for each newer one that cannot be read.
    """
    templates = TEMPLATES if filename_tmpl is None else (filename_tmpl, )
    folders, last_template, last_step, last_time = [Path(work_dir)], templates[0], float('inf'), 0
    last = folders[0] / LAST
    text = last.read_text(errors='replace').strip() if last.is_file() else ''
    if text and '\n' not in text and '\0' not in text:
        named, last_time = Path(text), last.stat().st_mtime_ns
        for template in templates:
            if _step_of(named.name, template) is not None:
                last_template, last_step = template, _step_of(named.name, template)
        elsewhere = last_step != float('inf') and not (folders[0] / named.name).is_file()
        if elsewhere and named.parent != Path() and named.parent.is_dir():
            folders.append(named.parent)
    found = {}
    for folder in folders:
        apart = _apart(folder) if folder == folders[0] else []
        for path in folder.glob('*.pth'):
            for template in templates:
                step = _step_of(path.name, template)
                if step is None or not path.is_file() or _mark(path) in apart:
                    continue
                newer = path.stat().st_mtime_ns > last_time
                same_run = template == last_template and (step <= last_step or newer)
                found[path.resolve()] = (same_run, step)
    broken = []
    for path in sorted(found, key=found.get, reverse=True):
        try:
            read(str(path))
        except CheckpointError as error:
            broken.append(str(error))
        else:
            return str(path), broken
    return None, broken
