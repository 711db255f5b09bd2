"""What the wrappers of other libraries share: a network that runs its children in turn is cut into stem and stages."""
import copy
from typing import Dict, Optional, Sequence, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..weights import extract_state_dict, load_strictly, read_checkpoint
from ._base import BaseBackbone

__all__ = ['CutBackbone']


def _blocks(net: nn.Module, names: str) -> nn.Sequential:
    """The modules with these names; of ``name.*`` the children, so that each is a block of its own."""
    blocks = []
    for name in names.split():
        module = net.get_submodule(name.removesuffix('.*'))
        blocks += module.children() if name.endswith('.*') else [module]
    return nn.Sequential(*blocks)


class CutBackbone(BaseBackbone):
    """A network of another library, without what is behind its last map.

    Args:
        net: the network, whole.
        cuts: names of its modules in the order in which they run: of the stem, then of each stage, by blanks.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg: see :class:`BaseBackbone`. A checkpoint may have the
            library's names or ours.

    Attributes:
        library_keys (dict): name of every weight of the network -> ours, or None for what is left out.
    """
    stem_names = ('stem', )
    convert_state_dict = staticmethod(dict)

    def __init__(self, net: nn.Module, cuts: Sequence[str], out_indices: Union[int, Sequence[int]], frozen_stages: int,
                 norm_eval: bool, with_cp: bool, init_cfg: Optional[dict]):
        super().__init__(len(cuts) - 1, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        names = {module: name for name, module in net.named_modules()}
        self.stem = _blocks(net, cuts[0])
        stages = [_blocks(net, cut) for cut in cuts[1:1 + self.num_built_stages]]
        # channels and strides are looked at, not typed: on the meta device that costs nothing
        side = 64
        x = torch.empty(1, 3, side, side, device='meta')
        probe = copy.deepcopy(nn.ModuleList([self.stem, *stages])).to('meta').eval()
        x = probe[0](x)
        for stage, shadow in zip(stages, probe[1:]):
            x = shadow(x)
            self.add_stage(stage, x.shape[1], side // x.shape[2])
        ours = {names[module]: name for name, module in self.named_modules() if module in names}
        self.library_keys: Dict[str, Optional[str]] = {}
        for key in net.state_dict():
            owner, _, leaf = key.rpartition('.')
            self.library_keys[key] = f'{ours[owner]}.{leaf}' if owner in ours else None
        self.train()

    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> ``(N, C, ceil(H / 2), ceil(W / 2))``."""
        return self.stem(x)

    def load_pretrained(self, source: str, prefix: Optional[str] = None) -> None:
        """Load a checkpoint of this project, of the library, or of MMDetection/MMPretrain training, strictly.

        Args:
            source: file or address, see :func:`mmbackbones.weights.read_checkpoint`.
            prefix: part of a larger model's checkpoint. Defaults to None: ``backbone.`` if there is one.

        Raises:
            CheckpointError: the checkpoint cannot be read or does not fit; the weights stay as they were.
        """
        state_dict = extract_state_dict(read_checkpoint(source), prefix)
        if not self.state_dict().keys() & state_dict.keys():
            named = {self.library_keys.get(key, key): value for key, value in state_dict.items()}
            state_dict = {key: value for key, value in named.items() if key is not None}
        load_strictly(self, state_dict, f'checkpoint {source}', omitted=self.omitted_prefixes)
        print_log(f'{type(self).__name__}: loaded {source}', logger='current')
