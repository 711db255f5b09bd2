"""Checkpoints that a kill at any moment leaves whole, and the choice of the one to resume from."""
import os
import re
from pathlib import Path
from typing import List, Optional, Tuple, Union

from mmengine.dist import master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as _CheckpointHook

from ..files import TEMPORARY, write_atomically
from ..registry import HOOKS
from ..weights import CheckpointError, read_checkpoint

__all__ = ['CheckpointHook', 'newest_checkpoint']

BACKEND = 'mmbackbones.atomic'
LAST = 'last_checkpoint'
NAME = r'(epoch|iter)_(\d+)\.pth'


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """MMEngine's backend of local files, with an atomic ``put``."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        os.makedirs(os.path.dirname(filepath) or '.', exist_ok=True)
        write_atomically(filepath, obj)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's CheckpointHook, safe against a kill while it saves.

    Files are replaced, never rewritten, and an outdated checkpoint (``max_keep_ckpts``) is removed after its successor
    is on the disk instead of before. Arguments are those of the parent; with ``backend_args`` that name a backend of
    their own (object stores), that backend decides.
    """

    def before_train(self, runner) -> None:
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)

    @master_only
    def _remove_leftovers(self) -> None:
        """Remove what a killed run was writing."""
        for leftover in Path(self.out_dir).glob(TEMPORARY.format('*')):
            leftover.unlink()

    @master_only
    def _remove(self, step: int) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # sharded checkpoints are folders
            self.file_backend.rmtree(path)

    @master_only
    def _point_at_last(self, runner) -> None:
        write_atomically(Path(runner.work_dir) / LAST, self.last_ckpt.encode())

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
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
        self._point_at_last(runner)
        if outdated is not None:
            self._remove(outdated)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))


def newest_checkpoint(work_dir: Union[str, Path]) -> Tuple[Optional[str], List[str]]:
    """The newest checkpoint of a work directory that can be read.

    ``last_checkpoint`` says how far the last run came. One saved after it was written is newer still (a kill came in
    between); those with a higher number that are older belong to a run before, and come last. Where the hook was told
    to save elsewhere (``out_dir``), that folder is searched too.

    Args:
        work_dir: the work directory.

    Returns:
        tuple: the path, or None if there is no checkpoint, and one line for each newer one that cannot be read.
    """
    folders, last_kind, last_step, last_time = [Path(work_dir)], 'epoch', float('inf'), 0
    last = folders[0] / LAST
    if last.is_file():
        named, last_time = Path(last.read_text().strip()), last.stat().st_mtime_ns
        match = re.fullmatch(NAME, named.name)
        if match:
            last_kind, last_step = match[1], int(match[2])
        if not (folders[0] / named.name).is_file() and named.parent.is_dir():
            folders.append(named.parent)
    found = {}
    for folder in folders:
        for path in folder.glob('*.pth'):
            match = re.fullmatch(NAME, path.name)
            if match:
                step, newer = int(match[2]), path.stat().st_mtime_ns > last_time
                same_run = match[1] == last_kind and (step <= last_step or newer)
                found[path.resolve()] = (same_run, step)
    broken = []
    for path in sorted(found, key=found.get, reverse=True):
        try:
            read_checkpoint(str(path))
        except CheckpointError as error:
            broken.append(str(error))
        else:
            return str(path), broken
    return None, broken
