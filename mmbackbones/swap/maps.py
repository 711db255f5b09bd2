"""A backbone in a detector: its maps, and what takes them."""
import math
from typing import List, Sequence, Tuple

from ..catalogue import load_catalogue
from ..config.edit import Plan, SwapError
from ..config.fit import Fit
from ..config.meta_run import parameters_of
from ..config.tree import first_neck, get, nodes
from ..messages import listed
from .network import Network

__all__ = ['check_neck', 'swap_maps']

# stride-2 convolutions behind the last map, for parts that make no coarser maps themselves
ADAPTER = dict(type='ChannelMapper', kernel_size=1, act_cfg=None, norm_cfg=dict(type='GN', num_groups=32))

ADAPTER_CHANNELS = 256


def _names_with(strides: Sequence[int]) -> str:
    names = [row.name for row in load_catalogue() if set(strides) <= set(row.strides or ())]
    return f'{listed(names[:3])} and {len(names) - 3} more' if len(names) > 3 else listed(names) or 'none yet'


def _replace_lists(plan: Plan, old: Sequence[int], new: Sequence[int], why: str) -> None:
    """Give the new channels to the neck that lists the old ones, in either order, or without a neck to the heads.

    A neck such as SSD's passes the maps on, so that its ``out_channels`` begin with theirs; then the heads that list
    these follow.
    """
    model, old, new = plan.model, list(old), list(new)
    neck, _ = first_neck(model)

    def set_lists(roots: Sequence[Tuple], key: str, before: list, after: list) -> None:
        for root in roots:
            for path, node in nodes(get(model, root)):
                if path[-1:] == (key, ) and isinstance(node, (list, tuple)) and before != after \
                        and list(node) == before:
                    plan.set_model((*root, *path), type(node)(after) if isinstance(node, tuple) else after, why)

    heads = [(name, ) for name, part in model.items() if name.endswith('head') and part]
    if neck is None:
        set_lists(heads, 'in_channels', old, new)
        return
    root = ('neck', 0) if isinstance(model.neck, (list, tuple)) else ('neck', )
    passed_on = list(neck.out_channels) if isinstance(neck.get('out_channels'), (list, tuple)) else []
    if len(passed_on) > len(old) and passed_on[:len(old)] == old:
        set_lists([root], 'out_channels', passed_on, new + passed_on[len(old):])
        set_lists(heads, 'in_channels', passed_on, new + passed_on[len(old):])
    coarsest_first = list(neck.get('in_channels', old)) != old
    set_lists([root], 'in_channels', old[::-1] if coarsest_first else old, new[::-1] if coarsest_first else new)


def _put_in_front(plan: Plan, channels: Sequence[int], out_channels: int, num_outs: int, why: str) -> None:
    """Put a ChannelMapper between backbone and neck."""
    adapter = dict(ADAPTER, in_channels=list(channels), out_channels=out_channels, num_outs=num_outs)
    neck = plan.model.get('neck')
    if neck is None:
        plan.set_model(('neck', ), adapter, why)
        return
    rest = list(neck) if isinstance(neck, (list, tuple)) else [neck]
    # written as a whole, with what was changed in it before
    plan.forget((*plan.root, 'neck'))
    plan.set_model(('neck', ), [adapter, *rest], why, replace=True)


def _strides_of(fit: Fit) -> Tuple[int, ...]:
    """Strides as powers of two; SSD's 300 pixels do not divide by all of them."""
    return tuple(2**round(math.log2(stride)) for stride in fit.maps.strides)


def _used_maps(plan: Plan, channels: Sequence[int]) -> List[int]:
    """Which of the backbone's maps the next part uses; a neck that skips the first ones is told to skip none."""
    neck, key = first_neck(plan.model)
    everything = list(range(len(channels)))
    if neck is None or 'in_channels' not in neck:
        return everything
    expected = neck.in_channels
    if isinstance(expected, int):
        if expected not in channels:
            raise SwapError(
                f'{key} takes {expected} channels, which no map of the present backbone has: it is wired in '
                f'a way of its own, and no other backbone fits')
        return [max(index for index in everything if channels[index] == expected)]
    if list(expected) not in (list(channels), list(channels)[::-1]):
        raise SwapError(f'{key} lists the channels [{listed(expected)}], but the present backbone gives '
                        f'[{listed(channels)}]: no telling which map it means')
    start = neck.get('start_level', 0)
    if start > 0 and neck.get('end_level') in (None, -1):
        return everything[start:]
    return everything


def swap_maps(plan: Plan, fit: Fit, network: Network) -> None:
    """Backbone, neck and, where a head takes the maps directly, the head of a detector."""
    model, name = plan.model, network.row.name
    channels, strides = fit.maps.channels, _strides_of(fit)
    used = _used_maps(plan, channels)
    wanted = [strides[index] for index in used]
    neck, _ = first_neck(model)
    has_maps = max(network.stage_of)
    if len(set(wanted)) < len(wanted):
        raise SwapError(
            f'{model.type} takes several maps of one stride ({listed(wanted)}), as stacked hourglasses give '
            f'them; the backbones of the catalogue have one each. What fits: a detector of one map, such as CenterNet')
    finer = [stride for stride in wanted if stride < has_maps and stride not in network.stage_of]
    if finer:
        raise SwapError(f'{model.type} needs maps at strides {listed(wanted)}, and {name} has none at '
                        f'{listed(finer)}, only at {listed(network.stage_of)}. What fits: {_names_with(finer)}')
    kept = [stride for stride in wanted if stride in network.stage_of]
    by_role = 'as before'
    if not kept and len(wanted) == 1 and model.get('encoder'):
        kept = wanted = [has_maps]
        by_role = 'where it ends: the encoder sees more positions, at more cost'
    elif not kept:
        raise SwapError(
            f'{model.type} takes a map at stride {listed(wanted)}, and {name} ends at {has_maps}. What fits: '
            f'{_names_with(wanted)}')
    new = [network.channels_of[stride] for stride in kept]
    plan.set_model(('backbone', ),
                   network.config(kept),
                   f'{name}; {"maps at strides" if len(kept) > 1 else "its map at stride"} {listed(kept)}, {by_role}',
                   replace=True)
    path = ('neck', 0) if isinstance(model.get('neck'), (list, tuple)) else ('neck', )
    if len(used) < len(channels) and neck.get('start_level', 0) > 0:
        plan.set_model((*path, 'start_level'), 0, 'the maps that it skipped are not computed any more')
    if len(kept) == len(wanted):
        _take_channels(plan, path, used, channels, new)
        return
    coarser = f'{name} ends at stride {has_maps}: '
    if neck and 'num_outs' in parameters_of(plan.cfg, neck):
        if not neck.get('num_outs'):
            plan.set_model((*path, 'num_outs'), len(wanted), f'{coarser}the neck makes the coarser maps')
        if 'add_extra_convs' in parameters_of(plan.cfg, neck):
            plan.set_model((*path, 'add_extra_convs'), 'on_output', f'{coarser}convolutions make the coarser maps')
        _replace_lists(plan, channels, new, f'channels of the maps at strides {listed(kept)}')
        return
    _replace_lists(plan, channels, [ADAPTER_CHANNELS] * len(wanted), 'channels of the maps in front of it')
    _put_in_front(plan, new, ADAPTER_CHANNELS, len(wanted), f'{coarser}convolutions make the coarser maps')


def _take_channels(plan: Plan, path: Tuple, used: Sequence[int], old: Sequence[int], new: Sequence[int]) -> None:
    """Tell everything that takes the maps their channels."""
    model = plan.model
    neck, _ = first_neck(model)
    why = 'channels of the maps'
    if neck is not None and isinstance(neck.get('in_channels'), int):
        if neck.in_channels != new[0]:
            plan.set_model((*path, 'in_channels'), new[0], 'channels of the map')
        return
    if neck is not None or len(old) > 1 or any(
            list(node) == list(old)
            for key, node in nodes(model) if key[-1:] == ('in_channels', ) and isinstance(node, (list, tuple))):
        _replace_lists(plan, old, new, why)
        return
    if old[0] == new[0]:
        return
    if (model.get('roi_head') or {}).get('shared_head'):
        _put_in_front(plan, new, old[0], 1, f'roi_head.shared_head continues a network with {old[0]} channels')
        return
    for key, node in nodes(model):
        part = key[-2] if len(key) > 1 else None
        if isinstance(key[-1] if key else None, str) and node == old[0] and key[0] != 'backbone' and (
                key[-1] == 'in_channels' or (key[-1] == 'out_channels' and str(part).endswith('roi_extractor'))):
            plan.set_model(key, new[0], 'channels of the map')


def check_neck(model: dict, name: str) -> None:
    """Refuse a neck with a network of its own that feeds the backbone, which runs in turns with it."""
    neck, key = first_neck(model)
    for path, node in nodes(neck or {}):
        if isinstance(node, dict) and path and str(path[-1]).endswith('backbone'):
            raise SwapError(
                f'{key} ({neck.type}) holds a second backbone ({node.type}) and feeds its maps back into the first, '
                f'which {name} has no inputs for. What fits: the same detector with another neck, such as FPN')
