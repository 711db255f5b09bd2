"""Config files: found by path or name, named after what is in them, and written in the project's style."""
import difflib
import os
import re
import textwrap
from pathlib import Path
from typing import List, Sequence

from mmengine.config import Config

from .catalogue import load_catalogue
from .files import write_atomically
from .follow import package_configs
from .plan import SwapError

__all__ = ['default_output', 'inherited_name', 'last_checkpoint', 'load_config', 'write_config']

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
    near = by_stem or difflib.get_close_matches(wanted, sorted(known), n=4, cutoff=0.5)
    prefix = f'{package}::' if package else f'{root.as_posix()}/' if str(root) != '.' else ''
    hint = 'did you mean ' + ', '.join(f'{prefix}{file}' for file in near) + '?' if near else (
        "give a path, or a name like 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    return FileNotFoundError(f'no config {name!r}; {hint}')


def load_config(name: str) -> Config:
    """Read a config from a path, or from an installed package as ``mmdet::folder/file.py``.

    Raises:
        FileNotFoundError: there is none; it lists the nearest ones.
        SwapError: it is no Python, it is written in MMEngine's new style, which no file can inherit by name, or what it
            inherits itself is not there.
    """
    package, _, inner = name.rpartition('::')
    path = package_configs(package) / inner if package else Path(name)
    if not path.is_file():
        raise _missing(name, package, inner, path)
    try:
        if Config._is_lazy_import(str(path)):
            raise SwapError(
                f"{name} is in MMEngine's new style, which no config can inherit by name; take the one under "
                f'.mim/configs, as mmdet::FOLDER/FILE.py')
        return Config.fromfile(path)
    except SyntaxError as error:
        raise SwapError(f'{name} is no valid Python: {error}') from error
    except (FileNotFoundError, RuntimeError) as error:  # not there, or of MMEngine's new style
        raise SwapError(f'{name} inherits what MMEngine cannot read: {error}') from error


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
