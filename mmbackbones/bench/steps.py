"""What is measured: steps of a backbone and of its peer on the same images."""
import contextlib
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..catalogue import NOT_YET, find_backbone
from ..errors import InputError
from .peers import KINDS, build_peer

__all__ = ['Case', 'Step', 'check_shapes', 'different_maps', 'make_inputs']

OURS = 'ours'

NUM_INPUTS = 4  # sets of images that the steps go round

# what rates of random dropping are called: of paths in mmcv and timm, of attention weights in our DSNet
DROP_RATES = ('drop_prob', 'attn_drop_rate')


class Case(NamedTuple):
    """What is measured.

    Attributes:
        backbone: name of a row of the catalogue.
        against: the peer, as :func:`mmbackbones.bench.peers.find_peer` takes it.
        shape: of the images, ``(N, 3, H, W)``.
        train: forward and backward in training mode; otherwise forward alone in evaluation mode, without gradients.
        dtype: ``'float32'``, or what autocast computes in.
        compile: by ``torch.compile``, both sides.
        channels_last: weights and images in that memory format, both sides.
        with_cp: recompute blocks in the backward pass, both sides.
        device: ``'cpu'`` or ``'cuda'``.
        threads: of the CPU. None: torch's choice.
        memory: measure memory instead of time.
    """
    backbone: str
    against: str
    shape: Tuple[int, int, int, int]
    train: bool = False
    dtype: str = 'float32'
    compile: bool = False
    channels_last: bool = False
    with_cp: bool = False
    device: str = 'cpu'
    threads: Optional[int] = None
    memory: bool = False

    @property
    def title(self) -> str:
        """In words: ``swin_t against timm, training step, 2 x 384 x 640, float32``."""
        batch, _, height, width = self.shape
        options = [name for name in ('compile', 'channels_last', 'with_cp') if getattr(self, name)]
        return ', '.join([
            f'{self.backbone} against {self.against if self.against in KINDS else Path(self.against).stem}',
            'memory of a ' * self.memory + ('training step' if self.train else 'forward pass'),
            f'{batch} x {height} x {width}', self.dtype, *options
        ])


def _lay_out(model: nn.Module) -> None:
    """Weights in channels-last format; ``Module.to`` would refuse those with five dimensions."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _drop_nothing(model: nn.Module) -> None:
    """Turn random dropping off, of single values, attention weights and whole paths."""
    for module in model.modules():
        for name in DROP_RATES:
            if hasattr(module, name):
                setattr(module, name, 0.)
        if type(module).__name__ == 'StochasticDepth' or isinstance(module, nn.Dropout):  # the former is torchvision's
            module.p = 0.


def _build(case: Case, side: str) -> nn.Module:
    """Our backbone or its peer, on its device, in the mode of the case.

    Raises:
        KeyError: no such backbone.
        ValueError: the backbone is not there yet, or it has no such peer.
        ImportError: the library of the peer is not installed.
    """
    row = find_backbone(case.backbone)
    if row.config is None:
        raise InputError(f'{row.name} is {NOT_YET} there: no config can build it')
    if side == OURS:
        torch.manual_seed(0)
        model = MODELS.build({**row.config, 'with_cp': case.with_cp})
    else:
        model = build_peer(row, case.against, case.shape, case.with_cp)
    _drop_nothing(model)
    model.train(case.train)  # not chained: MMDetection's networks return None
    return model.to(case.device)


class Step:
    """One side, ready to run: a call takes a step on one of the sets of images and gives its maps.

    Args:
        case: what is measured.
        side: ``'ours'`` or ``'peer'``.
        inputs: sets of images ``(N, 3, H, W)``.

    Raises:
        KeyError, ValueError, ImportError: there is no such backbone or peer.
    """

    def __init__(self, case: Case, side: str, inputs: Sequence[Tensor]):
        self.case = case
        plain = side != OURS and case.against == 'plain'
        self.model = _build(case, side)
        self.run = self.model
        self.dtype = None if plain or case.dtype == 'float32' else getattr(torch, case.dtype)
        if case.channels_last and not plain:
            _lay_out(self.model)
            inputs = [each.contiguous(memory_format=torch.channels_last) for each in inputs]
        if case.compile and not plain:
            self.run = torch.compile(self.model, fullgraph=side == OURS)  # some peers break the graph
        self.inputs = inputs
        self.gradients = None

    def __call__(self, index: int) -> Tuple[Tensor, ...]:
        images = self.inputs[index % len(self.inputs)]
        self.model.zero_grad(set_to_none=True)
        autocast = torch.autocast(self.case.device, self.dtype) if self.dtype else contextlib.nullcontext()
        with torch.set_grad_enabled(self.case.train), autocast:
            maps = self.run(images)
        if self.case.train:
            if self.gradients is None:  # of a loss that is behind the maps; noise, as ones vanish in a batch norm
                self.gradients = [torch.randn_like(each) for each in maps]
            torch.autograd.backward(maps, self.gradients)
        return maps


def make_inputs(case: Case, count: int = NUM_INPUTS) -> List[Tensor]:
    """Sets of images of noise, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(case.shape, generator=generator).to(case.device) for _ in range(count)]


def different_maps(case: Case, ours: List[List[int]], peer: List[List[int]]) -> str:
    return (f'{case.title}: the maps are not the same, so a ratio would mean nothing: ours {ours}, '
            f"the peer's {peer}. Some networks round down: give a height and width that 32 divides")


def check_shapes(case: Case, ours: Sequence[Tensor], peer: Sequence[Tensor]) -> None:
    """Both sides must give the same maps.

    Raises:
        ValueError: they do not; it says what each gives.
    """
    shapes = [[list(each.shape) for each in maps] for maps in (ours, peer)]
    if shapes[0] != shapes[1]:
        raise InputError(different_maps(case, *shapes))
