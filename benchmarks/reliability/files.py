"""Hostile checkpoints at every entrance: nothing in them runs, the interpreter lives, one line says what is wrong.

    python benchmarks/reliability/files.py --count 1000

Payloads and containers are those of ``tests/hostile.py``, put together, nested and mutated at random; honest files are
cut and changed. Most go to ``read_checkpoint``, a sample to every entrance, whole training runs included.
"""
import io
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple

# before torch is imported: a forked child has no other threads; what the entrances need is imported once
os.environ['OMP_NUM_THREADS'] = '1'
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import hostile  # noqa: E402
import mmdet.datasets  # noqa: E402, F401
import mmdet.engine  # noqa: E402, F401
import mmdet.evaluation  # noqa: E402, F401
import mmdet.models  # noqa: E402, F401
import timm  # noqa: E402, F401
import torch  # noqa: E402
from common import OK, Record, Result, forked, main  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from mmbackbones import cli, training  # noqa: E402
from mmbackbones.datasets.shapes import make_shapes  # noqa: E402
from mmbackbones.errors import UserError  # noqa: E402
from mmbackbones.weights import read_checkpoint, use_safe_loading  # noqa: E402

LONGEST = 400  # characters of a message, without the name of the file
MEMORY = 3 << 30  # bytes that a child may take beyond what it has
SHARE_OF_ENTRANCES = 8  # one case of so many goes through an entrance
HONEST = ('zip', 'deflated', 'legacy', 'pdparams', 'safetensors')


class Base(NamedTuple):
    """What the entrances need.

    Attributes:
        folder: for files of the campaign.
        config: of a tiny detector.
        data: its data.
        good: a training checkpoint of it.
        site: the address at which the folder is served.
    """
    folder: Path
    config: Path
    data: Path
    good: Path
    site: str


# the cases


def dressed(rng: random.Random, payload: bytes) -> bytes:
    """A payload somewhere within other values."""
    for _ in range(rng.randrange(4)):
        payload = rng.choice([
            lambda: hostile.arguments(1, payload, 'x'), lambda: b'](' + payload + b'Ne',
            lambda: hostile.entries('key', payload, 7, None), lambda: hostile.GOOD + b'0' + payload,
            lambda: b'N0' + payload,
            lambda: hostile.call('collections.OrderedDict') + b'(' + hostile.text('key') + payload + b'u'
        ])()
    return payload


def spliced(rng: random.Random) -> bytes:
    """Pieces of pickles one after the other, with opcodes between them."""
    small = [piece for piece in hostile.PAYLOADS.values() if len(piece) < 2000]
    opcodes = [bytes([code]) for code in b'()]}tlde0aeusRb\x81\x85\x86\x87\x8f\x90\x91\x93\x94QNK\x01']
    pieces: List[bytes] = []
    for _ in range(rng.randrange(1, 20)):
        if rng.random() < 0.4:
            piece = rng.choice(small)
            start = rng.randrange(len(piece))
            pieces.append(piece if rng.random() < 0.5 else piece[start:start + rng.randrange(1, 80)])
        else:
            pieces.append(rng.choice(opcodes))
    return b''.join(pieces)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A file of which some bytes are changed, removed or repeated."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 12)):
        at = rng.randrange(max(1, len(changed) - 8))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice(b'\x00\x01\x7f\x80\xff()]}R.bQ')
        elif kind == 2:
            changed[at:at + rng.choice((4, 8))] = rng.choice((b'\xff\xff\xff\x7f', b'\xff' * 8, bytes(8)))
        elif kind == 3:
            del changed[at:at + rng.randrange(1, 40)]
        else:
            changed[at:at] = changed[at:at + rng.randrange(1, 40)]
    return bytes(changed)


def within(good: Path, payload: bytes, path: Path) -> None:
    """A whole training checkpoint with a payload as one more entry, and the storage that it speaks of."""
    payload = payload.replace(hostile.text('0'), hostile.text('hostile'))
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, data in members.items():
            if name.endswith('/data.pkl'):
                data = data[:-1] + hostile.text('payload') + payload + b's.'
                archive.writestr(name.replace('data.pkl', 'data/hostile'), hostile.STORAGE)
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())


# the entrances


def init(config: dict) -> None:
    use_safe_loading()
    MODELS.build(config).init_weights()


def train(base: Base, *options: str) -> None:
    training.train([str(base.config), '--data-root', str(base.data), '--work-dir', 'work', *options])


ENTRANCES: Dict[str, Callable[[Base, str], None]] = {
    'convert':
    lambda base, file: cli.main(['convert', 'odconv_mobilenetv2_050', file, 'out.pth']),
    'init_cfg of our backbone':
    lambda base, file: init(
        dict(
            type='mmbackbones.PyramidVisionTransformer', arch='tiny', init_cfg=dict(type='Pretrained', checkpoint=file))
    ),
    "init_cfg of MMDetection's backbone":
    lambda base, file: init(dict(type='mmdet.ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint=file))),
    'pretrained of TimmBackbone':
    lambda base, file: init(dict(type='mmbackbones.TimmBackbone', model_name='mobilenetv3_small_075', pretrained=file)),
    'pretrained of TorchvisionBackbone':
    lambda base, file: init(dict(type='mmbackbones.TorchvisionBackbone', model_name='resnet18', pretrained=file)),
    '--backbone-weights':
    lambda base, file: train(base, '--backbone-weights', file),
    'load_from':
    lambda base, file: train(base, '--backbone-weights', 'none', '--cfg-options', f'load_from={file}'),
    'load_from http':
    lambda base, file: train(base, '--backbone-weights', 'none', '--cfg-options',
                             f'load_from={base.site}/{Path(file).name}'),
    '--resume':
    lambda base, file: train(base, '--resume', file),
    'tools/test.py':
    lambda base, file: training.test([str(base.config), file, '--data-root',
                                      str(base.data), '--work-dir', 'work']),
}

# one case


def look(content) -> None:
    """Use every value as whoever reads a checkpoint will."""
    if isinstance(content, torch.Tensor):
        content.detach().clone()
    elif isinstance(content, dict):
        for item in content.items():
            look(item)
    elif isinstance(content, (list, tuple, set)):
        for value in content:
            look(value)
    repr(content)


def attempt(call: Callable[[], None], folder: Path, limit_memory: bool) -> Callable[[], int]:
    """What a child does: the call, in a folder; what the user is to read goes out as one line, with status 1."""

    def run() -> int:
        os.chdir(folder)
        if limit_memory:
            have = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (have + MEMORY, have + MEMORY))
        try:
            return call() or 0
        except UserError as error:
            print(f'error: {error}')
            return 1

    return run


def judge(result: Result, folder: Path, file: str, must_fail: bool) -> Tuple[str, str]:
    """Verdict and detail of a case."""
    tail = result.output[-600:]
    if hostile.executed(str(folder)):
        return 'executed', tail
    if result.status is None:
        return 'hung', tail
    if result.crashed:
        return 'crashed', f'signal {-result.status}: {tail}'
    if 'Traceback (most recent call last)' in result.output:
        return 'traceback', tail
    if 'MemoryError' in result.output:
        return 'memory', tail
    said = [line for line in result.output.splitlines() if line.startswith(('error: ', 'mmbackbones: '))]
    if result.status and (len(said) != 1 or len(said[0]) > LONGEST + 2 * len(file)):
        return 'unclear', tail
    if not result.status and must_fail:
        return 'accepted', tail
    return OK, ''


def read(file: str, honest: str = '') -> Callable[[], None]:

    def run() -> None:
        content = read_checkpoint(file)
        look(content)
        if honest and not hostile.same(content, read_checkpoint(honest)):
            raise UserError(f'SILENTLY CHANGED: {file}')

    return run


def cases(rng: random.Random, count: int, base: Base) -> Iterator[Tuple[str, str, str, Callable[[], None], bool]]:
    """(kind, name, file, what the child does, whether it must fail) of each case."""
    titles, containers, entrances = list(hostile.PAYLOADS), list(hostile.CONTAINERS), list(ENTRANCES)
    whole = {
        container: Path(hostile.honest(str(base.folder / f'honest_{container}'), container))
        for container in HONEST
    }
    for index in range(count):
        path = base.folder / f'case{index}'
        if index % SHARE_OF_ENTRANCES == 0:
            entrance = entrances[index // SHARE_OF_ENTRANCES % len(entrances)]
            title = rng.choice([title for title in titles if len(hostile.PAYLOADS[title]) < 9999])
            if rng.random() < 0.5 and entrance != 'convert':
                container, file = 'a training checkpoint', f'{path}.pth'
                within(base.good, hostile.PAYLOADS[title], Path(file))
            else:
                container = rng.choice(containers)
                file = hostile.pack(container, hostile.PAYLOADS[title], path)
            yield (f'entrance: {entrance}', f'{title} in {container}', file, partial(ENTRANCES[entrance], base,
                                                                                     file), title
                   not in hostile.HARMLESS)
            continue
        kind = rng.choices(('payload', 'spliced', 'mutated', 'cut', 'container', 'honest'), (6, 6, 6, 2, 1, 1))[0]
        if kind == 'payload':
            title, container = rng.choice(titles), rng.choice(containers)
            file = hostile.pack(container, dressed(rng, hostile.PAYLOADS[title]), path)
            yield f'payload: {container}', title, file, read(file), title not in hostile.HARMLESS | hostile.UNEVEN
        elif kind == 'spliced':
            container = rng.choice(containers)
            file = hostile.pack(container, spliced(rng), path)
            yield f'spliced: {container}', f'case {index}', file, read(file), False
        elif kind == 'container':
            title, data = rng.choice([*hostile.ARCHIVES.items(), *hostile.HEADERS.items()])
            path.write_bytes(data)
            yield 'containers that lie', title, str(path), read(str(path)), True
        else:
            container = rng.choice(HONEST)
            data, file = whole[container].read_bytes(), Path(f'{path}{whole[container].suffix}')
            if kind == 'mutated':
                data = mutated(rng, data)
            elif kind == 'cut':
                data = data[:rng.randrange(len(data) - 8)]
            file.write_bytes(data)
            # which have checksums, or are as they were
            equal = str(whole[container]) if container in ('zip', 'deflated') or kind == 'honest' else ''
            yield f'{kind}: {container}', f'case {index}', str(file), read(str(file), equal), kind == 'cut'


def prepare(folder: Path, site: str) -> Base:
    """Data, a config and a training checkpoint."""
    data, config = folder / 'data', folder / 'tiny.py'
    make_shapes(data, num_train=4, num_val=2, image_size=96)
    shutil.copyfile(ROOT / 'tests' / 'tiny_faster_rcnn.py', config)
    base = Base(folder, config, data, folder / 'good' / 'epoch_1.pth', site)

    def once():
        training.train([
            str(config), '--data-root',
            str(data), '--work-dir',
            str(folder / 'good'), '--backbone-weights', 'none', '--cfg-options', 'train_cfg.max_epochs=1',
            'train_cfg.val_interval=2'
        ])

    result = forked(once, timeout=300)
    if result.status or not base.good.is_file():
        sys.exit(f'the honest run failed:\n{result.output[-3000:]}')
    return base


class _Quiet(SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


def run(count: int, seed: int) -> Iterable[Record]:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix='hostile-') as name:
        folder = Path(name)
        os.environ['TORCH_HOME'] = str(folder / 'torch')
        server = ThreadingHTTPServer(('127.0.0.1', 0), partial(_Quiet, directory=name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = prepare(folder, f'http://127.0.0.1:{server.server_port}')
        for kind, title, file, call, must_fail in cases(rng, count, base):
            with tempfile.TemporaryDirectory(prefix='hostile-cwd-') as cwd:
                result = forked(attempt(call, Path(cwd), limit_memory=not kind.startswith('entrance')), timeout=180)
                verdict, detail = judge(result, Path(cwd), file, must_fail)
            if 'SILENTLY CHANGED' in result.output or kind.startswith('honest') and result.status:
                verdict, detail = 'changed', result.output[-600:]
            if verdict == OK:
                Path(file).unlink()
            yield Record(kind, title, verdict, detail)
        server.shutdown()


if __name__ == '__main__':
    main('Hostile files', run, default_count=1000)
