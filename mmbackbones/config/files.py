"""Config files: found by path or name, named after what is in them, and written in the project's style."""
import inspect
import os
import re
import sys
import textwrap
import traceback
from pathlib import Path
from typing import List, Sequence

from mmengine.config import Config

from ..catalogue import load_catalogue
from ..errors import one_line
from ..files import write_atomically
from ..messages import listed, near_names
from .edit import SwapError
from .meta_run import package_configs

__all__ = ['default_output', 'inherited_name', 'last_checkpoint', 'load_config', 'write_config']

SUFFIXES = ('.py', '.yaml', '.yml', '.json')
YAPF_STYLE = dict(
    based_on_style='pep8',
    column_limit=120,
    blank_line_before_nested_class_or_def=True,
    split_before_expression_after_opening_paren=True)

# how file names of MMDetection and MMPretrain call their backbones
BACKBONE_PART = re.compile(r'(?<=[_-])(?:[rxsdv]|hg)\d{2,3}(?:-\d+x\d+d|-caffe|-dconv|-dcnv2)*(?=[_.-]|$)|'
                           r'(?<=[_-])(?:res2net|regnet|mobilenet-?v\d|swin|pvt|convnext|efficientnet|hrnet|vgg)'
                           r'[-\w.]*?(?=_|$)')


def _missing(name: str, package: str, inner: str, path: Path) -> FileNotFoundError:
    root = package_configs(package) if package else next(part for part in path.parents if part.is_dir())
    known = {file.relative_to(root).as_posix() for file in root.glob('**/*.py' if package else '*.py')}
    wanted = inner if package else path.name
    by_stem = [file for file in sorted(known) if Path(file).name == Path(wanted).name]
    near = by_stem or near_names(wanted, sorted(known))
    prefix = f'{package}::' if package else f'{root.as_posix()}/' if str(root) != '.' else ''
    hint = f'did you mean {listed(f"{prefix}{file}" for file in near)}?' if near else (
        "give a path, or a name like 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    return FileNotFoundError(f'no config {name!r}; {hint}')


def load_config(name: str, lazy: bool = False) -> Config:
    """Read a config from a path, or from an installed package as ``mmdet::folder/file.py``.

    Args:
        name: the path or name.
        lazy: take MMEngine's new style (``with read_base():``), too.

    Raises:
        FileNotFoundError: there is none; it lists the nearest ones.
        SwapError: it is no Python, it is written in MMEngine's new style, which no file can inherit by name, or what it
            inherits itself is not there.
    """
    package, _, inner = name.rpartition('::')
    path = package_configs(package) / inner if package else Path(name)
    if path.is_dir():
        raise SwapError(f'{name} is a folder; expected the file of a config')
    if not path.is_file():
        raise _missing(name, package, inner, path)
    if path.suffix not in SUFFIXES:
        raise SwapError(f'{name} is no config: expected a name that ends in {", ".join(SUFFIXES)}')
    try:
        if path.suffix == '.py' and Config._is_lazy_import(str(path)) and not lazy:
            raise SwapError(
                f"{name} is in MMEngine's new style, which no config can inherit by name; take the one under "
                f'.mim/configs, as mmdet::FOLDER/FILE.py')
        return Config.fromfile(path)
    except SwapError:
        raise
    except (Exception, SystemExit) as error:  # a config is a program, and may raise anything
        raise SwapError(_unreadable(name, path, error)) from error


def _unreadable(name: str, path: Path, error: BaseException) -> str:
    """Why a config cannot be read, in one sentence that names the file and, where it is known, the line."""
    file, line, read = name, None, {name}
    for frame, number in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_filename == inspect.getfile(Config):
            inner = frame.f_locals.get('filename')  # the file that MMEngine is at
            if isinstance(inner, str) and inner.endswith(SUFFIXES) and os.path.isfile(inner):
                file = name if os.path.samefile(inner, path) else inner
                read.add(os.path.realpath(inner))
        elif code.co_name == '<module>' and os.path.realpath(code.co_filename) in read:
            line = number
    if isinstance(error, RecursionError) and len(read) < sys.getrecursionlimit() // 10:
        return f'{name} inherits itself, directly or through others: look at _base_ in {", ".join(sorted(read))}'
    if isinstance(error, UnicodeDecodeError):
        return f'{file} is not in UTF-8 (byte {error.start}): save it so'
    if isinstance(error, SyntaxError):
        return f'{file} is no valid Python: {error.msg}' + (f' (line {error.lineno})' if error.lineno else '')
    if line is not None:
        return f'{file} raises {type(error).__name__} in line {line}: {one_line(error)}'
    if isinstance(error, FileNotFoundError):
        return f'{file} inherits what is not there: {one_line(error)}; look at its _base_'
    if isinstance(error, ImportError):
        return f'{file}: custom_imports: {one_line(error.__cause__ or error)}; PYTHONPATH must hold the folder'
    said = f'{type(error).__name__}: {one_line(error)}'
    return f'{name} cannot be read as a config: {said}' if file == name else \
        f'{name} inherits what MMEngine cannot read, {file}: {said}'


def inherited_name(config: str, target: Path) -> str:
    """What ``_base_`` of the file ``target`` must say to inherit a config given by path or name."""
    package, _, inner = config.rpartition('::')
    if not package:
        return Path(os.path.relpath(config, target.parent)).as_posix()
    if re.match(r'\w*/\w*', inner):
        return config
    # MMEngine takes folders of letters, digits and underscores alone: gn+ws is reached through another one
    return f'{package}::_base_/../{inner}'


def default_output(config: str, name: str) -> str:
    """File name of the new config: that of the old one with the backbone's part replaced, or appended."""
    name = re.sub(r'\W', '_', name.rpartition(':')[2])
    stem = Path(config.rpartition('::')[2]).stem
    for row in sorted(load_catalogue(), key=lambda row: -len(row.name)):
        if stem.endswith(f'_{row.name}') or f'_{row.name}_' in stem:
            return stem.replace(f'_{row.name}', f'_{name}', 1) + '.py'
    replaced, count = BACKBONE_PART.subn(name, stem, count=1)
    return (replaced if count else f'{stem}_{name}') + '.py'


def last_checkpoint(cfg: Config) -> str:
    """File name of the checkpoint that is there when a training by this config ends."""
    loop = cfg.get('train_cfg') or {}
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    by_epoch = hook.get('by_epoch', True) and 'max_epochs' in loop
    template = hook.get('filename_tmpl') or ('epoch_{}.pth' if by_epoch else 'iter_{}.pth')
    return template.format(loop.get('max_epochs' if by_epoch else 'max_iters', 'N'))


def write_config(target: Path, base: str, comments: Sequence[str], lines: List[str]) -> None:
    """Write a config: comments, what it inherits, and what it says itself; the same input gives the same bytes."""
    from yapf.yapflib.yapf_api import FormatCode
    comment = '\n'.join(
        '\n'.join(textwrap.wrap(line, 118, initial_indent='# ', subsequent_indent='#   ', break_long_words=False))
        or '#' for line in comments)
    code, _ = FormatCode('\n'.join([f'_base_ = {base!r}', '', *lines, '']), style_config=dict(YAPF_STYLE))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, f'{comment}\n{code}'.encode())
