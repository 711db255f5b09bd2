"""Learning rates that shrink towards the input.

MMPretrain's constructor asks the whole model for the depth of a parameter, MMDetection's knows ConvNeXt alone. This one
asks the backbone, so that it serves detectors and classifiers alike.
"""
from typing import List, Optional, Union

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS
from ..weights.parts import backbones_of

__all__ = ['LayerDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise learning rate decay (ViTDet, ECCV 2022, appendix A.2) on top of MMEngine's parameter-wise options.

    A parameter of the backbone at depth ``d`` of ``n`` has ``decay ** (n - 1 - d)`` times the learning rate it would
    have otherwise: the stem the lowest, what is behind the blocks the full one, as neck and heads. Depths are those of
    ``backbone.get_layer_depth(name, prefix)``, for every backbone in the model: a teacher with a student has two, a
    tracker one in its detector.

    Args:
        optim_wrapper_cfg: as MMEngine's default constructor takes it.
        paramwise_cfg: its options, and ``layer_decay_rate``, above 0 and at most 1.

    Raises:
        ValueError: no ``layer_decay_rate``, one out of range, or a model with no backbone that can tell depths.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if rate is None or not 0 < rate <= 1:
            raise ValueError(f'{type(self).__name__}: paramwise_cfg has layer_decay_rate={rate}; it must be above 0 '
                             f'and at most 1')
        self.decay_rate = rate

    def add_params(self,
                   params: List[dict],
                   module: nn.Module,
                   prefix: str = '',
                   is_dcn_module: Optional[Union[int, float]] = None) -> None:
        """Add a module's parameters with their options; scale the rates when the whole model is complete."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # a part: the call for the whole model is the one without a prefix
            return
        found = backbones_of(module)
        able = {f'{name}.': backbone for name, backbone in found.items() if hasattr(backbone, 'get_layer_depth')}
        if not able:
            kinds = ' and '.join(sorted({type(backbone).__name__ for backbone in found.values()}))
            raise ValueError(f'{type(self).__name__}: {type(module).__name__} has '
                             f'{f"the backbone {kinds}, which has no get_layer_depth" if found else "no backbone"}; '
                             f'take one of mmbackbones, or leave the constructor out')
        names = {parameter: name for name, parameter in module.named_parameters()}
        for group in params:
            name = names[group['params'][0]]
            prefix = next((prefix for prefix in able if name.startswith(prefix)), None)
            if prefix is not None:
                depth, num_depths = able[prefix].get_layer_depth(name, prefix)
                group['lr'] = group.get('lr', self.base_lr) * self.decay_rate**(num_depths - 1 - depth)
