"""Networks of MMPretrain that timm and torchvision lack, behind the contract of this project's backbones.

Origin of the networks: open-mmlab/mmpretrain (Apache-2.0). Different here: the max pooling of ShuffleNetV1 opens the
stage at stride 4, which MMPretrain does not give out as a map; ``train()`` returns the backbone; weights load strictly.
"""
from typing import Optional, Sequence, Union

from ..registry import MODELS
from ._cut import CutBackbone

__all__ = ['OpenMMLabBackbone']

CUTS = {'mmpretrain.ShuffleNetV1': ('conv1', 'maxpool', 'layers.0.*', 'layers.1.*', 'layers.2.*')}


@MODELS.register_module()
class OpenMMLabBackbone(CutBackbone):
    """A network of MMPretrain or MMDetection.

    Args:
        backbone: its config, with the scope in the type: ``dict(type='mmpretrain.ShuffleNetV1', groups=3)``.
        out_indices, frozen_stages, norm_eval, with_cp: see :class:`BaseBackbone`.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes checkpoints of MMPretrain's classifier as well.
            Defaults to None: initialised as the library does.

    Raises:
        ValueError: a network that is not cut here.
    """

    def __init__(self,
                 backbone: dict,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        if backbone.get('type') not in CUTS:
            raise ValueError(f'OpenMMLabBackbone: no {backbone.get("type")!r}; choose from {", ".join(CUTS)}. Most '
                             'others are in timm: see `mmbackbones list`')
        net = MODELS.build(dict(backbone))
        if not next(net.parameters()).is_meta:
            net.init_weights()  # which its constructor does not
        super().__init__(net, CUTS[backbone['type']], out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
