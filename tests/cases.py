"""The table that the shared tests run over: one case for every row of the catalogue that can be built."""
import pytest
from mmengine.registry import MODELS

from mmbackbones.catalogue import load_catalogue
from mmbackbones.models.dynamic_resnet import BasicBlock

ROWS = {row.name: row for row in load_catalogue() if row.config}

# Above this many parameters a network is tested on the meta device alone, for memory and time.
LARGE = 100e6


def _cheapest(key) -> dict:
    """The name of the row that is cheapest for images of one size, for each value of ``key(row)``."""
    names = {}
    for row in sorted(ROWS.values(), key=lambda row: row.macs / row.input_size**2):
        names.setdefault(key(row), row.name)
    return names


# The row of each class that is cheapest: for properties that do not depend on depth or width.
SMALLEST = tuple(_cheapest(lambda row: row.config['type']).values())

# Libraries bring networks that share nothing but a wrapper: there, the cheapest row of each family as well.
FAMILIES = tuple(dict.fromkeys(SMALLEST + tuple(_cheapest(lambda row: (row.config['type'], row.family)).values())))

# Rows that are trained on real tensors: ours but for those that are only deeper or wider, of the libraries one of each
# family.
TRAINED = tuple(name for name, row in ROWS.items()
                if row.implementation == 'native' and row.params < 30e6 or name in FAMILIES)


def with_libraries(names) -> list:
    """Rows as parameters of a test. Those of other libraries beyond one of each wrapper are for `make exhaustive`."""
    return [
        name if ROWS[name].implementation == 'native' or name in SMALLEST else pytest.param(
            name, marks=pytest.mark.exhaustive) for name in names
    ]


# Where the cheapest row of a class is so large that building it takes most of a test: a smaller form of the same class.
_TINY_VIT = dict(arch=dict(embed_dims=96, depth=8, num_heads=3))
_ONE_BLOCK_A_STAGE = dict(kernel_num=2, depth=dict(block=BasicBlock, depths=(1, 1, 1, 1)))
SHRUNK = {
    'dyconv4x_r18': _ONE_BLOCK_A_STAGE,
    'condconv8x_r18': _ONE_BLOCK_A_STAGE,
    'vit_b32': _TINY_VIT,
    'deit_s16': _TINY_VIT,
    'nfnet_f5': dict(model_name='dm_nfnet_f0'),
}


def build(name: str, **kwargs):
    """The backbone of a catalogue row, with other arguments added or replaced."""
    return MODELS.build({**ROWS[name].config, **kwargs})


def build_small(name: str, **kwargs):
    """For :data:`SMALLEST` and :data:`FAMILIES`: the backbone of a row, or the smaller form in :data:`SHRUNK`."""
    return build(name, **{**SHRUNK.get(name, {}), **kwargs})


# Row -> a form of few blocks and channels: networks of which one exported or compiled graph serves every image size.
# The window of Swin is so large that the second map is one window for some images and several for others.
ONE_GRAPH = {
    'odconv_r18':
    dict(depth=dict(MODELS.get('mmbackbones.ODConvResNet').arch_settings[18], depths=(1, 1, 1, 1)), out_indices=(0, 1)),
    'swin_t':
    dict(arch=dict(embed_dims=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2)), window_size=14, out_indices=(0, 1)),
    'pvt_s':
    dict(
        arch=dict(
            embed_dims=(8, 16, 16, 16),
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 2, 2),
            mlp_ratios=(2, 2, 2, 2),
            sr_ratios=(8, 4, 2, 1)),
        out_indices=(0, 1)),
    'dsnet_t':
    dict(arch=dict(embed_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)), out_indices=(0, 1)),
    'conv2former_n':
    dict(arch=dict(form='paper', embed_dims=8, depths=(1, 1, 1, 1), kernel_size=7, mlp_ratio=2), out_indices=(0, 1)),
    'dogenet26':
    dict(arch=dict(depths=(1, 1, 1, 1), attention='full', attention_stages=(2, 3))),
    'coatnet0':
    dict(arch=dict(stem_channels=8, embed_dims=(8, 16, 32, 32), depths=(1, 1, 1, 1))),
    'botnet50':
    dict(arch=dict(depths=(1, 1, 1, 1), attention_stages=(3, ), position='relative')),
    'vit_b16':
    dict(arch=dict(embed_dims=48, depth=4, num_heads=3)),
}
