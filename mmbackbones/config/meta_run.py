"""A model on the meta device, and the sizes of the maps that run through it: no memory, no arithmetic."""
import contextlib
import copy
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Sequence, Set, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..meta import on_meta
from .blame import parameters
from .scopes import register
from .tree import nodes

__all__ = [
    'IMAGE_SIZE', 'Maps', 'Misfit', 'build', 'follow', 'guard_channels', 'measure', 'model_class', 'package_configs',
    'parameters_of'
]

# pixels; all strides up to 128 divide it
IMAGE_SIZE = 512


class Maps(NamedTuple):
    """Sizes of some maps.

    Attributes:
        channels: of each map.
        strides: of each map, in input pixels; 0 for what is no map, such as a vector.
    """
    channels: Tuple[int, ...]
    strides: Tuple[int, ...]


class Misfit(Exception):
    """A layer gets other channels than it was built for.

    Attributes:
        layer: its name in the model.
        expected: channels that it was built for.
        given: channels that it got.
    """

    def __init__(self, layer: str, expected: int, given: int) -> None:
        super().__init__(f'{layer} was built for {expected} channels and gets {given}')
        self.layer, self.expected, self.given = layer, expected, given


def _offline(node: Any) -> None:
    """Leave out, in place, what a build would fetch or ask other processes for; the sizes stay."""
    for _, part in nodes(node):
        if not isinstance(part, dict):
            continue
        if part.get('type') == 'MMSyncBN':
            part['type'] = 'BN'
        if part.get('teacher_ckpt'):  # distillation loads it when it is built
            part['teacher_ckpt'] = None
        teacher = part.get('teacher_config')
        if isinstance(teacher, str) and not os.path.exists(teacher):  # from the root of MMDetection's repository
            packaged = package_configs('mmdet') / teacher.removeprefix('configs/')
            part['teacher_config'] = str(packaged) if packaged.is_file() else teacher


def build(cfg: Config, part: dict) -> nn.Module:
    """Build a model, or a part of one, in evaluation mode on the meta device, under the config's default scope.

    What asks its tensors for their values while it is built is built on the CPU and moved. Torch says that there are
    none by a ``RuntimeError``, and by a ``TypeError`` where NumPy wants them; an error of another cause comes again.
    """
    register(cfg.get('default_scope') or 'mmengine')
    part = copy.deepcopy(part)  # some classes write into their config
    _offline(part)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        try:
            with on_meta():
                model = MODELS.build(copy.deepcopy(part))
        except (RuntimeError, TypeError):
            model = MODELS.build(part)
    model.to('meta')  # torch.Tensor(n) heeds no default device
    model.eval()  # not chained: MMDetection's networks return None
    return model


def model_class(cfg: Config, part: dict) -> type:
    """The class of a part of a model."""
    scope = cfg.get('default_scope', 'mmengine')
    with DefaultScope.overwrite_default_scope(scope), MODELS.switch_scope_and_registry(scope) as registry:
        return registry.get(part['type']) if isinstance(part['type'], str) else part['type']


def parameters_of(cfg: Config, part: dict) -> Set[str]:
    """Names of the arguments of a part's class, and of what it hands on to the classes that it inherits."""
    return set(parameters(model_class(cfg, part)))


def package_configs(package: str) -> Path:
    """The folder with the configs of an installed package.

    Raises:
        FileNotFoundError: no such package.
    """
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise FileNotFoundError(f'no package {package!r} is installed; a config name is like '
                                f"'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'")
    folder = Path(spec.submodule_search_locations[0])
    return next((path for path in (folder / '.mim' / 'configs', folder.parent / 'configs') if path.is_dir()), folder)


def measure(outs: Any, image_size: int) -> Maps:
    """Sizes of what a module gives for a square image: a tensor, or a sequence of them."""
    outs = [outs] if isinstance(outs, Tensor) else list(outs)
    # vision transformers give a map and a token together
    outs = [out[0] if isinstance(out, (list, tuple)) else out for out in outs]
    return Maps(
        tuple(out.shape[1] if out.dim() == 4 else out.shape[-1] for out in outs),
        tuple(round(image_size / out.shape[-1]) if out.dim() == 4 else 0 for out in outs))


def follow(backbone: nn.Module, image_size: int = IMAGE_SIZE, channels: int = 3) -> Sequence[Tensor]:
    """The maps of a backbone on the meta device for one square image."""
    with on_meta():
        return backbone(torch.empty(1, channels, image_size, image_size))


@contextlib.contextmanager
def guard_channels(model: nn.Module) -> Iterator[None]:
    """Within, a convolution, linear layer or norm raises :class:`Misfit` for other channels than its own."""
    handles: List = []

    def watch(name: str, module: nn.Module, axis: int, expected: int) -> None:

        def check(module, inputs):
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape[axis] != expected:
                raise Misfit(name, expected, inputs[0].shape[axis])

        handles.append(module.register_forward_pre_hook(check))

    for name, module in model.named_modules():
        weight = getattr(module, 'weight', None)
        if isinstance(module, nn.Linear):
            watch(name, module, -1, module.in_features)
        elif isinstance(weight, Tensor) and weight.dim() == 4 and isinstance(getattr(module, 'in_channels', 0), int):
            if getattr(module, 'in_channels', 0):
                watch(name, module, 1, module.in_channels)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            watch(name, module, 1, module.num_features)
        elif isinstance(module, nn.GroupNorm):
            watch(name, module, 1, module.num_channels)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
