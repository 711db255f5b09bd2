"""What a check found is kept, so that the next start does not read all files again."""
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Iterable, Optional

from ..files import write_atomically
from .findings import Findings

__all__ = ['file_hash', 'look_up', 'store']

CACHE_VARIABLE = 'MMBACKBONES_CACHE'  # a folder; without it, the user's cache folder
VERSION = 1  # of the checks: findings of another are not believed


def file_hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _place(key: Any) -> Path:
    own, users = os.environ.get(CACHE_VARIABLE), os.environ.get('XDG_CACHE_HOME')
    root = Path(own) if own else (Path(users) if users else Path.home() / '.cache') / 'mmbackbones'
    name = hashlib.sha256(json.dumps([VERSION, key], sort_keys=True).encode()).hexdigest()[:32]
    return root / 'data' / f'{name}.json'


def _listing(folders: Iterable[str]) -> str:
    """One number for names, sizes and times of all files in some folders."""
    digest = hashlib.sha256()
    for folder in sorted(folders):
        with os.scandir(folder or '.') as entries:
            stats = []
            for entry in entries:
                try:
                    status = entry.stat()
                    stats.append(f'{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_mode}')
                except OSError:  # a link to nothing
                    stats.append(f'{entry.name}\0')
        digest.update('\1'.join([folder, *sorted(stats)]).encode(errors='surrogateescape'))
    return digest.hexdigest()


def look_up(key: Any) -> Optional[Findings]:
    """Findings of an earlier check of the same files.

    Args:
        key: what else they depend on, as JSON has it.
    """
    try:
        content = json.loads(_place(key).read_bytes())
        findings = Findings.from_dict(content['findings'])
        return findings if content['listing'] == _listing(findings.folders) else None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):  # RuntimeError: there is no home
        return None


def store(key: Any, findings: Findings) -> None:
    """Keep findings; where nothing can be written, nothing is kept."""
    try:
        path = _place(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = dict(listing=_listing(findings.folders), findings=findings.as_dict())
        write_atomically(path, json.dumps(content).encode())
    except (OSError, RuntimeError):
        return
