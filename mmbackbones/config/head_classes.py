"""Whether the heads of a model have as many classes as the data set."""
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from ..errors import InputError

__all__ = ['check_head_classes']

# heads whose classes are others than those of the data set: object or not, pixels, persons to tell apart
OTHERS = ('rpn_head', 'semantic_head', 'reid', 'embed_head', 'track_head')


def _heads(node: Any, key: str = 'model', is_head: bool = False) -> Iterator[Tuple[str, dict]]:
    """Everything in a model's config that has classes by its role: heads, and what fuses their results."""
    if isinstance(node, dict):
        if is_head:
            yield key, node
        for name, child in node.items():
            if name not in OTHERS and not name.startswith('loss'):
                yield from _heads(child, f'{key}.{name}', name.endswith('head'))
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _heads(child, f'{key}[{index}]', is_head)


def check_head_classes(model: dict, num_classes: int, dataset_key: str, num_things: Optional[int] = None) -> None:
    """Compare the numbers of classes of every head in a model's config with the data set.

    Args:
        model: the model's config.
        num_classes: classes of the data set.
        dataset_key: config key of the data set, for the message.
        num_things: how many of them are things, which can be counted, in a data set of panoptic segmentation. Defaults
            to None: all.

    Raises:
        InputError: it names the config keys that differ, and what they must be.
    """
    things = num_classes if num_things is None else num_things
    wrong: List[str] = []

    def compare(key: str, node: dict, name: str, expected: int) -> None:
        if isinstance(node.get(name), int) and node[name] != expected:
            wrong.append(f'{key}.{name}={node[name]}, expected {expected}')

    for key, node in _heads(model):
        panoptic = 'num_things_classes' in node or 'num_stuff_classes' in node
        # of masks and boxes, only things have them
        compare(key, node, 'num_classes', num_classes if panoptic else things)
        compare(key, node, 'num_things_classes', things)
        compare(key, node, 'num_stuff_classes', num_classes - things)
        weights = (node.get('loss_cls') or {}).get('class_weight') if isinstance(node.get('loss_cls'), dict) else None
        expected = (num_classes if panoptic else things, (num_classes if panoptic else things) + 1)
        if isinstance(weights, Sequence) and len(weights) not in expected:
            wrong.append(f'{key}.loss_cls.class_weight has {len(weights)} values, expected {expected[1]}, the last one '
                         f'for the background')
    if wrong:
        raise InputError(f'{dataset_key} has {num_classes} classes, but {"; ".join(wrong)}')
