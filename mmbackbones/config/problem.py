"""What is wrong with a config, said of a part by the keys that lead to it and formatted in one place."""
from typing import NamedTuple, Optional, Tuple, Union

from ..errors import InputError
from .tree import dotted

__all__ = ['ConfigError', 'Problem']


class Problem(NamedTuple):
    """What is wrong with a part of a config, in one sentence.

    Attributes:
        path: keys that lead to the part from the top of the config; the first may be several, written as in messages.
        text: what is said behind the key.
        remedies: what would mend it, any one of them.
        before: what is said in front of the key.
        error: what was raised there, where anything was.
    """
    path: Tuple[Union[str, int], ...]
    text: str
    remedies: Tuple[str, ...] = ()
    before: str = ''
    error: Optional[BaseException] = None

    def __str__(self) -> str:
        remedies = f': {", or ".join(self.remedies)}' if self.remedies else ''
        return f'{self.before}{dotted(self.path)}{self.text}{remedies}'


class ConfigError(InputError):
    """A part of a config that cannot be used.

    Args:
        problem: what is wrong with it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem
