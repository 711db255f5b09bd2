"""The short form of each campaign of benchmarks/reliability; `make campaign` runs the long one."""
import os
import subprocess
import sys

import pytest
from helpers import ROOT

# cases that take about half a minute each
COUNTS = dict(files=60, weights=20, data=40, options=20, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize('name', COUNTS)
def test_a_short_campaign_ends_as_promised(name):
    env = dict(os.environ, OMP_NUM_THREADS='1', MMBACKBONES_DATA='')
    command = [sys.executable, ROOT / 'benchmarks' / 'reliability' / f'{name}.py', '--count', str(COUNTS[name])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f'{COUNTS[name]} cases, 0 not ok' in done.stdout
