"""Everything that can be known of a config before data are read."""
from typing import List, Sequence

from mmengine.config import Config

from ..errors import InputError
from .fit import Fit, build_model, check_fit
from .images import pixel_problems
from .parts import SPLITS, check_kinds, check_optimizer, check_parts, scope_of
from .problem import Problem
from .scopes import register

__all__ = ['check_config', 'check_run']


def check_run(cfg: Config, splits: Sequence[str] = SPLITS) -> Fit:
    """:func:`check_fit`, and everything else that can be known before data are read.

    Args:
        cfg: not changed.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` are looked at; with ``'train'`` the optimizer too.
    """
    try:
        check_kinds(cfg)
        register(scope_of(cfg))
    except InputError as error:
        return Fit(None, None, [Problem((), str(error))])
    fit = check_fit(cfg)
    problems = fit.problems + pixel_problems(cfg) + check_parts(cfg, splits)
    if 'train' in splits and cfg.get('optim_wrapper') and not problems:
        problems = check_optimizer(cfg, build_model(cfg))
    return fit._replace(problems=problems)


def check_config(cfg: Config, splits: Sequence[str] = SPLITS) -> List[str]:
    """What is wrong with a config, one sentence each with how to mend it; empty where nothing is known to be."""
    return [str(problem) for problem in check_run(cfg, splits).problems]
