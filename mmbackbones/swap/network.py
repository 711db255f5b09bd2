"""What a row of the catalogue gives to a detector: of each stride a stage and its channels."""
from typing import Dict, NamedTuple, Sequence, Tuple

from mmengine.config import Config
from torch import nn

from ..catalogue import Backbone
from ..config.edit import SwapError
from ..config.meta_run import build

__all__ = ['Network', 'measure_row']


class Network(NamedTuple):
    """What a catalogue row gives: of each stride the stage and its channels."""
    row: Backbone
    default: Tuple[int, ...]
    stage_of: Dict[int, int]
    channels_of: Dict[int, int]
    has_batch_norm: bool

    def config(self, strides: Sequence[int]) -> dict:
        """Its config with the stages of these strides as outputs."""
        stages = tuple(self.stage_of[stride] for stride in strides)
        config = {key: value for key, value in self.row.config.items() if key != 'out_indices'}
        return config if stages == self.default else dict(config, out_indices=stages)


def measure_row(cfg: Config, row: Backbone) -> Network:
    if row.config is None:
        raise SwapError(f'{row.name} is in the catalogue, but not built yet; `mmbackbones list` marks such rows')
    backbone = build(cfg, {key: value for key, value in row.config.items() if key != 'out_indices'})
    stages = {}
    for stage, stride, channels in zip(backbone.out_indices, backbone.out_strides, backbone.out_channels):
        stages[stride] = stage, channels  # of several stages with one stride the last is the richest
    return Network(row, tuple(backbone.out_indices), {
        stride: stage
        for stride, (stage, _) in stages.items()
    }, {
        stride: channels
        for stride, (_, channels) in stages.items()
    }, any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()))
