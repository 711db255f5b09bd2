"""The version check at import."""
import subprocess
import sys
from importlib import metadata

import pytest

from mmbackbones import compat

GOOD = {'torch': '2.11.0+cu130', 'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1'}
OLD = {'torch': '2.4.1', 'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0', 'mmpretrain': '1.2.0'}


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Put distributions of these versions where Python looks for modules, and nothing else of the stack."""

    def install(versions):
        for name, version in versions.items():
            (tmp_path / f'{name.replace("-", "_")}-{version}.dist-info').mkdir()
        monkeypatch.setattr(sys, 'path', [str(tmp_path), '/nowhere'])

    return install


@pytest.mark.parametrize('versions', [GOOD, OLD, {}], ids=['maintained', 'older', 'none'])
def test_accepts_either_line_and_an_empty_environment(installed, versions):
    installed(versions)
    compat.check_versions()


@pytest.mark.parametrize('versions, message', [
    ({**GOOD, 'torch': '2.3.1'}, r"torch 2.3.1 is installed; mmbackbones works with >=2.4,<.*pip install 'torch>=2.4"),
    ({**GOOD, 'onedl-mmcv': '3.0.0'}, 'onedl-mmcv 3.0.0 is installed'),
    ({**GOOD, 'mmcv': '2.1.0'}, 'onedl-mmcv 2.3.6 and mmcv 2.1.0 are both installed'),
])  # yapf: disable
def test_says_what_is_wrong_and_how_to_mend_it(installed, versions, message):
    installed(versions)
    with pytest.raises(ImportError, match=message):
        compat.check_versions()


def test_an_editable_installation_of_old_is_seen(monkeypatch, tmp_path):
    (tmp_path / 'mmcv.egg-info').mkdir()
    (tmp_path / 'mmcv.egg-info' / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 1.7.0\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    with pytest.raises(ImportError, match='mmcv 1.7.0 is installed'):
        compat.check_versions()


def test_versions_are_those_of_the_metadata():
    found = dict(pair for pairs in compat.installed_stack().values() for pair in pairs)
    assert found and found == {name: metadata.version(name) for name in found}


def test_importing_the_package_loads_no_metadata():
    code = 'import sys, mmbackbones; sys.exit("importlib.metadata" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_other_pythons_are_refused(installed, monkeypatch):
    installed(GOOD)
    monkeypatch.setattr(sys, 'version_info', (3, 9, 1))
    with pytest.raises(ImportError, match=r'Python 3.10 to 3.12; this is Python 3.9'):
        compat.check_versions()


def test_importing_the_package_or_its_catalogue_loads_no_torch():
    code = ('import sys, mmbackbones.cli; mmbackbones.cli.main(["list"]); '
            'sys.exit(any(name.split(".")[0] in ("torch", "mmengine") for name in sys.modules))')
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL).returncode == 0
