"""What became of the weights in a checkpoint, counted part by part."""
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Tuple

from torch import Tensor, nn

from ..messages import some_of
from .finding import shown
from .parts import backbones_of, part_of

__all__ = ['Report', 'listing']

# Absent from checkpoints of PyTorch < 0.4.1; it counts batches and changes no output.
COUNTER = 'num_batches_tracked'
SHOWN_KEYS = 10
# of each part, where there are several
SHOWN_KEYS_OF_PART = 3


def listing(keys: Iterable[str], count: int = SHOWN_KEYS) -> str:
    """Some keys in a message, and how many more there are."""
    return some_of(keys, count, shown)


@dataclass(eq=False)
class Report:
    """What a module took of the weights that it was offered.

    Attributes:
        module: the module.
        path: where in the checkpoint they are.
        wanted: names of the module's weights.
        taken: those that the file has, in the right shape -> the tensor.
        missing: names that the file lacks.
        fresh: prefixes of those of them that no published weights have, so that they stay as initialised.
        reshaped: name -> shape in the file and in the module, and what kind of numbers where it is that.
        unexpected: names in the file that the module lacks.
        resized: names of tables that were interpolated.
        beside: paths of averages that would fit as well.
        errors: what else went wrong.
    """
    module: nn.Module
    path: str = ''
    wanted: List[str] = field(default_factory=list)
    taken: Dict[str, Tensor] = field(default_factory=dict)
    missing: List[str] = field(default_factory=list)
    fresh: List[str] = field(default_factory=list)
    reshaped: Dict[str, Tuple[str, str]] = field(default_factory=dict)
    unexpected: List[str] = field(default_factory=list)
    resized: List[str] = field(default_factory=list)
    beside: List[str] = field(default_factory=list)
    errors: List[str] = field(default_factory=list)

    @property
    def matched(self) -> List[str]:
        """Names of what was taken, without the counters, which modules make up where they are missing."""
        return [key for key in self.taken if not key.endswith(COUNTER)]

    @property
    def is_whole(self) -> bool:
        """Whether the file has all that the module wants."""
        return bool(self.matched) and not (self.missing or self.reshaped or self.errors)

    @property
    def empty_backbones(self) -> List[str]:
        """Names of backbones that got nothing at all."""
        return [
            name for name in backbones_of(self.module)
            if any(key.startswith(f'{name}.')
                   for key in self.wanted) and not any(key.startswith(f'{name}.') for key in self.matched)
        ]

    def summary(self, unused: str = 'not expected') -> str:
        """One phrase for each part, such as ``backbone 180 of 180, neck 14 of 16 (2 missing: ...)``.

        Args:
            unused: what to call weights in the file that the module lacks.
        """
        backbones = backbones_of(self.module)
        count = SHOWN_KEYS_OF_PART if backbones else SHOWN_KEYS

        def of(part: str, keys: Iterable[str]) -> List[str]:
            return [key for key in keys if not backbones or part_of(key, backbones) == part]

        counted = [key for key in self.wanted if not key.endswith(COUNTER)]
        names = dict.fromkeys(part_of(key, backbones) for key in counted) if backbones else ['']
        gone = {*self.missing, *self.reshaped, *(key for key in counted if key.startswith(tuple(self.fresh) or '\0'))}
        phrases = []
        for part in names:
            wanted, missing, reshaped = of(part, counted), of(part, self.missing), of(part, self.reshaped)
            loaded = sum(key not in gone for key in wanted)
            shapes = [f'{key} is {self.reshaped[key][0]}, expected {self.reshaped[key][1]}' for key in reshaped]
            details = [
                f'{len(keys)} {what}: {listing(keys, count)}'
                for what, keys in (('missing', missing), ('of another shape', shapes)) if keys
            ]
            phrases.append(f'{part} {loaded} of {len(wanted)}'.lstrip() +
                           (f' ({"; ".join(details)})' if details else ''))
        ends = [f'{len(self.unexpected)} {unused}: {listing(self.unexpected, count)}'] if self.unexpected else []
        ends += [f'{len(self.resized)} interpolated: {listing(self.resized, count)}'] if self.resized else []
        ends += [f'not in it, so as initialised: {listing(self.fresh)}'] if self.fresh else []
        ends += [f'taken from {shown(self.path)}, not from the average in {listing(self.beside)}'
                 ] if self.beside else []
        return '; '.join([', '.join(phrases), *ends, *map(shown, self.errors)])
