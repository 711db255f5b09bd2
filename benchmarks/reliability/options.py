"""Bad options and configs, one mutation each: every command ends in one line, none hangs, nothing is ignored silently.

Example: python benchmarks/reliability/options.py --count 20
"""
import copy
import os
import random
import re
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

from common import Record, Result, forked, main  # noqa: E402
from mmengine.config import Config  # noqa: E402

from mmbackbones import cli, training  # noqa: E402
from mmbackbones.config.scopes import register  # noqa: E402
from mmbackbones.config.tree import get, nodes  # noqa: E402
from mmbackbones.datasets import make_shapes  # noqa: E402
from mmbackbones.training import run  # noqa: E402, F401  the children find it loaded

TINY = Path(__file__).resolve().parents[2] / 'tests' / 'tiny_faster_rcnn.py'
TIMEOUT = 60  # seconds that a case may take
WRONG_VALUES = (None, 'text', '', -1, 0, 1, 2.5, float('nan'), float('inf'), 10**12, [], {}, [1, 2], {
    'a': 1
}, True, False, ['text'], (), 'mmdet.Nothing')
# what a mutation of a whole config leaves alone: the data must stay where they are
FIXED = ('filename', 'work_dir', 'data_root', 'classes', 'palette')

FASTER, RESNET = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'mmpretrain::resnet/resnet50_8xb32_in1k.py'


class Case:
    """A command line and what is wrong with it.

    Args:
        kind: the row of the table.
        name: what was changed, so that it can be made again.
        call: runs it in a child, and may return the exit status.
        must_say: what the output must hold where the command succeeds all the same.
    """

    def __init__(self, kind: str, name: str, call: Callable[[], Optional[int]], must_say: str = '') -> None:
        self.kind, self.name, self.call, self.must_say = kind, name, call, must_say

    def judge(self, result: Result) -> Record:
        lines = [line for line in result.output.splitlines() if line.strip()]
        last = lines[-1][:300] if lines else ''
        errors = [line for line in lines if line.startswith('error')]
        if result.status is None and 'Epoch(train)' not in result.output:  # a run may be long
            return Record(self.kind, self.name, 'hung', last)
        if result.status is None:
            return Record(self.kind, self.name, 'ok', 'it trains')
        if result.crashed:
            return Record(self.kind, self.name, 'crashed', last)
        if 'Traceback (most recent call last)' in result.output:
            return Record(self.kind, self.name, 'traceback', last)
        if result.status == 3:
            return Record(self.kind, self.name, 'unexpected', (errors or [last])[-1][:400])
        if result.status not in (0, 1, 2):
            return Record(self.kind, self.name, f'status {result.status}', last)
        if result.status and not errors:
            return Record(self.kind, self.name, 'no line', last)
        told = [line for line in lines if line.startswith('Warning') and self.must_say in line]
        if not result.status and self.must_say and not told:
            return Record(self.kind, self.name, 'silent', f'nothing is said of {self.must_say}')
        return Record(self.kind, self.name, 'ok', (errors or [''])[-1][:400])


def typo(word: str, rng: random.Random) -> str:
    """A word with one letter doubled, dropped or exchanged with its neighbour."""
    index = rng.randrange(max(1, len(word) - 1))
    start, letter, following, end = word[:index], word[index:index + 1], word[index + 1:index + 2], word[index + 2:]
    return rng.choice((start + 2 * letter + following + end, start + following + end, start + following + letter + end))


def mutate(tree: dict, rng: random.Random) -> str:
    """Change one thing below a config, in place. Returns what."""
    paths = [path for path, _ in nodes(tree) if path and not set(path) & set(FIXED)]
    while True:
        path = rng.choice(paths)
        owner, key, value = get(tree, path[:-1]), path[-1], get(tree, path)
        what = rng.choice(('delete', 'rename', 'value', 'value', 'type'))
        where = '.'.join(map(str, path))
        if isinstance(owner, tuple):
            continue
        if what == 'delete':
            del owner[key]
            return f'{where} deleted'
        if what == 'rename' and isinstance(key, str):
            new = typo(key, rng)
            if new and new not in owner:
                owner[new] = owner.pop(key)
                return f'{where} renamed {new}'
        if what == 'type' and isinstance(value, str) and key == 'type':
            owner[key] = typo(value, rng)
            return f'{where}={owner[key]!r}'
        if what == 'value':
            owner[key] = copy.deepcopy(rng.choice(WRONG_VALUES))
            return f'{where}={owner[key]!r}'


class Place:
    """A temporary folder with data, a config and a checkpoint, and folders for the cases.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.config = root, root / 'shapes', root / 'tiny.py'
        make_shapes(self.data, num_train=4, num_val=2, image_size=96)
        text = TINY.read_text().replace('num_workers=2', 'num_workers=0, persistent_workers=False')
        self.config.write_text(
            text.replace("data_root = 'data/shapes/'",
                         f"data_root = '{self.data}/'").replace('max_epochs=3, val_interval=3',
                                                                'max_epochs=1, val_interval=1'))
        self.whole = Config.fromfile(self.config)._cfg_dict.to_dict()
        self.count = 0
        done = forked(lambda: training.train([*self.train()[1:], '--work-dir', str(root / 'trained')]), timeout=300)
        if done.status:
            sys.exit(f'the campaign cannot start, training without any fault fails:\n{done.output}')
        self.checkpoint = root / 'trained' / 'epoch_1.pth'
        (root / 'text.pth').write_text('no checkpoint')
        (root / 'file').write_text('in the way')
        (root / 'broken.py').write_text('model = dict(')

    def folder(self) -> Path:
        self.count += 1
        return self.root / f'case{self.count}'

    def train(self, *options: str) -> List[str]:
        return ['train', str(self.config), '--backbone-weights', 'none', *options]


def _call(argv: Sequence[str], folder: Path) -> Callable[[], Optional[int]]:
    """A command in a folder of its own; the first word says which."""

    def call() -> Optional[int]:
        folder.mkdir()
        os.chdir(folder)
        sys.argv = list(argv)
        if argv[0] == 'train':
            return training.train(list(argv[1:]))
        if argv[0] == 'test':
            return training.test(list(argv[1:]))
        return cli.main(list(argv[1:]))

    return call


def config_case(place: Place, rng: random.Random, command: str) -> Case:
    """A config with one mutation, in training, evaluation, check or swap."""
    tree = copy.deepcopy(place.whole)
    name, folder = mutate(tree, rng), place.folder()

    def call() -> Optional[int]:
        path = folder.with_suffix('.py')
        lines = [f'{key} = {value!r}' for key, value in tree.items()]
        path.write_text('\n'.join(["inf, nan = float('inf'), float('nan')", *lines]) + '\n')
        options = {
            'train': ['train', str(path), '--backbone-weights', 'none'],
            'test': ['test', str(path), str(place.checkpoint)],
            'check': ['mmbackbones', 'check', str(path)],
            'swap': ['mmbackbones', 'swap', str(path), 'pvtv2_b0', '-o', 'swapped.py'],
        }
        return _call(options[command], folder)()

    return Case(f'{command}: config', name, call)


def key_case(place: Place, rng: random.Random, command: str) -> Case:
    """``--cfg-options`` with a key that the config does not have, but for a letter."""
    paths = [
        path for path, _ in nodes(place.whole)
        if path and all(isinstance(key, str) for key in path) and not set(path) & set(FIXED)
    ]
    path = list(rng.choice(paths))
    index = rng.randrange(len(path))
    wrong = typo(path[index], rng)
    while not wrong or wrong in get(place.whole, path[:index]):
        wrong = typo(path[index], rng)
    path[index] = wrong
    option = f'{".".join(path)}={rng.choice(["1", "text", "[1,2]", "None", "dict(a=1)"])}'
    argv = {
        'train': place.train('--cfg-options', option),
        'test': ['test', str(place.config), str(place.checkpoint), '--cfg-options', option]
    }[command]
    return Case(f'{command}: key', option, _call(argv, place.folder()), wrong)


def option_case(place: Place, rng: random.Random) -> Case:
    """One bad option of one command."""
    root, config = place.root, str(place.config)
    nowhere, file, text = str(root / 'nowhere' / 'x'), str(root / 'file'), str(root / 'text.pth')
    broken, checkpoint = str(root / 'broken.py'), str(place.checkpoint)
    bad_paths = ['', nowhere, file, text, str(root), '/dev/null', '/proc/nothing', 'x' * 300]
    pairs = [
        'a', '=1', 'a=[1', 'model', 'model.backbone.depth=[1,2', 'param_scheduler.9.end=3', 'param_scheduler.x.end=3',
        'model.backbone.depth.x=1', 'train_dataloader.batch_size=0', 'train_dataloader.batch_size=two',
        'train_dataloader.num_workers=-1', 'optim_wrapper.optimizer.lr=-1', 'optim_wrapper.optimizer.lr=nan',
        'train_cfg.max_epochs=0', 'train_cfg.val_interval=0', 'randomness.seed=-1', 'randomness.sed=1',
        'val_evaluator.metric=bboxx', 'custom_hooks=[dict(type=NoHook)]', 'visualizer.vis_backends=[dict(type=x)]',
        'default_scope=mmdett', 'load_from=', 'work_dir=', 'model=None', 'train_dataloader=1', 'a..b=1',
        'train_cfg.max_epoch=1', 'default_hooks.checkpoint.interval=a', 'train_dataloader.sampler.type=x'
    ]
    switches = [
        '--seed=-1', '--seed=x', f'--seed={2**32}', '--launcher=foo', '--launcher=pytorch', '--amp', '--nosuch',
        '--bad-images=maybe', '--work-dir=' + file, '--work-dir=/proc/x', '--resume=' + nowhere, '--resume=' + text,
        '--resume=' + str(root), '--backbone-weights=' + nowhere, '--backbone-weights=' + text,
        '--data-root=' + nowhere, '--data-root=' + file, '--seed', '--cfg-options'
    ]
    names = [
        '', 'resnet', 'timm:', 'timm:resnet50.x', 'timm:nothing', 'torchvision:x', 'x:y', ':', 'swin_t.x',
        'timm:vit_base_patch16_224', 'timm:tf_mobilenetv3_small_075', '../x', 'ResNet', '-'
    ]
    targets = [*bad_paths, '/proc/x.py', str(root / 'nowhere' / 'y.py')]
    command = rng.choice(['train', 'train', 'test', 'swap', 'check', 'info', 'convert', 'list', 'bench'])
    if command == 'train':
        option = rng.choice([['--cfg-options', rng.choice(pairs)], [rng.choice(switches)], [rng.choice(switches)]])
        argv = rng.choice([place.train(*option), place.train(*option), ['train', rng.choice(bad_paths), *option],
                           ['train', broken]])  # yapf: disable
    elif command == 'test':
        argv = rng.choice([['test', config, rng.choice(bad_paths)], ['test', config], ['test', broken, checkpoint],
                           ['test', config, checkpoint, '--cfg-options', rng.choice(pairs)],
                           ['test', config, checkpoint, rng.choice(switches)]])  # yapf: disable
    elif command == 'swap':
        argv = rng.choice([['swap', rng.choice([FASTER, config, RESNET]), rng.choice(names)],
                           ['swap', rng.choice(bad_paths), 'swin_t'], ['swap', FASTER],
                           ['swap', config, 'odconv_r18', '-o', rng.choice(targets), '--force']])  # yapf: disable
    elif command == 'check':
        argv = ['check', rng.choice([*bad_paths, broken, 'mmdet::x', 'mmdet::', 'x::y', '::', FASTER[:-1]])]
    elif command == 'info':
        argv = ['info', rng.choice(names), *rng.choice([[], ['--json'], ['--nosuch']])]
    elif command == 'convert':
        argv = ['convert', rng.choice(['odconv_r18', rng.choice(names)]), rng.choice([*bad_paths, checkpoint]),
                rng.choice(targets), '--force']  # yapf: disable
    elif command == 'list':
        argv = ['list', rng.choice(['--family', '--document', '--implementation', '--max-params', '--max-macs']),
                rng.choice(['', 'x', '-1', '0', 'nan', 'inf'])]  # yapf: disable
    else:
        bad = [
            '--json=' + rng.choice(targets), '--chart=' + rng.choice([*targets, 'chart.nosuch']), '--pairs=0',
            '--pairs=x', '--shape=1,3,8,8', '--shape=x', '--device=cuda', '--device=x', '--threads=0', '--dtype=x'
        ]
        argv = rng.choice([['bench', rng.choice(names), '--against', 'timm'], ['bench', 'swin_t', '--against', 'x'],
                           ['bench', 'swin_t'],
                           ['bench', 'pvtv2_b0', '--against', 'mmdet', '--shape=1,3,32,32', '--pairs=1',
                            rng.choice(bad)]])  # yapf: disable
    if argv[0] not in ('train', 'test'):
        argv = ['mmbackbones', *argv]
    name = re.sub(re.escape(str(root)), 'ROOT', ' '.join(argv))
    return Case(f'{command}: options', textwrap.shorten(repr(name)[1:-1], 200), _call(argv, place.folder()))


def run_campaign(count: int, seed: int) -> Iterator[Record]:
    """The cases one after the other; each is a function of the seed and its number alone."""
    for scope in ('mmdet', 'mmpretrain'):
        register(scope)
    os.environ.pop('MMBACKBONES_DATA', None)
    makers: Tuple[Tuple[float, Callable[[Place, random.Random], Any]], ...] = (
        (0.35, lambda place, rng: config_case(place, rng, 'train')),
        (0.10, lambda place, rng: config_case(place, rng, 'test')),
        (0.10, lambda place, rng: config_case(place, rng, 'check')),
        (0.05, lambda place, rng: config_case(place, rng, 'swap')),
        (0.12, lambda place, rng: key_case(place, rng, 'train')),
        (0.03, lambda place, rng: key_case(place, rng, 'test')),
        (0.25, option_case),
    )
    with tempfile.TemporaryDirectory(prefix='options-') as folder:
        place = Place(Path(folder))
        for number in range(count):
            rng = random.Random(f'{seed}/{number}')
            make = rng.choices([maker for _, maker in makers], [share for share, _ in makers])[0]
            case = make(place, rng)
            case.name = f'{number}: {case.name}'
            yield case.judge(forked(case.call, TIMEOUT))
            for path in place.root.glob('case*'):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == '__main__':
    main('Bad options and configs', run_campaign, default_count=400)
