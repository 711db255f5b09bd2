"""Files are whole at any moment, and only files are ever replaced."""
import os
import resource
import stat
from pathlib import Path

import pytest
from helpers import ROOT

from mmbackbones.cli import main
from mmbackbones.files import check_target, write_atomically


@pytest.fixture
def forked(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'benchmarks' / 'reliability')
    from common import forked
    return forked


def test_a_file_keeps_its_mode_and_a_link_its_place(tmp_path):
    target, link = tmp_path / 'file', tmp_path / 'link'
    link.symlink_to(target)
    write_atomically(link, b'one')
    target.chmod(0o640)
    write_atomically(link, lambda file: file.write(b'two'))
    assert target.read_bytes() == b'two' and link.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'link'}


SPECIAL = {
    'a device': (lambda path: path.symlink_to('/dev/full'), FileExistsError, 'no regular file'),
    'a pipe': (os.mkfifo, FileExistsError, 'no regular file'),
    'a folder': (Path.mkdir, FileExistsError, 'no regular file'),
    'a link to another folder': (lambda path: path.symlink_to('nowhere/x'), FileNotFoundError, 'no folder .*nowhere'),
}


@pytest.mark.parametrize('case', SPECIAL)
def test_what_is_no_file_is_left_alone(case, tmp_path):
    make, error, message = SPECIAL[case]
    make(tmp_path / 'x')
    before = os.lstat(tmp_path / 'x')
    for write in (check_target, lambda path: write_atomically(path, b'new')):
        with pytest.raises(error, match=message):
            write(tmp_path / 'x')
    assert os.lstat(tmp_path / 'x').st_ino == before.st_ino and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('fails', ['the disk', 'the writer'])
def test_a_write_that_fails_keeps_the_old_and_leaves_nothing(fails, tmp_path, forked):
    (tmp_path / 'x').write_bytes(b'old')

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomically(tmp_path / 'x', bytes(5000) if fails == 'the disk' else lambda file: file.nothing)
        except (OSError, AttributeError) as error:
            print(error)

    result = forked(write)
    assert result.status == 0 and (fails == 'the writer' or str(tmp_path / 'x') in result.output), result.output
    assert (tmp_path / 'x').read_bytes() == b'old' and len(list(tmp_path.iterdir())) == 1


def test_processes_that_write_the_same_file_never_leave_half_of_one(tmp_path, forked):
    target, contents = tmp_path / 'x', [bytes([index]) * 100_000 for index in range(3)]
    write_atomically(target, contents[0])

    def write_and_read():
        children = []
        for content in contents:
            child = os.fork()
            if not child:
                for _ in range(40):
                    write_atomically(target, content)
                    assert target.read_bytes() in contents
                os._exit(0)
            children.append(child)
        return max(os.waitpid(child, 0)[1] for child in children)

    result = forked(write_and_read)
    assert result.status == 0, result.output
    assert target.read_bytes() in contents and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('target', ['/dev/full', '/dev/null', 'pipe', 'folder', 'nowhere/x.pth'])
def test_convert_replaces_nothing_but_files(target, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    Path('folder').mkdir()
    before = [os.lstat(each) for each in (*tmp_path.iterdir(), '/dev/full', '/dev/null')]
    assert main(['convert', 'odconv_mobilenetv2_050', 'theirs.pth', target, '--force']) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and target in said and ('no regular file' in said or 'no folder' in said)
    after = [os.lstat(each) for each in (*tmp_path.iterdir(), '/dev/full', '/dev/null')]
    assert [(each.st_ino, each.st_mode) for each in after] == [(each.st_ino, each.st_mode) for each in before]
