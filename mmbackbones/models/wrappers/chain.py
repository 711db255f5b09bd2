"""Finding out where a network can be cut into stem and stages, by watching it run once on the meta device."""
import copy
from typing import Any, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn

__all__ = ['STRIDES', 'find_cuts', 'group_layers']

SIZE = 256
STRIDES = (4, 8, 16, 32)
# what libraries call the part that is for classification; SqueezeNet's is a convolution
CLASSIFIERS = ('classifier', 'fc', 'head', 'heads')


class _Call(NamedTuple):
    """One module that was run on one map, and gave one.

    Attributes:
        name: of the module.
        taken, given: the maps.
        stride: of what it gave.
    """
    name: str
    taken: Tensor
    given: Tensor
    stride: int


def _watch(net: nn.Module) -> Tuple[List[_Call], Any]:
    """All calls of modules within a network for one image, containers left out, in the order of their ends.

    Returns:
        tuple: the calls, and what the network gave.
    """
    calls: List[_Call] = []
    handles = []
    for name, module in net.named_modules():
        if name and type(module).forward is not nn.Sequential.forward:

            def record(module, inputs, given, name=name):
                if isinstance(given, Tensor) and given.dim() == 4 and inputs and isinstance(inputs[0], Tensor):
                    calls.append(_Call(name, inputs[0], given, round(SIZE / given.shape[-1])))

            handles.append(module.register_forward_hook(record))
    try:
        with torch.no_grad():
            outs = net(torch.empty(1, 3, SIZE, SIZE, device='meta'))
    finally:
        for handle in handles:
            handle.remove()
    return calls, outs


def find_cuts(net: nn.Module, num_added: int = 0) -> Tuple[Tuple[str, ...], ...]:
    """Cut a network whose modules run one after the other at its maps of strides 4, 8, 16 and, if there is one, 32.

    A stage begins with the module that makes its stride and ends before the next one's. What is behind the last map, or
    behind an operation that is no module, is left out.

    Args:
        net: a network for images of three channels; it is not changed.
        num_added: so many of the coarsest strides up to 32 are not looked for: stages of another making follow.

    Returns:
        tuple: the names of the modules of the stem, and of each stage, in the order in which they run.

    Raises:
        ValueError: the modules do not run one after the other, or there are no such maps.
    """
    refusal = f'{type(net).__name__} cannot be cut into stages: '
    hint = '. If it gives maps of its own, name it in the config as it is; `mmbackbones list` shows what works'
    shadow = copy.deepcopy(net).to('meta')
    shadow.eval()  # not chained: MMDetection's networks return None
    try:
        calls, outs = _watch(shadow)
    except (RuntimeError, AssertionError, ValueError) as error:  # position tables of one size, for example
        raise ValueError(f'{refusal}it does not take an image of {SIZE} pixels: {error}{hint}') from error
    # a module ends after its children: going backwards, whatever is within one that is kept is passed over
    outermost: List[_Call] = []
    for call in reversed(calls):
        if not (outermost and call.name.startswith(f'{outermost[0].name}.')):
            outermost.insert(0, call)
    chain = outermost[:1]
    for call in outermost[1:]:
        if call.taken is not chain[-1].given or call.name.split('.')[0] in CLASSIFIERS:
            break
        chain.append(call)
    if isinstance(outs, (tuple, list)) and not any(call.given is outs[-1] for call in chain):  # it gives maps itself
        raise ValueError(f'{refusal}its maps are not what the modules give that it runs one after the other{hint}')
    strides = [call.stride for call in chain]
    expected = STRIDES[:len(STRIDES) - num_added] if num_added else STRIDES[:4 if 32 in strides else 3]
    if strides != sorted(strides):
        raise ValueError(f'{refusal}its modules do not give (N, C, H, W) maps that shrink from one to the next{hint}')
    if [stride for stride in STRIDES if stride in strides] != list(expected):
        raise ValueError(f'{refusal}the modules that it runs one after the other give maps at strides '
                         f'{", ".join(map(str, sorted(set(strides))))}, and those needed are '
                         f'{", ".join(map(str, expected))}{hint}')
    stem = tuple(call.name for call in chain if call.stride < STRIDES[0])
    return (stem, *(tuple(call.name for call in chain if call.stride == stride) for stride in expected))


def group_layers(modules: Sequence[nn.Module]) -> nn.Sequential:
    """Put single layers together with each other or the block behind them: a ReLU alone, in place, is no block."""
    blocks, loose = [], []
    for module in modules:
        if not list(module.children()):
            loose.append(module)
            continue
        if loose and any(list(layer.parameters()) for layer in loose):
            blocks.append(nn.Sequential(*loose))
            loose = []
        blocks.append(nn.Sequential(*loose, module) if loose else module)
        loose = []
    if loose:
        blocks.append(nn.Sequential(*loose))
    return nn.Sequential(*blocks)
