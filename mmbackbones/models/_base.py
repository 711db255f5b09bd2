"""The contract of every backbone: stem, stages, a tuple of maps, freezing, strict weights."""
import contextlib
import itertools
from abc import ABCMeta, abstractmethod
from typing import Callable, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..weights import load_part, read_checkpoint, split_source

__all__ = ['BaseBackbone', 'choose_arch', 'choose_weights']

PARTIAL = 'To load what fits and leave the rest as initialised: partial=True in init_cfg, or --partial-weights'


def choose_arch(owner: str,
                arch: Union[str, int, dict],
                settings: Dict[Union[str, int], dict],
                name: str = 'arch') -> dict:
    """Look a variant up in a table, or take a dict with the same keys as it is.

    Args:
        owner: class name, for the message.
        arch: a key of ``settings`` or a dict.
        settings: variant -> dict of named values.
        name: what the argument is called, for the message.

    Raises:
        ValueError: unknown variant, or a dict whose keys are not those of the table. It lists what there is.
    """
    if isinstance(arch, dict):
        expected = set(next(iter(settings.values())))
        if set(arch) != expected:
            raise ValueError(f'{owner}: {name} has the keys {sorted(arch)}, expected {sorted(expected)}')
        return arch
    if arch not in settings:
        raise ValueError(f'{owner}: no {name}={arch!r}; choose from {", ".join(repr(key) for key in settings)}')
    return settings[arch]


def choose_weights(owner: str, pretrained: Optional[str], init_cfg: Optional[dict]) -> Optional[dict]:
    """The ``init_cfg`` that ``pretrained`` is short for, or the one that is given.

    Raises:
        ValueError: both are given, or ``pretrained`` is no name.
    """
    if pretrained is None:
        return init_cfg
    if not isinstance(pretrained, str) or not pretrained:
        raise ValueError(f"{owner}: pretrained={pretrained!r} names no weights; write pretrained='FILE', the name of "
                         'weights that `mmbackbones info` lists for it, or None for none')
    if init_cfg is not None:
        raise ValueError(f'{owner}: pretrained={pretrained!r} and init_cfg={init_cfg!r} both say where weights come '
                         "from; give one. pretrained=... is short for dict(type='Pretrained', checkpoint=...)")
    return dict(type='Pretrained', checkpoint=pretrained)


def _resolve_out_indices(owner: str, out_indices: Union[int, Sequence[int]], num_stages: int) -> Tuple[int, ...]:
    """Stage indices in ascending order, negative ones counted from the end."""
    given = (out_indices, ) if isinstance(out_indices, int) else tuple(out_indices)
    indices = tuple(index + num_stages if index < 0 else index for index in given)
    if not indices or any(not 0 <= index < num_stages for index in indices):
        raise ValueError(f'{owner}: out_indices={out_indices!r} is out of range; its stages are '
                         f'{", ".join(map(str, range(num_stages)))} (or {-num_stages} to -1, from the last)')
    if list(indices) != sorted(set(indices)):
        raise ValueError(f'{owner}: out_indices={out_indices!r} must name each stage once, the finest map first; '
                         f'write {tuple(sorted(set(indices)))}')
    return indices


@contextlib.contextmanager
def _keep_batch_statistics(module: nn.Module):
    """Recomputing a block must not count its batch a second time in the running statistics."""
    # of any kind: MMCV's SyncBN is no _BatchNorm
    norms = [m for m in module.modules() if m.training and getattr(m, 'track_running_stats', False)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    spare = torch.zeros((), dtype=torch.long)  # a SyncBN asks for something to count in
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., spare
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept):
            norm.momentum, norm.num_batches_tracked = momentum, count


class BaseBackbone(BaseModule, metaclass=ABCMeta):
    """Base of all backbones.

    A subclass names the children of its stem in ``stem_names``, defines :meth:`forward_stem`, and calls
    :meth:`add_stage` in the loop that builds its stages, ``num_built_stages`` times: a stage beyond the last output
    would hold parameters that never get a gradient. Blocks may hand each other another layout than ``(N, C, H, W)``;
    :meth:`forward_output` then makes the map.

    Input ``(N, 3, H, W)``, or as many channels as ``in_channels`` says where a backbone has it, of any H and W from 32
    up. Output a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``, the finest first, with ``H_i = ceil(H
    / stride_i)``.

    Args:
        num_stages: how many stages the network has.
        out_indices: which stages' maps are returned; negative ones count from the last.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and the first n stages: no gradient, norms in eval
            mode.
        norm_eval: keep all batch norms in eval mode, so that they use and keep their running statistics. A network
            without batch norms refuses it.
        with_cp: recompute blocks in the backward pass instead of storing their activations.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads weights strictly, with optional ``prefix`` and
            ``partial``, see :meth:`load_pretrained`; other types of MMEngine work as ever. Defaults to None:
            initialised as the paper says.

    Attributes:
        out_indices (tuple[int]): resolved, ascending.
        out_channels (tuple[int]): channels of each output map.
        out_strides (tuple[int]): stride of each output map, in input pixels.

    Raises:
        ValueError: ``out_indices`` or ``frozen_stages`` out of range, or ``norm_eval`` without a batch norm.
    """
    stem_names: Tuple[str, ...] = ()
    # maps foreign weights onto this class; a pure function beside the model
    convert_state_dict: Callable[[dict], dict]
    _built_on_meta = False

    def __new__(cls, *args, **kwargs):
        backbone = super().__new__(cls)
        vars(backbone)['_arguments'] = args, kwargs  # to be built again, see _draw_anew
        return backbone

    def __init__(self,
                 num_stages: int,
                 out_indices: Union[int, Sequence[int]],
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None):
        super().__init__(init_cfg)
        owner = type(self).__name__
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'{owner}: frozen_stages={frozen_stages} is out of range; -1 freezes nothing, 0 the stem, '
                             f'up to {num_stages} the first stages')
        self.num_stages = num_stages
        self.out_indices = _resolve_out_indices(owner, out_indices, num_stages)
        self.num_built_stages = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.out_channels: Tuple[int, ...] = ()
        self.out_strides: Tuple[int, ...] = ()
        self.stage_names: Tuple[str, ...] = ()

    def add_stage(self, stage: nn.Sequential, channels: int, stride: int) -> None:
        """Append a stage; it is kept as ``layer1``, ``layer2``, ...

        Args:
            stage: its blocks.
            channels: of its output.
            stride: of its output, in input pixels.
        """
        if len(self.stage_names) in self.out_indices:
            self.out_channels += (channels, )
            self.out_strides += (stride, )
        self._built_on_meta |= any(parameter.is_meta for parameter in stage.parameters())
        name = f'layer{len(self.stage_names) + 1}'
        self.add_module(name, stage)
        self.stage_names += (name, )

    @abstractmethod
    def forward_stem(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> the first stage's input."""

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x = self.forward_stem(x)
        outs = []
        for index, name in enumerate(self.stage_names):
            for block in getattr(self, name):
                x = self._run(block, x)
            if index in self.out_indices:
                outs.append(self.forward_output(index, x))
        return tuple(outs)

    def forward_output(self, index: int, x: Tensor) -> Tensor:
        """What stage ``index`` gives the next one -> its map ``(N, C, H, W)``. By default they are the same."""
        return x

    def _run(self, block: nn.Module, x: Union[Tensor, Tuple[Tensor, ...]]) -> Union[Tensor, Tuple[Tensor, ...]]:
        first = x[0] if isinstance(x, tuple) else x
        if not (self.with_cp and torch.is_grad_enabled() and first.requires_grad):
            return block(x)
        if torch.compiler.is_compiling():  # traced once: nothing is counted twice there
            return checkpoint(block, x, use_reentrant=False)
        return checkpoint(
            block, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _keep_batch_statistics(block)))

    def train(self, mode: bool = True):
        """Set the mode, keeping frozen parts and, with ``norm_eval``, all batch norms in eval mode. Returns self."""
        super().train(mode)
        if self.frozen_stages >= 0:
            for name in self.stem_names + self.stage_names[:self.frozen_stages]:
                part = getattr(self, name).eval()
                for parameter in part.parameters():
                    parameter.requires_grad = False
        if mode and self.norm_eval:
            norms = [module for module in self.modules() if isinstance(module, _BatchNorm)]
            if not norms:
                raise ValueError(f'{type(self).__name__}: norm_eval=True is for batch norms, and there are none in it; '
                                 'leave norm_eval out. Other norms have no running statistics')
            for norm in norms:
                norm.eval()
        return self

    def init_weights(self) -> None:
        """Apply ``init_cfg``; without one the weights stay as the constructor drew them, as the paper says.

        A backbone that was built on the meta device, where nothing is drawn, and got memory by ``to_empty`` is given
        what the constructor draws.

        Raises:
            CheckpointError: the checkpoint cannot be read or does not fit.
        """
        if self.is_init:
            return
        if self._built_on_meta and not any(parameter.is_meta for parameter in self.parameters()):
            self._draw_anew()
        configs = self.init_cfg if isinstance(self.init_cfg, (list, tuple)) else [self.init_cfg]
        pretrained = [each for each in configs if isinstance(each, dict) and each.get('type') == 'Pretrained']
        others = [each for each in configs if each and each not in pretrained]
        for config in pretrained:
            unknown = set(config) - {'type', 'checkpoint', 'prefix', 'partial'}
            if unknown:
                raise ValueError(
                    f'{type(self).__name__}: init_cfg has unknown keys {sorted(unknown)}; a Pretrained one has '
                    "'checkpoint' and, optionally, 'prefix' and 'partial'")
        if others:
            self.init_cfg, whole = others, self.init_cfg
            super().init_weights()
            self.init_cfg = whole
        for config in pretrained:
            self.load_pretrained(config['checkpoint'], config.get('prefix'), config.get('partial', False))
        self.is_init = True

    @torch.no_grad()
    def _draw_anew(self) -> None:
        """Fill parameters and buffers, those outside the state dict too, from a second backbone of the same arguments.
        """
        args, kwargs = self._arguments
        with torch.device('cpu'):
            drawn = type(self)(*args, **kwargs)
        own = dict(itertools.chain(self.named_parameters(), self.named_buffers()))
        for name, values in itertools.chain(drawn.named_parameters(), drawn.named_buffers()):
            own[name].copy_(values)
        self._built_on_meta = False

    def load_pretrained(self, source: str, prefix: Optional[str] = None, partial: bool = False) -> None:
        """Load a checkpoint of this project, of MMDetection/MMPretrain training, or of the authors, strictly.

        Args:
            source: file or address, see :meth:`read_weights`; ``FILE::PREFIX`` names weights inside a file.
            prefix: part of a larger model's checkpoint, such as ``'backbone.'`` or ``'teacher'``. Defaults to None:
                wherever weights are that fit.
            partial: load what fits and leave the rest as initialised.

        Raises:
            CheckpointError: the checkpoint cannot be read or does not fit; the weights stay as they were.
        """
        source, inside = split_source(source)
        report = load_part(
            self,
            self.read_weights(source),
            f'checkpoint {source}',
            prefix or inside,
            partial,
            self.optional_prefixes,
            remedy='' if partial else PARTIAL)
        print_log(f'{type(self).__name__}: loaded {source}: {report.summary("not used")}', logger='current')

    def read_weights(self, source: str) -> dict:
        """What a checkpoint file or address holds, see :func:`mmbackbones.weights.read_checkpoint`."""
        return read_checkpoint(source)

    def to_own_names(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Weights with anybody's names -> with ours, which stay. By default :attr:`convert_state_dict`."""
        return type(self).convert_state_dict(state_dict)

    def resize_tables(self, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Bring position tables of another resolution to this backbone's shapes. By default there are none."""
        return state_dict

    @property
    def omitted_prefixes(self) -> Tuple[str, ...]:
        """Prefixes of the stages beyond the last output, which a checkpoint of the whole network has."""
        return tuple(f'layer{index + 1}.' for index in range(self.num_built_stages, self.num_stages))

    @property
    def optional_prefixes(self) -> Tuple[str, ...]:
        """Prefixes of parts that the published classifiers lack, such as norms of the finer outputs."""
        return ()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Depth of a parameter, for learning rates that decay with it: the stem is 0, then the blocks in order.

        Args:
            param_name: as in ``named_parameters`` of the model that holds the backbone.
            prefix: of the backbone in that model.

        Returns:
            tuple[int]: the depth and the number of depths, the last of which is for what is behind the blocks.
        """
        num_blocks = {name: len(getattr(self, name)) for name in self.stage_names}
        num_depths = sum(num_blocks.values()) + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        part, *rest = param_name[len(prefix):].split('.')
        if part in self.stem_names:
            return 0, num_depths
        if part not in num_blocks:
            return num_depths - 1, num_depths
        before = self.stage_names[:self.stage_names.index(part)]
        return 1 + sum(num_blocks[name] for name in before) + int(rest[0]), num_depths
