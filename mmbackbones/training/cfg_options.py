"""``--cfg-options KEY=VALUE``: values read from text, and put into a config."""
import argparse
import ast
import copy
from typing import Any, Dict, List, Sequence

from mmengine.config import Config

from ..config.blame import arguments_of
from ..config.parts import runner_keys
from ..errors import InputError, one_line
from ..messages import did_you_mean

__all__ = ['ConfigOptions', 'apply_options', 'parse_value']

BRACKETS = {'[': ']', '(': ')', '{': '}'}
# keys that tell MMEngine how to merge, and name no value
MERGING = ('_delete_', '_scope_')


def parse_value(text: str) -> Any:
    """Read a value as a shell hands it over.

    Lists, tuples and dicts (``{key: value}`` or ``dict(key=value)``) may hold each other; words in them need no quotes.
    ``1,2`` is a list. Numbers, true, false and None are what they say, unless they are quoted.

    Raises:
        ValueError: brackets or quotes that are not closed, or something behind them.
    """
    reader = _Reader(text)
    values = [reader.value(',')]
    while reader.take(','):
        if not reader.at_end():
            values.append(reader.value(','))
    if not reader.at_end():
        raise ValueError(f'{reader.rest()!r} is too much; a text with brackets or commas needs quotes')
    return values if len(values) > 1 or text.rstrip().endswith(',') else values[0]


class _Reader:
    """Reads one value after the other from a text."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def rest(self) -> str:
        return self.text[self.position:].lstrip()

    def at_end(self) -> bool:
        return not self.rest()

    def take(self, token: str) -> bool:
        """Step over a token that comes next; False where another comes."""
        rest = self.rest()
        if not rest.startswith(token):
            return False
        self.position = len(self.text) - len(rest) + len(token)
        return True

    def value(self, ends: str) -> Any:
        """The next value; a word without quotes ends at one of the given characters."""
        if self.take('dict('):
            return dict(self._items('=', ')'))
        if self.take('{'):
            return dict(self._items(':', '}'))
        if self.take('['):
            return list(self._items('', ']'))
        if self.take('('):
            return tuple(self._items('', ')'))
        if self.rest()[:1] in ('"', "'"):
            return self._quoted()
        return _scalar(self._word(ends))

    def _items(self, separator: str, end: str) -> list:
        items = []
        while not self.take(end):
            if self.at_end():
                raise ValueError(f'{end!r} is missing')
            item = self.value(',' + separator + end)
            if separator:
                if not self.take(separator):
                    raise ValueError(f'{separator!r} is missing behind {item!r}')
                item = str(item) if separator == '=' else item, self.value(',' + end)
            items.append(item)
            if not self.take(',') and not self.rest().startswith(end):
                raise ValueError(f'{end!r} is missing' if self.at_end() else f'{self.rest()!r} is too much')
        return items

    def _quoted(self) -> str:
        start = len(self.text) - len(self.rest())
        end = start + 1
        while end < len(self.text) and self.text[end] != self.text[start]:
            end += 2 if self.text[end] == '\\' else 1
        if end >= len(self.text):
            raise ValueError(f'{self.text[start]!r} is missing at the end')
        self.position = end + 1
        return ast.literal_eval(self.text[start:self.position])

    def _word(self, ends: str) -> str:
        """What has no quotes: brackets inside of it belong to it."""
        start, expected = self.position, []
        while self.position < len(self.text):
            char = self.text[self.position]
            if not expected and char in ends:
                break
            if char in BRACKETS:
                expected.append(BRACKETS[char])
            elif expected and char == expected[-1]:
                expected.pop()
            self.position += 1
        word = self.text[start:self.position].strip()
        if expected:
            raise ValueError(f'{expected[-1]!r} is missing')
        if not word and len(ends) > 1:
            raise ValueError(f'a value is missing before {self.text[self.position:]!r}')
        return word


def _scalar(word: str) -> Any:
    """As MMEngine reads it: a number, a truth, None or a text."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {'true': True, 'false': False}.get(word.lower(), None if word == 'None' else word)


class ConfigOptions(argparse.Action):
    """Collects ``KEY=VALUE`` pairs, of which the last one of a key counts."""

    def __call__(self, parser, namespace, values: Sequence[str], option_string=None) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, text = pair.partition('=')
            if not equals or not all(key.split('.')):
                raise argparse.ArgumentError(self, f'{pair!r}: expected KEY=VALUE, such as model.backbone.depth=18')
            try:
                options[key] = parse_value(text)
            except (ValueError, SyntaxError) as error:
                raise argparse.ArgumentError(self, f'{pair}: {one_line(error)}')
            except RecursionError:
                raise argparse.ArgumentError(self, f'{key}: too many brackets in each other')
        setattr(namespace, self.dest, options)


def apply_options(cfg: Config, options: Dict[str, Any]) -> List[str]:
    """Put values into a config.

    Args:
        cfg: changed in place.
        options: dotted key -> value; numbers in a key count in lists.

    Returns:
        list[str]: warnings about keys that the config did not have, and that nothing is known to read.

    Raises:
        InputError: a key that cannot be set, or one that nothing reads; it names the nearest ones.
    """
    before = cfg._cfg_dict.to_dict()
    warnings = []
    try:
        cfg.merge_from_dict(copy.deepcopy(options))
    except Exception as error:
        for key, value in options.items():
            try:
                Config(before).merge_from_dict({key: copy.deepcopy(value)})
            except Exception as single:
                raise InputError(f'--cfg-options {key}={value!r}: {_why(before, key, single)}') from error
        raise InputError(f'--cfg-options: {one_line(error)}') from error
    for key in options:
        warning = _new_key(before, key)
        warnings += [warning] if warning else []
    return warnings


def _why(tree: dict, key: str, error: Exception) -> str:
    """Why a key cannot be set, in one sentence."""
    node, done = tree, []
    for name in key.split('.'):
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                return f'{".".join(done)} is a list of {len(node)}; expected a number from 0 to {len(node) - 1}, not ' \
                       f'{name!r}'
            node = node[int(name)]
        elif isinstance(node, dict):
            if name not in node:
                break
            node = node[name]
        else:
            return f'{".".join(done)} is {node!r}, which has no keys; set it as a whole'
        done.append(name)
    return one_line(error)


def _new_key(tree: dict, key: str) -> str:
    """A warning about a key that the config did not have; empty where it did, or where its part knows better.

    Raises:
        InputError: nothing reads it.
    """
    node, done = tree, []
    for name in key.split('.'):
        if isinstance(node, (list, tuple)):
            node = node[int(name)] if name.isdigit() and int(name) < len(node) else None
        elif isinstance(node, dict) and name in node:
            node = node[name]
        elif name in MERGING or not isinstance(node, dict):
            return ''
        elif not done:
            known = set(node) | runner_keys()
            if name in known:
                return ''
            raise InputError(f'--cfg-options {key}: the config has no {name!r}, and nothing reads it'
                             f'{did_you_mean(name, sorted(known))}')
        elif not node or done == ['default_hooks']:
            return ''
        else:
            known = arguments_of(node['type'], tree.get('default_scope') or 'mmengine') if 'type' in node else set()
            if name in known:
                return ''
            hint = did_you_mean(name, sorted(map(str, {*node, *known})))
            return f'--cfg-options {key}: {".".join(done)} had no {name!r}{hint}'
        done.append(name)
    return ''
