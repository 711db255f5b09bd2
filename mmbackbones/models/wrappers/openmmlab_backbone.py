"""Networks of MMPretrain and MMDetection behind the contract of this project's backbones.

Origin of the networks: open-mmlab/mmpretrain and open-mmlab/mmdetection (Apache-2.0). Different here, besides the
padding that ``_cut.py`` tells of: ``train()`` returns the backbone; weights load strictly.

- ShuffleNetV1: its max pooling opens the stage at stride 4, which MMPretrain does not give out as a map. Some widths
  with 8 groups, which MMPretrain refuses to build, have the stem of the release.
- LeNet-5: three channels in instead of one, and stages are added from stride 8 to 32.
"""
from typing import Optional, Sequence, Union

from mmcv.cnn import ConvModule
from torch import nn

from ...registry import MODELS
from .cut import CutBackbone

__all__ = ['OpenMMLabBackbone']

OWN_ARGS = ('out_indices', 'frozen_stages', 'norm_eval', 'with_cp', 'pretrained', 'init_cfg')
# channels of the stages that follow where a network ends before stride 32
ADDED = {'mmpretrain.LeNet5': (120, 120, 120)}

# ShuffleNetV1's first block gives its input and as many new channels as are missing to the stage's width, from a
# convolution with groups. MMPretrain widens the stem from 24 channels as all else, to 12 and 36: with 8 groups 180 and
# 540 are missing, which they do not divide. (widen_factor, groups) -> channels of the stem in the release
# (megvii-model/ShuffleNet-Series, ShuffleNetV1/network.py): 176 and 552 are missing.
STEM_CHANNELS = {(0.5, 8): 16, (1.5, 8): 24}


def _build_lenet5(config: dict) -> nn.Module:
    net = MODELS.build(config)
    net.features[0] = nn.Conv2d(3, net.features[0].out_channels, net.features[0].kernel_size)
    return net


def _build_shufflenet_v1(config: dict) -> nn.Module:
    stem_channels = STEM_CHANNELS.get((config.get('widen_factor'), config.get('groups')))
    if stem_channels is None:
        return MODELS.build(config)
    from mmpretrain.models import ShuffleNetV1  # takes seconds

    class WithStem(ShuffleNetV1):

        def make_layer(self, out_channels, num_blocks, first_block=False):
            if first_block:
                self.in_channels = stem_channels
                self.conv1 = ConvModule(
                    3,
                    stem_channels,
                    3,
                    stride=2,
                    padding=1,
                    conv_cfg=self.conv_cfg,
                    norm_cfg=self.norm_cfg,
                    act_cfg=self.act_cfg)
            return super().make_layer(out_channels, num_blocks, first_block)

    return WithStem(**{key: value for key, value in config.items() if key != 'type'})


BUILDERS = {'mmpretrain.LeNet5': _build_lenet5, 'mmpretrain.ShuffleNetV1': _build_shufflenet_v1}


@MODELS.register_module()
class OpenMMLabBackbone(CutBackbone):
    """A network of MMPretrain or MMDetection.

    Args:
        backbone: its config, with the scope in the type: ``dict(type='mmdet.RegNet', arch='regnetx_3.2gf')``.
        out_indices, frozen_stages, norm_eval, with_cp: see :class:`BaseBackbone`.
        pretrained: a checkpoint file or address, of MMPretrain's classifier or any other that fits. Short for
            ``init_cfg=dict(type='Pretrained', checkpoint=pretrained)``. Defaults to None.
        init_cfg: see :class:`BaseBackbone`. Defaults to None: initialised as the library does.

    Raises:
        ValueError: a network that cannot be cut into stages (HRNet, for example, has parallel branches: name it in the
            config as it is), or both ``pretrained`` and ``init_cfg``.
    """

    def __init__(self,
                 backbone: dict,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 pretrained: Optional[str] = None,
                 init_cfg: Optional[dict] = None):
        refused = sorted(set(OWN_ARGS) & set(backbone))
        if refused:
            raise ValueError(f'OpenMMLabBackbone: backbone has {", ".join(refused)}; give that to OpenMMLabBackbone '
                             'itself, which decides it in place of the network')
        kind = backbone.get('type')
        net = BUILDERS.get(kind, MODELS.build)(dict(backbone))
        if not next(net.parameters()).is_meta:
            net.init_weights()  # which its constructor does not
        super().__init__(net, ADDED.get(kind, ()), out_indices, frozen_stages, norm_eval, with_cp, pretrained, init_cfg)
