"""A backbone in a detector: its maps, and what takes them."""
import math
from typing import List, Sequence, Tuple

from ..catalogue import load_catalogue
from ..config.edit import Plan, SwapError
from ..config.fit import Fit
from ..config.meta_run import parameters_of
from ..config.tree import first_neck, get, nodes
from ..messages import listed, some_of
from .network import Network

__all__ = ['check_neck', 'swap_maps']

# stride-2 convolutions behind the last map, for parts that make no coarser maps themselves
ADAPTER = dict(type='ChannelMapper', kernel_size=1, act_cfg=None, norm_cfg=dict(type='GN', num_groups=32))

ADAPTER_CHANNELS = 256


def _names_with(strides: Sequence[int]) -> str:
    names = [row.name for row in load_catalogue() if set(strides) <= set(row.strides or ())]
    return some_of(names, 3) or 'none yet'


def _replace_lists(plan: Plan, old: Sequence[int], new: Sequence[int], why: str) -> None:
    """Give the new channels to the neck that lists the old ones, in either order, or without a neck to the heads.

    A neck such as SSD's passes the maps on, so that its ``out_channels`` begin with theirs; then the heads that list
    these follow.
    """
    model, old, new = plan.model, list(old), list(new)
    neck, root = first_neck(model)

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
    plan.forget(plan.owner.path('neck'))
    plan.set_model(('neck', ), [adapter, *rest], why, replace=True)


def _strides_of(fit: Fit) -> Tuple[int, ...]:
    """Strides as powers of two; SSD's 300 pixels do not divide by all of them."""
    return tuple(2**round(math.log2(stride)) for stride in fit.maps.strides)


def _used_maps(plan: Plan, channels: Sequence[int]) -> List[int]:
    """Which of the backbone's maps the next part uses; a neck that skips the first ones is told to skip none."""
    neck, inside = first_neck(plan.model)
    key = plan.key(*inside)
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
                        f'[{listed(channels)}]: it is not clear which map it means')
    start = neck.get('start_level', 0)
    if start > 0 and neck.get('end_level') in (None, -1):
        return everything[start:]
    return everything


def swap_maps(plan: Plan, fit: Fit, network: Network) -> None:
    """Backbone, neck and, where a head takes the maps directly, the head of a detector."""
    channels, strides = fit.maps.channels, _strides_of(fit)
    used = _used_maps(plan, channels)
    wanted = [strides[index] for index in used]
    _check_strides(plan, network, wanted)
    kept, by_role = [stride for stride in wanted if stride in network.stage_of], 'as before'
    if not kept:  # one map, of a transformer: it sees more positions
        kept = wanted = [max(network.stage_of)]
        by_role = 'where it ends: the encoder sees more positions, at more cost'
    which = 'maps at strides' if len(kept) > 1 else 'its map at stride'
    plan.set_model(('backbone', ),
                   network.config(kept),
                   f'{network.row.name}; {which} {listed(kept)}, {by_role}',
                   replace=True)
    neck, path = first_neck(plan.model)
    if len(used) < len(channels) and neck.get('start_level', 0) > 0:
        plan.set_model((*path, 'start_level'), 0, 'the maps that it skipped are not computed any more')
    if len(kept) == len(wanted):
        _take_channels(plan, path, used, channels, [network.channels_of[stride] for stride in kept])
    else:
        _make_coarser_maps(plan, network, channels, kept, len(wanted))


def _check_strides(plan: Plan, network: Network, wanted: Sequence[int]) -> None:
    """Refuse a detector that takes maps which the backbone does not give, and which nothing can make of those it gives.

    Args:
        plan: of the swap.
        network: the new backbone.
        wanted: strides of the maps that the detector takes.
    """
    kind, name, last = plan.model.type, network.row.name, max(network.stage_of)
    if len(set(wanted)) < len(wanted):
        raise SwapError(
            f'{kind} takes several maps of one stride ({listed(wanted)}), as stacked hourglasses give '
            f'them; the backbones of the catalogue have one each. What fits: a detector of one map, such as CenterNet')
    finer = [stride for stride in wanted if stride < last and stride not in network.stage_of]
    if finer:
        raise SwapError(f'{kind} needs maps at strides {listed(wanted)}, and {name} has none at '
                        f'{listed(finer)}, only at {listed(network.stage_of)}. What fits: {_names_with(finer)}')
    none_left = not any(stride in network.stage_of for stride in wanted)
    if none_left and not (len(wanted) == 1 and plan.model.get('encoder')):
        raise SwapError(f'{kind} takes a map at stride {listed(wanted)}, and {name} ends at {last}. What fits: '
                        f'{_names_with(wanted)}')


def _make_coarser_maps(plan: Plan, network: Network, old: Sequence[int], kept: Sequence[int], number: int) -> None:
    """Have the neck make the maps that a backbone of fewer strides lacks, or convolutions in front of it.

    Args:
        plan: of the swap.
        network: the new backbone.
        old: channels of all maps of the old one.
        kept: strides of the maps that the new one gives.
        number: how many maps are wanted.
    """
    neck, path = first_neck(plan.model)
    new = [network.channels_of[stride] for stride in kept]
    coarser = f'{network.row.name} ends at stride {max(network.stage_of)}: '
    known = parameters_of(plan.cfg, neck) if neck else ()
    if 'num_outs' in known:
        if not neck.get('num_outs'):
            plan.set_model((*path, 'num_outs'), number, f'{coarser}the neck makes the coarser maps')
        if 'add_extra_convs' in known:
            plan.set_model((*path, 'add_extra_convs'), 'on_output', f'{coarser}convolutions make the coarser maps')
        _replace_lists(plan, old, new, f'channels of the maps at strides {listed(kept)}')
        return
    _replace_lists(plan, old, [ADAPTER_CHANNELS] * number, 'channels of the maps in front of it')
    _put_in_front(plan, new, ADAPTER_CHANNELS, number, f'{coarser}convolutions make the coarser maps')


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


def check_neck(plan: Plan, name: str) -> None:
    """Refuse a neck with a network of its own that feeds the backbone, which runs in turns with it.

    Args:
        plan: before any change.
        name: of the new backbone.
    """
    neck, inside = first_neck(plan.model)
    for path, node in nodes(neck or {}):
        if isinstance(node, dict) and path and str(path[-1]).endswith('backbone'):
            raise SwapError(
                f'{plan.key(*inside)} ({neck.type}) holds a second backbone ({node.type}) and feeds its maps back '
                f'into the first, which {name} has no inputs for. What fits: the same detector with another neck, '
                f'such as FPN')
