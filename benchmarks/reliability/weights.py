"""Attack the loading of weights: packed in random ways, with random damage, at several entrances.

    python benchmarks/reliability/weights.py --count 300 --seed 1

Whole weights must arrive value by value, damaged ones must be refused in one line and leave the module as it was.
"""
import logging
import random
import string
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple

import torch
from common import OK, Record, main
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmbackbones.errors import UserError
from mmbackbones.weights import check_own_loaders, load_part, read_checkpoint, use_safe_loading, use_strict_initializers

SWIN = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))
RESNET = dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=4)
KEYS = ('state_dict', 'model', 'net', 'params', 'module', 'student', 'weights')
PREFIXES = ('module', 'model', 'backbone', 'encoder', '_orig_mod', 'net')
Weights = Dict[str, Tensor]


class Entrance(NamedTuple):
    """Where weights come in.

    Attributes:
        build: makes the module.
        load: loads a file into it.
        keeps: whether a refusal leaves the module as it was; MMEngine draws random values before it loads.
        takes_prefix: whether the names may lie behind any prefix.
        takes_more: whether weights that the module has no place for are counted and not refused.
    """
    build: Callable[[], nn.Module]
    load: Callable[[nn.Module, str], object]
    keeps: bool = True
    takes_prefix: bool = True
    takes_more: bool = False


def _by_init_cfg(module: nn.Module, path: str) -> None:
    module.init_cfg = ConfigDict(type='Pretrained', checkpoint=path)
    check_own_loaders(module)
    module.init_weights()


def _whole(module: nn.Module, path: str) -> None:
    load_part(module, read_checkpoint(path), path)


def _detector() -> nn.Module:
    """The parts of a detector, as much as loading sees of it."""
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='mmbackbones.SwinTransformer', arch=SWIN, window_size=3))
    model.neck = MODELS.build(dict(type='mmdet.FPN', in_channels=[16, 32, 64, 128], out_channels=8, num_outs=5))
    return model


ENTRANCES = {
    'our backbone':
    Entrance(lambda: MODELS.build(dict(type='mmbackbones.SwinTransformer', arch=SWIN, window_size=3)),
             lambda module, path: module.load_pretrained(path)),
    "MMDetection's backbone":
    Entrance(lambda: MODELS.build(dict(RESNET)), _by_init_cfg, keeps=False, takes_more=True),
    'a backbone with a loader of its own':
    Entrance(
        lambda: MODELS.build(dict(type='mmdet.SwinTransformer', window_size=3, **SWIN)),
        _by_init_cfg,
        takes_prefix=False,
        takes_more=True),
    'a whole detector':
    Entrance(_detector, _whole),
}


def _word(rng: random.Random) -> str:
    return ''.join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 9)))


def _pack(weights: Weights, rng: random.Random, takes_prefix: bool) -> dict:
    """Weights as somebody might save them."""
    if not takes_prefix:
        return dict(state_dict={f'backbone.{key}': value for key, value in weights.items()})
    prefix = ''.join(f'{rng.choice((*PREFIXES, _word(rng)))}.' for _ in range(rng.randint(0, 3)))
    content = {f'{prefix}{key}': value for key, value in weights.items()}
    for _ in range(rng.randint(0, 3)):
        beside = {f'{_word(rng)}_': rng.choice((torch.ones(2), 3, dict(state={0: dict(exp_avg=torch.ones(3))}), None))}
        key = rng.choice((*KEYS, _word(rng)))
        content = {**beside, key: content}
    return content


def _damage(weights: Weights, rng: random.Random) -> str:
    """Change one tensor or name, in place; says what was done."""
    key = rng.choice([key for key, value in weights.items() if value.is_floating_point() and value.dim()])
    what = rng.choice(('dropped', 'renamed', 'reshaped', 'NaN', 'infinite', 'quantised'))
    value = weights.pop(key)
    if what == 'renamed':
        weights[f'{key}{_word(rng)}'] = value
    elif what != 'dropped':
        changed = value.clone()
        changed.view(-1)[rng.randrange(changed.numel())] = float('nan') if what == 'NaN' else float('inf')
        weights[key] = {'reshaped': value[None], 'quantised': value.to(torch.int8)}.get(what, changed)
    return f'{key} {what}'


def _attack(name: str, number: int, seed: int, path: str) -> Record:
    rng = random.Random(f'{seed} {number}')
    entrance, title = ENTRANCES[name], f'case {number} of seed {seed}'
    torch.manual_seed(number)
    source, module = entrance.build(), entrance.build()
    weights = {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in source.state_dict().items()
    }
    expected, before = dict(weights), {key: value.clone() for key, value in module.state_dict().items()}
    damage = _damage(weights, rng) if rng.random() < 0.5 else ''
    if not damage and entrance.takes_more and rng.random() < 0.5:
        weights['head.fc.weight'] = torch.ones(3)
    torch.save(_pack(weights, rng, entrance.takes_prefix), path)
    try:
        entrance.load(module, path)
    except UserError as error:
        said = str(error)
        changed = entrance.keeps and any(not torch.equal(value, before[key])
                                         for key, value in module.state_dict().items())
        verdict = 'refused' if not damage else 'several lines' if '\n' in said else 'changed' if changed else OK
        return Record(name, title, verdict, '' if verdict == OK else f'{damage}: {said[:300]}')
    except Exception as error:
        return Record(name, title, 'traceback', f'{damage}: {type(error).__name__}: {error}')
    if damage:
        return Record(name, title, 'silent', damage)
    same = all(torch.equal(value, expected[key]) for key, value in module.state_dict().items())
    return Record(name, title, OK if same else 'other values')


def run(count: int, seed: int) -> Iterator[Record]:
    """One case after the other, the entrances in turn."""
    use_safe_loading()
    use_strict_initializers()
    logging.disable(logging.WARNING)  # MMEngine lists every weight that it initialises
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'weights.pth')
        for number in range(count):
            yield _attack(list(ENTRANCES)[number % len(ENTRANCES)], number, seed, path)


if __name__ == '__main__':
    main('Weights packed and damaged at random', run, 400)
