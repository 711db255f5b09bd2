"""Finding out where a network can be cut into stem and stages, by watching it run once on the meta device."""
import copy
from typing import List, NamedTuple, Tuple

import torch
from torch import Tensor, nn

__all__ = ['find_cuts']

SIZE = 256
STRIDES = (4, 8, 16, 32)


class _Call(NamedTuple):
    """One module that was run on one tensor, and gave one.

    Attributes:
        name: of the module.
        taken, given: the tensors.
        stride: of what it gave.
    """
    name: str
    taken: Tensor
    given: Tensor
    stride: int


def _watch(net: nn.Module) -> List[_Call]:
    """All calls of modules within a network for one image, containers left out, in the order of their ends."""
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
            net(torch.empty(1, 3, SIZE, SIZE, device='meta'))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def find_cuts(net: nn.Module) -> Tuple[str, ...]:
    """Cut a network whose modules run one after the other at its maps of strides 4, 8, 16 and, if there is one, 32.

    A stage begins with the module that makes its stride and ends before the next one's. What is behind the last map, or
    behind an operation that is no module, is left out.

    Args:
        net: a network for images of three channels; it is not changed.

    Returns:
        tuple[str]: the names of the modules of the stem, and of each stage, with blanks between them.

    Raises:
        ValueError: the modules do not run one after the other, or there are no such maps.
    """
    kind = type(net).__name__
    shadow = copy.deepcopy(net).to('meta')
    shadow.eval()  # not chained: MMDetection's networks return None
    calls = _watch(shadow)
    # a module ends after its children: going backwards, whatever is within one that is kept is passed over
    outermost: List[_Call] = []
    for call in reversed(calls):
        if not (outermost and call.name.startswith(f'{outermost[0].name}.')):
            outermost.insert(0, call)
    chain = outermost[:1]
    for call in outermost[1:]:
        if call.taken is not chain[-1].given:
            break
        chain.append(call)
    strides = sorted({call.stride for call in chain})
    wanted = [stride for stride in STRIDES if stride in strides]
    if wanted not in ([4, 8, 16], [4, 8, 16, 32]) or [call.stride for call in chain] != sorted(
            call.stride for call in chain):
        raise ValueError(f'{kind} cannot be cut into stages: the modules that it runs one after the other give maps at '
                         f'strides {", ".join(map(str, strides))}, and a detector needs 4, 8 and 16. Where the '
                         'network gives maps of its own, name it in the config as it is')
    parts = [[call.name for call in chain if call.stride < 4]]
    parts += [[call.name for call in chain if call.stride == stride] for stride in wanted]
    return tuple(' '.join(names) for names in parts)
