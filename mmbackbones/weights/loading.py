"""Weights, loaded strictly: every key and every shape must match.

What may be absent is listed here or by the caller, never guessed. A model takes the weights as its own modules take
them: those that know older names of theirs, or other authors' (``to_own_names`` of our backbones), translate first.
"""
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from .finding import Part, common_path, contents, find_parts, is_average, shown
from .reading import CheckpointError
from .report import COUNTER, Report, listing

__all__ = ['check_finite', 'load_part', 'load_strictly']


def _offer(module: nn.Module, weights: Dict[str, Tensor], metadata: Mapping, prefix: str, report: Report) -> None:
    """Give a module its weights, as ``load_state_dict`` does, and write down what it took.

    Args:
        module: what to load into.
        weights: with the names of the whole model; hooks of modules change it in place.
        metadata: versions of the modules that wrote them.
        prefix: of the module in the whole model.
        report: what became of the weights; changed in place.
    """
    buffers = {name: each for name, each in module._buffers.items() if name not in module._non_persistent_buffers_set}
    own = {prefix + name: each for name, each in {**module._parameters, **buffers}.items() if each is not None}
    for key in own.keys() & weights.keys():
        if own[key].is_floating_point() and not weights[key].is_floating_point():  # quantised, for example
            report.reshaped[key] = tuple(f'{tuple(each.shape)} of {each.dtype}'
                                         for each in (weights.pop(key), own[key]))
    module._load_from_state_dict(weights, prefix, metadata.get(prefix[:-1], {}), True, report.missing,
                                 report.unexpected, report.errors)
    for key in own.keys() & weights.keys():
        # PyTorch before 0.4 saved numbers with one dimension
        if weights[key].shape == own[key].shape or own[key].dim() == 0 and weights[key].shape == (1, ):
            report.taken[key] = weights[key]
        else:
            report.reshaped[key] = tuple(str(tuple(each.shape)) for each in (weights[key], own[key]))
    for name, child in module._modules.items():
        if child is not None:
            start = f'{prefix}{name}.'
            inside = {key: value for key, value in weights.items() if key.startswith(start)}
            _offer(child, _adapted(child, inside, start, report), metadata, start, report)


def _adapted(module: nn.Module, weights: Dict[str, Tensor], prefix: str, report: Report) -> Dict[str, Tensor]:
    """Weights with other authors' names -> with the module's own, where it is a backbone that knows them.

    Tables of other sizes are interpolated, and what the backbone leaves out on purpose is dropped.
    """
    if not hasattr(module, 'to_own_names'):
        return weights
    named = module.to_own_names({key[len(prefix):]: value for key, value in weights.items()})
    own, omitted = module.state_dict().keys(), tuple(module.omitted_prefixes) or '\0'
    named = {key: value for key, value in named.items() if key in own or not key.startswith(omitted)}
    resized = module.resize_tables(named)
    report.resized += [prefix + key for key, value in resized.items() if value.shape != named[key].shape]
    return {prefix + key: value for key, value in resized.items()}


def _load(module: nn.Module, part: Part, optional: Iterable[str], adapt: bool = True) -> Report:
    """Load what fits.

    Args:
        module: what to load into.
        part: the weights.
        optional: prefixes of parts that may be absent as a whole.
        adapt: whether their names may be other authors'.
    """
    report = Report(module, part.path, wanted=list(module.state_dict()))
    weights = _adapted(module, part.weights, '', report) if adapt else dict(part.weights)
    _offer(module, weights, part.metadata, '', report)
    # torch's own words for what is listed by shape
    report.errors = [error for error in report.errors if not error.startswith('size mismatch')]
    offered = {*report.taken, *report.reshaped, *report.unexpected}
    report.fresh = [
        prefix for prefix in optional
        if any(key.startswith(prefix) for key in report.missing) and not any(key.startswith(prefix) for key in offered)
    ]
    report.missing = [
        key for key in report.missing
        if key not in report.reshaped and not key.endswith(COUNTER) and not key.startswith(tuple(report.fresh) or '\0')
    ]
    return report


class _Kept:
    """The values that a module had, to go back to."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.values = {key: value.clone() for key, value in module.state_dict().items()}

    @torch.no_grad()
    def restore(self) -> None:
        for key, value in self.module.state_dict().items():
            value.copy_(self.values[key])


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are not numbers, or infinite: no network has them, but training that has failed.

    Raises:
        CheckpointError: it names them.
    """
    bad = [
        key for key, value in weights.items()
        if value.is_floating_point() and not value.is_meta and not torch.isfinite(value).all()
    ]
    if bad:
        raise CheckpointError(f'{source}: {len(bad)} of {len(weights)} tensors hold NaN or infinite values: '
                              f'{listing(bad)}. The training that wrote them has failed; take an earlier checkpoint')


def _same(one: Report, other: Report) -> bool:
    """Whether two parts of a file hold the same values."""
    return one.taken.keys() == other.taken.keys() and all(
        value is other.taken[key] or torch.equal(value, other.taken[key]) for key, value in one.taken.items())


def _choose(reports: List[Report], source: str) -> Report:
    """Of what was found in a file, that which fits best.

    Where several fit as a whole, the weights that training ended with come before an average (``model_ema``,
    ``encoder_k``, ...); a student and a teacher are two networks, and who loads must say which.

    Raises:
        CheckpointError: several fit; it says how to name one.
    """
    whole = sorted((report for report in reports if report.is_whole), key=lambda report: len(report.unexpected))
    if not whole:
        return max(reports, key=lambda report: (len(report.matched), -len(report.unexpected)))
    plain = [report for report in whole if not is_average(report.path)] or whole
    if not all(_same(report, plain[0]) for report in plain):
        start = common_path([report.path for report in plain])
        paths = sorted(report.path[len(start):].rstrip('.') or report.path for report in plain)
        raise CheckpointError(
            f'{source} holds {len(paths)} sets of weights that fit {type(plain[0].module).__name__}: {listing(paths)}. '
            f"Choose one: FILE::{paths[-1]} in place of FILE, or in an init_cfg prefix='{paths[-1]}'")
    plain[0].beside = [report.path for report in whole if report not in plain and not _same(report, plain[0])]
    return plain[0]


def _find(module: nn.Module, checkpoint: Mapping, source: str, prefix: Optional[str],
          optional: Iterable[str]) -> Tuple[Report, Part]:
    """Try what could be a module's weights, and choose. Leaves the module with any of them."""
    kind, reports, parts, reason = type(module).__name__, [], {}, None
    try:
        found = find_parts(checkpoint, module.state_dict(), prefix)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: no key matches {kind}. {error}') from None
    for part in found:
        try:
            reports.append(_load(module, part, optional))
            parts[part.path] = part
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = reason or error  # names that the module's own translation does not understand
    if not any(report.matched for report in reports):
        why = f'; read as its authors name them: {shown(str(reason))}' if reason else ''
        raise CheckpointError(f'{source}: no key matches {kind}. {contents(checkpoint)}; expected '
                              f'{listing(module.state_dict())}{why}')
    report = _choose(reports, source)
    return report, parts[report.path]


def load_part(module: nn.Module,
              checkpoint: Mapping,
              source: str,
              prefix: Optional[str] = None,
              partly: bool = False,
              optional: Iterable[str] = (),
              extras: bool = False,
              resize: bool = True,
              remedy: str = '',
              dry: bool = False) -> Report:
    """Find a module's weights in a checkpoint and load them, or raise and leave the module as it was.

    Args:
        module: a backbone, any other part, or a whole model.
        checkpoint: what :func:`read_checkpoint` returned.
        source: where it comes from, for the message.
        prefix: only look below it, see :func:`find_parts`.
        partly: load what fits, and leave the rest as it is. Of each backbone something must fit.
        optional: prefixes of parts that keep their initial values where the weights have no key of them at all.
        extras: weights that the module has no place for, such as a classifier, are no error.
        resize: tables of another image or window size may be interpolated, as in fine-tuning. Without it they are of
            another shape.
        remedy: what to do about weights that do not fit, a sentence for the message.
        dry: only look whether they would load.

    Returns:
        Report: what was loaded.

    Raises:
        CheckpointError: it counts, part by part, what fits, and names keys that do not; or values are not finite.
    """
    kept, optional = _Kept(module), tuple(optional)
    try:
        report, part = _find(module, checkpoint, source, prefix, optional)
        if report.resized and not resize:
            raise CheckpointError(
                f'{source} is of {type(module).__name__} with other sizes: {listing(report.resized)} would '
                f'have to be interpolated. Take the config that it was trained with')
        if not partly and not (report.is_whole and (extras or not report.unexpected)):
            # another network, or the weights are packed in a way that was not found
            said = [contents(checkpoint)] if 2 * len(report.matched) < len(report.wanted) else []
            raise CheckpointError('. '.join([
                f'{source} does not fit {type(module).__name__}: {report.summary()}', *said,
                *([remedy] if remedy else [])
            ]))
        if partly and report.empty_backbones:
            raise CheckpointError(f'{source}: nothing in it fits the {listing(report.empty_backbones)} of '
                                  f'{type(module).__name__}: {report.summary("not used")}')
        check_finite(report.taken, source)
    finally:
        kept.restore()
    if not dry:
        _load(module, part, optional)
    return report


def load_strictly(module: nn.Module,
                  state_dict: Mapping[str, Tensor],
                  source: str,
                  omitted: Iterable[str] = (),
                  optional: Iterable[str] = ()) -> List[str]:
    """Load weights with the module's own names, or raise and leave the module as it was.

    Args:
        module: what to load into.
        state_dict: name -> tensor.
        source: where it comes from, for the message.
        omitted: prefixes of parts that the module leaves out on purpose, such as stages beyond the last output.
        optional: prefixes of parts that keep their initial values where the weights have no key of them at all.

    Returns:
        list[str]: the optional prefixes that the weights did not have.

    Raises:
        CheckpointError: it names keys that are missing, not expected, or of another shape, or not finite.
    """
    kept, kind = _Kept(module), type(module).__name__
    given = {
        key: value
        for key, value in state_dict.items() if key in kept.values or not key.startswith(tuple(omitted) or '\0')
    }
    # the names are the module's present ones: nothing in it need translate older ones
    report = _load(module, Part('', given, module.state_dict()._metadata), optional, adapt=False)
    try:
        if not report.matched:
            raise CheckpointError(f'{source}: no key matches {kind}. It has {listing(state_dict) or "nothing"}; '
                                  f'expected {listing(kept.values)}')
        if not report.is_whole or report.unexpected:
            raise CheckpointError(f'{source} does not fit {kind}: {report.summary()}')
        check_finite(report.taken, source)
    except CheckpointError:
        kept.restore()
        raise
    return report.fresh
