"""Backbones x detectors: a few pairs in every run, all of them by ``make exhaustive``."""
import pytest
from matrix import BACKBONES, COMMON, DETECTORS, REFUSED, smallest_of_each_family, train_and_infer

from mmbackbones.swap import SwapError

pytestmark = pytest.mark.usefixtures('quiet')

FAMILIES = smallest_of_each_family()

# each detector once, and backbones of every kind: with and without a map at stride 32, of each library
OFTEN = {(detector, BACKBONES[-1 - index % 2]) for index, detector in enumerate(DETECTORS)}
OFTEN |= {('Faster R-CNN', 'shufflenet_v2_x0_5'), ('Mask R-CNN', 'pvtv2_b0'), ('RetinaNet', 'swin_t'),
          ('YOLOv3', 'shufflenet_v1_x0_5_g3'), ('YOLOv3', 'dogenet26')}
EVERY = [(detector, name) for name in FAMILIES for detector in COMMON]
EVERY += [(detector, name) for detector in DETECTORS for name in BACKBONES]


@pytest.mark.slow
@pytest.mark.parametrize('detector, name', [
    pytest.param(*pair, marks=() if pair in OFTEN else pytest.mark.exhaustive, id=f'{pair[0]}-{pair[1]}')
    for pair in EVERY
])
def test_a_swapped_detector_trains_and_infers(detector, name):
    if (detector, name) in REFUSED:
        with pytest.raises(SwapError, match=REFUSED[detector, name]):
            train_and_infer(detector, name)
    else:
        train_and_infer(detector, name)
