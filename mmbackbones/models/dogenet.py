"""DogeNet, DogeX, ShibaX and Shiba: small bottleneck networks whose later stages attend instead of convolving.

Origin: StephenTaylor1998/DogeNet at d46ead6 (core/models, no licence stated: read, not copied), described in founding
document 004; there is no paper. The figures of Shiba belong to commit 614fd1f, which is built here: all four stages
attend, depths 2-3-1-2, and the separable attention is v * (q + k). At d46ead6 it is v * q * k, the first stage
convolves, and Shiba26 has the depths 2-2-2-2.
Different here: no classifier inside; position terms are interpolated, where the authors' are for one image size; at an
odd size the pooling behind a strided attention averages what is left at the border, so that maps are as large as a
strided convolution's; [2, 1, 3, 2] has these depths, where the authors build [2, 3, 1, 2] under that name too.
"""
from typing import Dict, Optional, Sequence, Union

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import Bottleneck, HalvingMean, MapAttention, convert_map_positions, resize_map_positions
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['DogeNet', 'convert_state_dict']


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate in (0, 1) made of the means of all. ``(N, C, H, W)`` -> the same shape.

    Args:
        channels: C; half as many are hidden.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.se1 = nn.Conv2d(channels, channels // 2, 1)
        self.se2 = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.se1(F.adaptive_avg_pool2d(x, 1)))  # (N, C / 2, 1, 1)
        return x * self.se2(gate).sigmoid()


class SeparableAttention(nn.Module):
    """The authors' DSA: each position is weighted by its own query and the keys of its 3x3 neighbours, no softmax.

    The cost is linear in the number of positions. ``(N, C, H, W)`` -> the same shape.

    Args:
        channels: C.
        product: v * q * k instead of v * (q + k).
    """

    def __init__(self, channels: int, product: bool):
        super().__init__()
        self.product = product
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, padding_mode='replicate')
        self.value = nn.Conv2d(channels, channels, 1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        return v * q * k if self.product else v * (q + k)


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the authors' weights onto ours: all but the position tables have their names. Dropped: the classifier."""
    return convert_map_positions({key: value for key, value in state_dict.items() if not key.startswith('fc.')})


@MODELS.register_module()
class DogeNet(BaseBackbone):
    """The DogeNet family; stage i has stride 4, 8, 16, 16: there is no map of stride 32.

    A strided attention block attends at its input's resolution and pools behind it. The cost of ``'full'`` and
    ``'reduced'`` attention grows with the square of the number of positions (at stride 8 in the first one), the memory
    linearly; with the separable kinds both are linear.

    Args:
        arch: a name of the table, or a dict with its keys: ``depths``; ``attention``, one of

            - ``'full'``: softmax attention with position terms;
            - ``'reduced'``: the same with depth-wise convolutions for keys and values (DogeX);
            - ``'separable_product'``, ``'separable_sum'``: :class:`SeparableAttention` (ShibaX, Shiba);

            and ``attention_stages``, the indices of the stages that attend. The others convolve, with squeeze and
            excitation.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms after the convolutions.

    Raises:
        ValueError: unknown ``arch`` or ``attention``.
    """
    # founding document 004, table of the team; channels and strides are those of all
    arch_settings = {
        '26': dict(depths=(2, 3, 1, 2), attention='full', attention_stages=(2, 3)),
        '26_2132': dict(depths=(2, 1, 3, 2), attention='full', attention_stages=(2, 3)),
        '50': dict(depths=(6, 6, 2, 2), attention='full', attention_stages=(2, 3)),
        'dogex26': dict(depths=(2, 3, 1, 2), attention='reduced', attention_stages=(2, 3)),
        'dogex50': dict(depths=(6, 6, 2, 2), attention='reduced', attention_stages=(2, 3)),
        'shibax26': dict(depths=(2, 3, 1, 2), attention='separable_product', attention_stages=(2, 3)),
        'shibax50': dict(depths=(6, 6, 2, 2), attention='separable_product', attention_stages=(2, 3)),
        'shiba26': dict(depths=(2, 3, 1, 2), attention='separable_sum', attention_stages=(0, 1, 2, 3)),
        'shiba50': dict(depths=(6, 6, 2, 2), attention='separable_sum', attention_stages=(0, 1, 2, 3)),
    }
    channels = (32, 48, 96, 128)
    strides = (2, 2, 2, 1)
    num_heads = 4
    # image size in pixels that the position tables are for
    table_image_size = 224
    # kind -> makes the attention from channels and size of the map; given as arguments so that no kind ignores any
    attentions = {
        'full': lambda channels, heads, size: MapAttention(channels, heads, size),
        'reduced': lambda channels, heads, size: MapAttention(channels, heads, size, depthwise=True),
        'separable_product': lambda channels, heads, size: SeparableAttention(channels, product=True),
        'separable_sum': lambda channels, heads, size: SeparableAttention(channels, product=False),
    }
    stem_names = ('conv1', 'bn1')
    convert_state_dict = staticmethod(convert_state_dict)

    def __init__(self,
                 arch: Union[str, dict],
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        owner = type(self).__name__
        arch = choose_arch(owner, arch, self.arch_settings)
        if arch['attention'] not in self.attentions:
            raise ValueError(f'{owner}: no attention={arch["attention"]!r}; choose from '
                             f'{", ".join(map(repr, self.attentions))}')
        make_attention = self.attentions[arch['attention']]
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 2, 1, bias=False)
        self.bn1 = build_norm_layer(norm_cfg, 64)[1]
        self.relu = nn.ReLU(inplace=True)

        in_channels, total_stride = 64, 2
        for stage_index in range(self.num_built_stages):
            channels = self.channels[stage_index]
            blocks = []
            for block_index in range(arch['depths'][stage_index]):
                stride = 1 if block_index else self.strides[stage_index]
                if stage_index in arch['attention_stages']:
                    size = (self.table_image_size // total_stride, ) * 2
                    spatial = nn.Sequential(make_attention(channels, self.num_heads, size))
                    if stride == 2:
                        spatial.append(HalvingMean())
                else:
                    spatial = nn.Sequential(
                        nn.Conv2d(channels, channels, 3, stride, 1, bias=False), SqueezeExcitation(channels))
                blocks.append(Bottleneck(in_channels, channels, spatial, stride, True, norm_cfg))
                in_channels, total_stride = channels * Bottleneck.expansion, total_stride * stride
            self.add_stage(nn.Sequential(*blocks), in_channels, total_stride)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, 64, ceil(H / 2), ceil(W / 2))``."""
        return self.relu(self.bn1(self.conv1(x)))

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return resize_map_positions(state_dict, self)
