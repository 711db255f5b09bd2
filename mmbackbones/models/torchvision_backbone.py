"""Networks of torchvision that timm lacks, behind the contract of this project's backbones.

Origin of the networks: pytorch/vision (BSD-3-Clause). Different here: the max pooling of ShuffleNetV2 opens the stage
at stride 4, which torchvision does not give out as a map; the 1x1 convolution behind the last stage belongs to it.
"""
from typing import Optional, Sequence, Union

from ..registry import MODELS
from ._cut import CutBackbone

__all__ = ['TorchvisionBackbone']

SHUFFLENET_V2 = ('conv1', 'maxpool', 'stage2.*', 'stage3.*', 'stage4.* conv5')
CUTS = {f'shufflenet_v2_x{width}': SHUFFLENET_V2 for width in ('0_5', '1_0', '1_5', '2_0')}


@MODELS.register_module()
class TorchvisionBackbone(CutBackbone):
    """A network of torchvision.

    Args:
        model_name: as ``torchvision.models.get_model`` takes it.
        out_indices, frozen_stages, norm_eval, with_cp: see :class:`BaseBackbone`.
        init_cfg: ``dict(type='Pretrained', checkpoint='torchvision://shufflenet_v2_x1_0')`` takes torchvision's
            weights; files are taken as everywhere. Defaults to None: initialised as torchvision does.

    Raises:
        ValueError: a network that is not cut here.
    """

    def __init__(self,
                 model_name: str,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        from torchvision.models import get_model
        if model_name not in CUTS:
            raise ValueError(f'TorchvisionBackbone: no {model_name!r}; choose from {", ".join(CUTS)}. Most others are '
                             'in timm: see `mmbackbones list`')
        super().__init__(
            get_model(model_name, weights=None), CUTS[model_name], out_indices, frozen_stages, norm_eval, with_cp,
            init_cfg)
