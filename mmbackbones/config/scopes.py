"""The libraries that a config names, imported without what they print of parts that are not there."""
import contextlib
import importlib
import io
import warnings
from importlib.util import find_spec

from ..errors import InputError

__all__ = ['register']


def register(scope: str) -> None:
    """Import all that a library registers, so that its types are known.

    Args:
        scope: a config's ``default_scope``; MMEngine's own needs nothing.

    Raises:
        InputError: no such library is installed.
    """
    if scope == 'mmengine':
        return
    if not isinstance(scope, str) or not scope.isidentifier() or find_spec(scope) is None:
        raise InputError(f'default_scope={scope!r}: no such package is installed; expected mmdet or mmpretrain')
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            utils = importlib.import_module(f'{scope}.utils')
        except ModuleNotFoundError as error:
            if error.name != f'{scope}.utils':
                raise
            return
        if hasattr(utils, 'register_all_modules'):
            utils.register_all_modules(init_default_scope=False)
