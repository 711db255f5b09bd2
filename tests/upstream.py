"""The authors' checkpoints by name and shape, filled with numbers that need no random generator.

``golden/keys/FAMILY.txt`` lists ``name shape`` of the authors' state dict; ``golden/FAMILY.json`` holds the shape of
an input and mean, standard deviation and largest magnitude of every stage that their code gave on
``seeded_tensor('input', shape)`` with :func:`seeded_tensor` weights, in float64, in evaluation.
"""
import json
import zlib
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / 'golden'

# archs that keep the checkpoints small
_SWIN = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))
_PVT = dict(embed_dims=(16, 32, 80, 128), depths=(2, 1, 2, 1), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4))
_DSNET = dict(embed_dims=(16, 32, 64, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4))
_CONV2FORMER = dict(form='paper', embed_dims=16, depths=(1, 1, 2, 1), kernel_size=7, mlp_ratio=4)
_COATNET = dict(stem_channels=32, embed_dims=(32, 64, 96, 128), depths=(1, 2, 2, 1))
_VIT = dict(embed_dims=64, depth=4, num_heads=4)

# family -> catalogue row, and arguments, of the backbone that its keys and golden values are for
FAMILIES = {
    'odconv_resnet18':
    dict(name='odconv_r18', kernel_num=2),
    'odconv_resnet50':
    dict(name='odconv4x_r50'),
    'odconv_mobilenetv2':
    dict(name='odconv_mobilenetv2_100', kernel_num=2),
    'swin':
    dict(name='swin_t', arch=_SWIN, window_size=3),
    'pvt':
    dict(name='pvt_t', arch=dict(**_PVT, sr_ratios=(8, 4, 2, 1))),
    'pvt_small':
    dict(name='pvt_s'),
    'pvt_v2':
    dict(name='pvtv2_b0', arch=dict(**_PVT, sr_ratios=(8, 4, 2, 1), pool_size=None)),
    'pvt_v2_li':
    dict(name='pvtv2_b2_li', arch=dict(**_PVT, sr_ratios=(1, 1, 1, 1), pool_size=7)),
    'pvt_v2_b2':
    dict(name='pvtv2_b2'),
    'dsnet':
    dict(name='dsnet_t', arch=_DSNET),
    'dsnet_tiny':
    dict(name='dsnet_t'),
    'conv2former':
    dict(name='conv2former_n', arch=_CONV2FORMER, output_norm=False),
    # founding document 003's code, its three finer maps through a layer norm that has learnt nothing
    'conv2former_cifar':
    dict(name='conv2former_n_cifar', arch=dict(_CONV2FORMER, form='cifar', kernel_size=11, mlp_ratio=2)),
    'coatnet':
    dict(name='coatnet0', arch=_COATNET, img_size=64),
    # trunk: timm's names and values, run without its class token; pyramid: our names, by the formulas of ViTDet
    'vit':
    dict(name='vit_b16', arch=_VIT, img_size=64),
    'botnet':
    dict(name='botnet50_l2', arch=dict(depths=(1, 1, 2, 2), attention_stages=(2, 3), position='absolute')),
    'dogenet':
    dict(name='dogenet26', arch=dict(depths=(1, 1, 1, 2), attention='full', attention_stages=(2, 3))),
    'dogex':
    dict(name='dogex26', arch=dict(depths=(1, 1, 1, 1), attention='reduced', attention_stages=(2, 3))),
    'shibax':
    dict(name='shibax26', arch=dict(depths=(1, 1, 1, 1), attention='separable_product', attention_stages=(2, 3))),
    'shiba':
    dict(name='shiba26', arch=dict(depths=(1, 2, 1, 1), attention='separable_sum', attention_stages=(0, 1, 2, 3))),
}
GOLDEN = [family for family in FAMILIES if (FOLDER / f'{family}.json').exists()]


def seeded_tensor(name: str, shape: tuple) -> torch.Tensor:
    """Float64 values that depend on name and shape alone, of a size that keeps activations in range."""
    if name.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    count = 1
    for size in shape:
        count *= size
    # no period is shared between two tensors
    start, step = zlib.crc32(name.encode()) % 997, 1 + zlib.crc32(name[::-1].encode()) % 89 / 97
    wave = torch.sin(start + step * torch.arange(count, dtype=torch.float64)).view(shape)
    if name.endswith(('running_var', '_variance')):
        return 1 + 0.5 * wave
    if len(shape) < 2:  # norms and biases
        return 0.2 * wave + (1 if name.endswith('weight') else 0)
    fan_in = count // shape[0] if len(shape) < 5 else count // shape[0] // shape[1]
    return wave if name == 'input' else wave * (4 / fan_in)**0.5


def keys(family: str) -> dict:
    """Name -> shape of the state dict that the family's authors save."""
    shapes = {}
    for line in (FOLDER / 'keys' / f'{family}.txt').read_text().splitlines():
        name, shape = line.split()
        shapes[name] = () if shape == 'scalar' else tuple(map(int, shape.split('x')))
    return shapes


def seeded_state_dict(family: str) -> dict:
    """The state dict of the family's authors, filled by :func:`seeded_tensor`."""
    return {name: seeded_tensor(name, shape) for name, shape in keys(family).items()}


def golden(family: str) -> tuple:
    """Input ``(N, 3, H, W)``, and ``[mean, std, largest magnitude]`` of every stage by the authors' code."""
    data = json.loads((FOLDER / f'{family}.json').read_text())
    return seeded_tensor('input', tuple(data['input'])), torch.tensor(data['stages'], dtype=torch.float64)
