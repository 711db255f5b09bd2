"""Networks on the meta device, where tensors have sizes and no values: no memory, no arithmetic."""
import contextlib
import importlib
from typing import Any, Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ['on_meta']

# What initialisation does to weights. Without values to set, on the meta device it is half the time of a build.
DRAWS = {Tensor.uniform_, Tensor.normal_, Tensor.erfinv_, Tensor.clamp_}


class _NumbersOnCpu(TorchFunctionMode):
    """Drop path rates are drawn up with ``torch.linspace(...)`` and read one by one: they must have values."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in DRAWS and args[0].is_meta:
            return args[0]
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault('device', 'cpu')
        return func(*args, **kwargs)


def _as_convolution(x, offset, weight, stride=1, padding=0, dilation=1, groups=1, *_, **__) -> Tensor:
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)


def _as_modulated(x, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *_, **__) -> Tensor:
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _as_interpolation(x, masks, kernel_size, group_size=1, scale_factor=1) -> Tensor:
    return F.interpolate(x, scale_factor=scale_factor)


# file of mmcv.ops, name in it, what gives maps of the same sizes
STAND_INS = (('deform_conv', 'deform_conv2d', _as_convolution), ('saconv', 'deform_conv2d', _as_convolution),
             ('modulated_deform_conv', 'modulated_deform_conv2d', _as_modulated), ('carafe', 'carafe',
                                                                                   _as_interpolation))


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Callable) -> Iterator[None]:
    """Within, an attribute of a module is another function."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """New tensors are on the meta device, and MMCV's operators, which have no meta form, give maps of their sizes.

    MMCV's layers look these operators up by their names in their modules, and have no other switch.
    """
    with contextlib.ExitStack() as stack:
        for file, name, stand_in in STAND_INS:
            stack.enter_context(_replaced(importlib.import_module(f'mmcv.ops.{file}'), name, stand_in))
        stack.enter_context(torch.device('meta'))
        stack.enter_context(_NumbersOnCpu())
        stack.enter_context(torch.no_grad())
        yield
