"""The table that the shared tests run over: one case for every row of the catalogue."""
from mmengine.registry import MODELS

from mmbackbones.catalogue import load_catalogue

ROWS = {row.name: row for row in load_catalogue()}

# Above this many parameters a network is tested on the meta device alone, for memory and time.
LARGE = 100e6

# The row of each class that is cheapest for images of one size: for properties that do not depend on depth or width.
SMALLEST = {}
for _row in sorted(ROWS.values(), key=lambda row: row.macs / row.input_size**2):
    SMALLEST.setdefault(_row.config['type'], _row.name)
SMALLEST = tuple(SMALLEST.values())

# Where the cheapest row of a class is so large that building it takes most of a test: a smaller form of the same class.
SHRUNK = {
    'vit_b16': dict(arch=dict(embed_dims=96, depth=8, num_heads=3)),
}


def build(name: str, **kwargs):
    """The backbone of a catalogue row, with other arguments added or replaced."""
    return MODELS.build({**ROWS[name].config, **kwargs})


def build_small(name: str, **kwargs):
    """For :data:`SMALLEST`: the backbone of a row, or the smaller form of its class in :data:`SHRUNK`."""
    return build(name, **{**SHRUNK.get(name, {}), **kwargs})
