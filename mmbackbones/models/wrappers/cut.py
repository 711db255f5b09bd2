"""What the wrappers of other libraries share: a network that runs its children in turn is cut into stem and stages.

Different from the libraries: every map has ceil(size / stride) rows and columns. Networks whose convolutions and
poolings have no padding get it, see :func:`mmbackbones.models.wrappers.keep_sizes`: their weights fit, their maps
differ. Where a network ends before stride 32 strided convolutions follow, which no published weights have.
"""
import copy
from typing import Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from .._base import BaseBackbone, choose_weights
from .chain import find_cuts, group_layers
from .keep_sizes import keep_sizes

__all__ = ['CutBackbone']


def _added_stage(in_channels: int, channels: int) -> nn.Sequential:
    """A stage of ours behind the last of the network: 3x3, stride 2, ``(N, C, H, W) -> (N, channels, H / 2, W / 2)``.

    The norm is over groups of 8 channels: there are no published statistics for one over the batch.
    """
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False),
            nn.GroupNorm(channels // 8, channels),
            nn.ReLU(inplace=True),
        ))


class CutBackbone(BaseBackbone):
    """A network of another library, without what is behind its last map.

    Args:
        net: the network, whole; its modules must run one after the other, see :func:`find_cuts`.
        added: channels of the stages that are added where the network ends before stride 32.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`. A checkpoint may have the
            library's names or ours.
        pretrained: short for ``init_cfg=dict(type='Pretrained', checkpoint=pretrained)``.

    Attributes:
        library_keys (dict): name of every weight of the network -> ours, or None for what is left out.
    """
    stem_names = ('stem', )
    convert_state_dict = staticmethod(dict)

    def __init__(self, net: nn.Module, added: Sequence[int], out_indices: Union[int, Sequence[int]], frozen_stages: int,
                 norm_eval: bool, with_cp: bool, pretrained: Optional[str], init_cfg: Optional[dict]):
        init_cfg = choose_weights(type(self).__name__, pretrained, init_cfg)
        keep_sizes(net)
        stem, *stages = ([net.get_submodule(name) for name in part] for part in find_cuts(net, len(added)))
        super().__init__(len(stages) + len(added), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.num_added = len(added)
        names = {module: name for name, module in net.named_modules()}
        self.stem = group_layers(stem)
        # channels and strides are looked at, not typed: on the meta device that costs nothing
        side = 64
        x = self._look(self.stem, torch.empty(1, 3, side, side, device='meta'))
        for part in (*stages, *added)[:self.num_built_stages]:
            stage = _added_stage(x.shape[1], part) if isinstance(part, int) else group_layers(part)
            x = self._look(stage, x)
            self.add_stage(stage, x.shape[1], side // x.shape[2])
        ours = {names[module]: name for name, module in self.named_modules() if module in names}
        self.library_keys: Dict[str, Optional[str]] = {}
        for key in net.state_dict():
            owner, _, leaf = key.rpartition('.')
            self.library_keys[key] = f'{ours[owner]}.{leaf}' if owner in ours else None
        self.train()

    @staticmethod
    def _look(part: nn.Module, x: Tensor) -> Tensor:
        shadow = copy.deepcopy(part).to('meta')
        shadow.eval()  # not chained: MMDetection's blocks return None
        return shadow(x)

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> what the first stage takes."""
        return self.stem(x)

    @property
    def optional_prefixes(self) -> Tuple[str, ...]:
        return tuple(f'layer{index + 1}.' for index in range(self.num_stages - self.num_added, self.num_stages))

    def to_own_names(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """From the library's names, where those are more than ours, to ours; the classifier is left out."""
        own = self.state_dict().keys() & state_dict.keys()
        if len(own) > len(self.library_keys.keys() & state_dict.keys()):
            return state_dict
        named = {self.library_keys.get(key, key): value for key, value in state_dict.items()}
        return {key: value for key, value in named.items() if key is not None}
