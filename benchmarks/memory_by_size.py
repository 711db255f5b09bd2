"""How the memory of a step grows with the image: it should grow with the number of pixels, not with its square.

    python benchmarks/memory_by_size.py
    python benchmarks/memory_by_size.py --backbones pvtv2_b2 swin_t --train-sizes 640 1280

Each point is the peak of a process of its own above what it held before the step. Images are 5 : 3, one a batch.
"""
import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mmbackbones.bench import Case, peak_memory  # noqa: E402
from mmbackbones.machine import describe_machine  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--backbones', nargs='+', default=['dsnet_t', 'pvt_s'], metavar='NAME')
    parser.add_argument('--sizes', nargs='*', type=int, default=[640, 1280, 2560], help='longer sides, forward')
    parser.add_argument('--train-sizes', nargs='*', type=int, default=[640, 1280, 2560], help='forward and backward')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--out', type=Path, metavar='FILE', help='results, JSON')
    args = parser.parse_args()
    results = []
    print('| backbone | step | images | MiB | bytes a pixel |\n|-|-|-|-|-|')
    for name in args.backbones:
        for train, sizes in ((False, args.sizes), (True, args.train_sizes)):
            for size in sizes:
                case = Case(name, 'plain', (1, 3, size * 3 // 5, size), train, device=args.device, memory=True)
                measured = peak_memory(case, 'ours')
                above = measured['peak'] - measured['before']
                results.append(dict(backbone=name, train=train, shape=case.shape, bytes=above))
                print(
                    f"| {name} | {'forward and backward' if train else 'forward'} | {' x '.join(map(str, case.shape))} "
                    f'| {above / 2**20:.0f} | {above / (size * size * 3 // 5):.0f} |',
                    flush=True)
    if args.out:
        report = dict(
            what='memory by size',
            command=shlex.join(['python', *sys.argv]),
            machine=describe_machine(args.device),
            results=results)
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
