"""The short form of each campaign of benchmarks/reliability; `make campaign` runs the long one."""
import datetime
import runpy
import sys

import pytest
from helpers import ROOT

FOLDER = ROOT / 'benchmarks' / 'reliability'

# cases that take about a quarter of a minute each; the seed of the kills, a kind of training each day in turn, moves on
TODAY = datetime.date.today().toordinal()
CAMPAIGNS = dict(files=(40, 0), weights=(16, 0), data=(30, 0), options=(14, 0), kills=(2, TODAY))


@pytest.mark.slow
@pytest.mark.parametrize('name', CAMPAIGNS)
def test_a_short_campaign_ends_as_promised(name, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv('MMBACKBONES_DATA', '')
    from common import forked
    count, seed = CAMPAIGNS[name]
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--count', str(count), '--seed', str(seed)])
    # a child has what this process has imported, and takes nothing of it along
    done = forked(lambda: runpy.run_path(str(FOLDER / f'{name}.py'), run_name='__main__') and None, timeout=600)
    assert done.status == 0, done.output[-3000:]
    assert f'{count} cases, 0 not ok' in done.output
