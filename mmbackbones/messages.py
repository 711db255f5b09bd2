"""Lists and hints as messages say them, so that all of them say it alike."""
import difflib
from typing import Any, Callable, Iterable, List

__all__ = ['did_you_mean', 'listed', 'near_names', 'some_of']


def listed(values: Iterable[Any]) -> str:
    """``'64, 128, 256'``."""
    return ', '.join(map(str, values))


def some_of(values: Iterable[Any], most: int, show: Callable[[Any], str] = str) -> str:
    """The first ones, and how many others there are: ``'a, b and 3 more'``.

    Args:
        values: what is listed.
        most: how many of them at most.
        show: how one of them is written.
    """
    values = list(values)
    return listed(map(show, values[:most])) + (f' and {len(values) - most} more' if len(values) > most else '')


def near_names(name: str, known: Iterable[str], cutoff: float = 0.5) -> List[str]:
    """Up to four names that one may have meant: those that begin with it, then those that are spelt alike.

    Args:
        name: what was given; upper and lower case are the same, as ``sgd`` is SGD.
        known: what there is.
        cutoff: how alike the spelling must be, from 0 to 1.
    """
    name, lower = str(name).lower(), {each.lower(): each for each in known}
    longer = [each for each in lower if name and each.startswith(name)]
    near = dict.fromkeys(longer + difflib.get_close_matches(name, lower, n=4, cutoff=cutoff))
    return [lower[each] for each in near][:4]


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6, otherwise: str = '') -> str:
    """``'; did you mean a, b?'``, what is said behind an unknown name.

    Args:
        name: see :func:`near_names`.
        known: see there.
        cutoff: see there.
        otherwise: what is said in its place where no name is near, such as what lists all names.
    """
    near = near_names(name, known, cutoff)
    return f'; did you mean {listed(near)}?' if near else f'; {otherwise}' if otherwise else ''
