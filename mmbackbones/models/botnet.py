"""BoTNet: a ResNet-50 whose last stage, or last two, attend to all positions instead of convolving.

Paper: "Bottleneck Transformers for Visual Recognition", Srinivas et al., CVPR 2021.
Origin of the forms ``50_l1`` and ``50_l2``: StephenTaylor1998/DogeNet at d46ead6 (core/models/transformer.py, no
licence stated: read, not copied).
Different here: no classifier inside; position terms are interpolated, so that any image fits, where the paper's and
the authors' tables are for one size; at an odd size the pooling behind a strided attention averages what is left at the
border, so that maps are as large as a strided convolution's.

``50`` is the paper's: relative position terms, scores divided by sqrt(d), and nothing else changed in ResNet-50. (Ports
of the authors' gist have a ReLU in the shortcut of the first attention block too; the paper has none.) ``50_l1``
attends in the same three blocks and yet is another network: its position terms are absolute (one of the row plus one of
the column), the scores are not scaled, and queries, keys, values and shortcuts have biases.
"""
from typing import Dict, Optional, Sequence, Union

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..layers import (Bottleneck, CeilMaxPool2d, HalvingMean, MapAttention, RelativeMapAttention, convert_map_positions,
                      resize_map_positions, static_conv)
from ..registry import MODELS
from ._base import BaseBackbone, choose_arch

__all__ = ['BoTNet', 'convert_state_dict']


def convert_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Map the DogeNet authors' weights of ``50_l1`` and ``50_l2`` onto ours. Dropped: the classifier ``fc``.

    For ``50`` its authors published no weights.
    """
    return convert_map_positions({key: value for key, value in state_dict.items() if not key.startswith('fc.')})


@MODELS.register_module()
class BoTNet(BaseBackbone):
    """Bottleneck transformer of 50 layers; stage i has stride 4, 8, 16, 32.

    A strided attention block attends at its input's resolution and pools behind it. Its cost grows with the square of
    the number of positions, its memory linearly.

    Args:
        arch: ``'50'``, ``'50_l1'``, ``'50_l2'``, or a dict with their keys: ``depths``; ``attention_stages``, the
            indices of the stages that attend; ``position``, ``'relative'`` for the paper's blocks and ``'absolute'``
            for the other ones.
        in_channels: of the image.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`.
        norm_cfg: of the norms after the convolutions.

    Raises:
        ValueError: unknown ``arch`` or ``position``.
    """
    # Srinivas et al. 2021, table 1, and founding document 004. Its second form has three blocks in the third stage.
    arch_settings = {
        '50': dict(depths=(3, 4, 6, 3), attention_stages=(3, ), position='relative'),
        '50_l1': dict(depths=(3, 4, 6, 3), attention_stages=(3, ), position='absolute'),
        '50_l2': dict(depths=(3, 4, 3, 3), attention_stages=(2, 3), position='absolute'),
    }
    attentions = {'relative': RelativeMapAttention, 'absolute': MapAttention}
    num_heads = 4
    # image size in pixels that the position tables are for
    table_image_size = 224
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
        if arch['position'] not in self.attentions:
            raise ValueError(f'{owner}: no position={arch["position"]!r}; choose from '
                             f'{", ".join(map(repr, self.attentions))}')
        absolute = arch['position'] == 'absolute'
        self.conv1 = static_conv(in_channels, 64, 7, 2, 3)
        self.bn1 = build_norm_layer(norm_cfg, 64)[1]
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = CeilMaxPool2d(3, 2)

        in_channels, total_stride = 64, 4
        for stage_index in range(self.num_built_stages):
            channels = 64 * 2**stage_index
            blocks = []
            for block_index in range(arch['depths'][stage_index]):
                stride = 2 if stage_index and not block_index else 1
                if stage_index in arch['attention_stages']:
                    size = (self.table_image_size // total_stride, ) * 2
                    spatial = nn.Sequential(self.attentions[arch['position']](channels, self.num_heads, size))
                    if stride == 2:
                        spatial.append(HalvingMean())
                else:
                    spatial = static_conv(channels, channels, 3, stride, 1)
                blocks.append(Bottleneck(in_channels, channels, spatial, stride, absolute, norm_cfg))
                in_channels, total_stride = channels * Bottleneck.expansion, total_stride * stride
            self.add_stage(nn.Sequential(*blocks), in_channels, total_stride)
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` -> ``(N, 64, ceil(H / 4), ceil(W / 4))``."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return resize_map_positions(state_dict, self)
