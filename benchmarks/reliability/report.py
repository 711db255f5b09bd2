"""Write docs/reliability.md from the records of the campaigns: python benchmarks/reliability/report.py FILE.json ...

`make campaign` runs the campaigns and calls it.
"""
import collections
import json
import sys
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'reliability.md'
INTRODUCTION = """# Reliability

Written by `make campaign`, which attacks the project as a careless or hostile world would: it kills training at random
moments, hands it files that were made to run code, spoils annotations and images, and mistypes options and configs.
Each case is made from a seed, so that it can be made again; a case that ends otherwise than promised makes the command
fail. [SECURITY.md](../SECURITY.md) says what is promised for which kind of file.

What counts as wrong:
"""

WRONG = dict(
    kills='a run that does not end after `--resume`; one that ends with other weights, optimizer, schedules, losses '
    'or checkpoints than the run that was left alone, to the last bit',
    files='code of a file that ran, an interpreter that crashed, a traceback, a hang; an honest file that is '
    'refused or read differently',
    data='an AP that changes without a word, a traceback, a hang',
    options='a traceback, an error that the boundary of the commands does not know, a hang, an option that is ignored',
    weights='weights that are loaded in part or not at all without a word, a traceback, a hang')


def _section(path: Path) -> List[str]:
    report = json.loads(path.read_text())
    kinds = collections.defaultdict(collections.Counter)
    for kind, _, verdict, _ in report['records']:
        kinds[kind][verdict] += 1
    bad = sum(count for verdicts in kinds.values() for verdict, count in verdicts.items() if verdict != 'ok')
    total = len(report['records'])
    lines = [
        '', f'## {report["title"]}', '', f'`python benchmarks/reliability/{path.stem}.py --count {report["count"]} '
        f'--seed {report["seed"]}`: {total} cases, {bad} not ok, {report["seconds"] / 60:.0f} minutes on '
        f'{report["machine"]}, commit {report["commit"]}.', '', '| kind | cases | not ok |', '|-|-|-|'
    ]
    for kind, verdicts in kinds.items():
        wrong = ', '.join(f'{count} {verdict}' for verdict, count in verdicts.items() if verdict != 'ok')
        lines.append(f'| {kind} | {sum(verdicts.values())} | {wrong or 0} |')
    return lines


def main() -> None:
    lines = [*INTRODUCTION.splitlines(), '', '| campaign | wrong is |', '|-|-|']
    lines += [f'| `{name}.py` | {wrong} |' for name, wrong in WRONG.items()]
    for name in sys.argv[1:]:
        lines += _section(Path(name))
    PAGE.write_text('\n'.join(lines) + '\n')
    print(f'wrote {PAGE}')


if __name__ == '__main__':
    main()
