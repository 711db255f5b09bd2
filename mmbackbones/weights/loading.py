"""Weights, loaded strictly: every key and every shape must match.

What may be absent is listed here or by the caller, never guessed.
"""
from typing import Dict, Iterable, List, Mapping, Optional

from torch import Tensor, nn

from .reading import CheckpointError

__all__ = ['extract_state_dict', 'load_strictly']

# Absent from checkpoints of PyTorch < 0.4.1; it counts batches and changes no output.
MAY_BE_MISSING = ('num_batches_tracked', )
SHOWN_KEYS = 10


def extract_state_dict(checkpoint: Mapping, prefix: Optional[str] = None) -> Dict[str, Tensor]:
    """Find the backbone's weights in what a checkpoint file holds.

    Unwraps ``state_dict`` or ``model``, strips DataParallel's ``module.``, and takes the part under ``prefix``, or
    under ``backbone.`` where the file is that of a whole detector or classifier.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.
        prefix: the part to take, such as ``'backbone.'``. Defaults to None: found by itself.

    Returns:
        dict: name -> tensor.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    weights = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if weights and all(key.startswith('module.') for key in weights):
        weights = {key[len('module.'):]: value for key, value in weights.items()}
    if prefix is None and any(key.startswith('backbone.') for key in weights):
        prefix = 'backbone.'
    if prefix:
        prefix = prefix if prefix.endswith('.') else f'{prefix}.'
        weights = {key[len(prefix):]: value for key, value in weights.items() if key.startswith(prefix)}
    return weights


def _listing(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f' and {len(keys) - SHOWN_KEYS} more' if len(keys) > SHOWN_KEYS else ''
    return ', '.join(keys[:SHOWN_KEYS]) + more


def load_strictly(module: nn.Module,
                  state_dict: Mapping[str, Tensor],
                  source: str,
                  omitted: Iterable[str] = (),
                  optional: Iterable[str] = ()) -> List[str]:
    """Load weights, or raise and leave the module as it was.

    Args:
        module: what to load into.
        state_dict: name -> tensor.
        source: where it comes from, for the message.
        omitted: prefixes of parts that the module leaves out on purpose, such as stages beyond the last output.
        optional: prefixes of parts that keep their initial values where the weights have no key of them at all.

    Returns:
        list[str]: the optional prefixes that the weights did not have.

    Raises:
        CheckpointError: it names keys that are missing, not expected, or of another shape.
    """
    omitted = tuple(omitted)
    wanted = module.state_dict()
    given = {key: value for key, value in state_dict.items() if key in wanted or not key.startswith(omitted or '\0')}
    matching = wanted.keys() & given.keys()
    if not matching:
        raise CheckpointError(
            f'{source}: no key matches {type(module).__name__}. It has {_listing(state_dict) or "nothing"}; '
            f'expected {_listing(wanted)}')
    fresh = [
        prefix for prefix in optional
        if any(key.startswith(prefix) for key in wanted) and not any(key.startswith(prefix) for key in given)
    ]
    may_be_missing = tuple(fresh) or '\0'
    missing = [
        key for key in wanted
        if key not in given and not key.endswith(MAY_BE_MISSING) and not key.startswith(may_be_missing)
    ]
    unexpected = [key for key in given if key not in wanted]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, expected {tuple(wanted[key].shape)}' for key in wanted
        if key in matching and given[key].shape != wanted[key].shape
    ]
    problems = [
        f'{len(keys)} {what}: {_listing(keys)}'
        for what, keys in (('missing', missing), ('not expected', unexpected), ('of another shape', reshaped)) if keys
    ]
    if problems:
        raise CheckpointError(f'{source} does not fit {type(module).__name__}: ' + '; '.join(problems))
    module.load_state_dict(given, strict=False)
    return fresh
