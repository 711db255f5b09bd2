"""Training and evaluation: what ``tools/train.py`` and ``tools/test.py`` do. Loads torch when it is called."""
from typing import List, Optional

from ..boundary import Situation, command

__all__ = ['test', 'train']


@command
def train(argv: Optional[List[str]], situation: Situation) -> None:
    """Train: the command ``tools/train.py``.

    Args:
        argv: command line without the program's name. Defaults to None: ``sys.argv``.
    """
    from .run import run_training
    run_training(argv, situation)


@command
def test(argv: Optional[List[str]], situation: Situation) -> None:
    """Evaluate: the command ``tools/test.py``.

    Args:
        argv: command line without the program's name. Defaults to None: ``sys.argv``.
    """
    from .run import run_test
    run_test(argv, situation)
