"""``init_cfg=dict(type='Pretrained', ...)`` of any module, ours or not: strict.

MMEngine's initializer loads what fits and logs the rest; some modules of MMDetection load in ways of their own, which
say nothing at all.
"""
import copy
import re
import weakref
from typing import List, Optional

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from .finding import extract_state_dict, shown
from .loading import check_finite, load_part
from .reading import CheckpointError, look_at_checkpoint, read_checkpoint
from .report import Report, listing

__all__ = ['StrictPretrainedInit', 'check_own_loaders', 'load_pretrained', 'pretrained_of', 'use_strict_initializers']

# Layers that detectors add to backbones of classifiers, so that no published weights have them: offsets of deformable
# convolutions, what switchable atrous convolutions add to a convolution, the input of a recursive pyramid's maps.
ADDED = ('conv_offset', 'offset_s', 'offset_l', 'switch', 'weight_diff', 'pre_context', 'post_context', 'rfp_conv')
# Norms of the maps that a backbone gives out; a classifier has that of its last map, if any.
OUTPUT_NORM = re.compile(r'norm\d+\.')
REMEDY = ('To load what fits and leave the rest as initialised, put partial=True into that init_cfg, or pass '
          '--partial-weights')

# what the initializer below has loaded, and so checked
_LOADED: 'weakref.WeakSet[nn.Module]' = weakref.WeakSet()


def added_parts(module: nn.Module) -> List[str]:
    """Prefixes of what a module has beyond the network that its weights were published for."""
    found = []
    for name, child in module.named_modules():
        inside = f'{name}.' if name else ''
        for order in (1, 2, 3):  # MMDetection's blocks with plugins: attention and context behind a convolution
            found += [f'{inside}{plugin}.' for plugin in getattr(child, f'after_conv{order}_plugin_names', ())]
    for key in module.state_dict():
        parts = key.split('.')
        depth = next((index for index, part in enumerate(parts) if part in ADDED), None)
        if depth is not None:
            found.append('.'.join(parts[:depth + 1]))
        if hasattr(module, 'out_indices') and OUTPUT_NORM.match(key):
            found.append(OUTPUT_NORM.match(key)[0])
    return list(dict.fromkeys(found))


def load_pretrained(module: nn.Module, source: str, prefix: Optional[str] = None, partly: bool = False) -> Report:
    """Load a module of another package from a file of its own or of a larger model, strictly, and say so.

    Args:
        module: what to load into.
        source: file or address.
        prefix: only look below it.
        partly: load what fits.

    Raises:
        CheckpointError: it cannot be read or does not fit; the weights stay as they were.
    """
    report = load_part(
        module,
        read_checkpoint(source),
        f'checkpoint {source}',
        prefix,
        partly,
        added_parts(module),
        extras=True,
        remedy=REMEDY)
    print_log(f'{type(module).__name__}: loaded {source}: {report.summary("not used")}', logger='current')
    return report


class StrictPretrainedInit(PretrainedInit):
    """MMEngine's ``Pretrained``, which refuses what does not fit.

    Args:
        checkpoint: file or address.
        prefix: part of a larger model's checkpoint. Defaults to None: where the module's names are found.
        map_location: as MMEngine's; the values are copied to where the module is anyway.
        partial: load what fits.
    """

    def __init__(self, checkpoint: str, prefix: Optional[str] = None, map_location: str = 'cpu', partial: bool = False):
        super().__init__(checkpoint, prefix, map_location)
        self.partial = partial

    def __call__(self, module: nn.Module) -> None:
        if hasattr(module, 'to_own_names'):  # our backbones know more names
            module.load_pretrained(self.checkpoint, self.prefix, self.partial)
        else:
            load_pretrained(module, self.checkpoint, self.prefix, self.partial)
        _LOADED.add(module)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


def use_strict_initializers() -> None:
    """Put the strict ``Pretrained`` in MMEngine's place, for the whole process."""
    WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=StrictPretrainedInit, force=True)


def pretrained_of(module: nn.Module) -> Optional[dict]:
    """The ``init_cfg`` by which a module loads weights; also where ``pretrained`` stands in its place."""
    config = getattr(module, 'init_cfg', None)
    for each in config if isinstance(config, (list, tuple)) else [config]:
        # MMDetection's Pyramid Vision Transformers leave the type out
        if isinstance(each, dict) and each.get('type', 'Pretrained') in ('Pretrained', PretrainedInit):
            return dict(each)
    pretrained = getattr(module, 'pretrained', None)
    return dict(type='Pretrained', checkpoint=pretrained) if isinstance(pretrained, str) else None


def check_own_loaders(model: nn.Module, partly: bool = False) -> None:
    """Try the weights of modules that load them in a way of their own, such as MMDetection's Swin Transformer.

    A copy of the module whose values are no numbers loads them: what still is none did not come from the file.

    Args:
        model: it is not changed.
        partly: something from the file is enough.

    Raises:
        CheckpointError: the file does not fit; it counts what came from it.
    """
    for name, module in model.named_modules():
        config = pretrained_of(module)
        if config and config.get('checkpoint') and not hasattr(module, 'to_own_names') and _overrides(module):
            _try_own_loader(module, config, name, partly or config.get('partial', False))


def _overrides(module: nn.Module) -> bool:
    return any('init_weights' in vars(base) for base in type(module).__mro__
               if not base.__module__.startswith('mmengine.'))


def _try_own_loader(module: nn.Module, config: dict, name: str, partly: bool) -> None:
    source, kind = f'checkpoint {config["checkpoint"]}', f'{type(module).__name__} ({name})'
    hint = 'It takes the names of its own project' + (
        '; those of the authors, where the backbone has convert_weights=True'
        if hasattr(module, 'convert_weights') else '')
    trial = copy.deepcopy(module)
    state = {key: value for key, value in trial.state_dict().items() if value.is_floating_point()}
    for value in state.values():
        value.fill_(float('nan'))
    try:
        with torch.random.fork_rng(devices=[]):
            trial.init_weights()
    except CheckpointError:
        raise
    except Exception as error:  # a loader that does not expect what it meets fails in any way
        raise CheckpointError(f'{source}: {kind} does not understand it ({type(error).__name__}: {shown(str(error))}). '
                              f'{hint}') from error
    if trial in _LOADED:
        return
    added = tuple(added_parts(trial)) or '\0'
    untouched = [key for key, value in state.items() if value.isnan().all()]
    report = Report(trial, wanted=list(state), missing=[key for key in untouched if not key.startswith(added)])
    report.fresh = [prefix for prefix in added if any(key.startswith(prefix) for key in untouched)]
    if len(untouched) == len(state):
        raise CheckpointError(f'{source}: {kind} takes nothing from it. {hint}')
    if report.missing and not partly:
        raise CheckpointError(f'{source} does not fit {kind}: {report.summary()}. {hint}')
    check_finite({key: value for key, value in state.items() if key not in untouched}, source)
    # copied into floating-point numbers as if they were the values themselves
    given = extract_state_dict(look_at_checkpoint(config['checkpoint']))  # the module itself takes it from there
    quantised = [key for key, value in given.items() if value.dtype in (torch.int8, torch.uint8)]
    if quantised:
        raise CheckpointError(f'{source}: {kind} takes floating-point numbers, and these are quantised: '
                              f'{listing(quantised)}')
    print_log(f'{kind}: loads {config["checkpoint"]}: {report.summary()}', logger='current')
