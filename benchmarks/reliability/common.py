"""What the campaigns share: a case in a child of a warm process, records, the table, the command line."""
import argparse
import collections
import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Iterable, List, NamedTuple, Optional

from mmbackbones.machine import describe_machine, describe_run

__all__ = ['Record', 'Result', 'forked', 'main']

OK = 'ok'


class Result(NamedTuple):
    """How a child ended.

    Attributes:
        status: exit status, the negative number of the signal that ended it, or None where its time ran out.
        output: what it wrote to stdout and stderr.
        seconds: how long it ran.
    """
    status: Optional[int]
    output: str
    seconds: float

    @property
    def crashed(self) -> bool:
        """Whether a signal that nobody sent ended the interpreter."""
        return self.status is not None and self.status < 0


class Record(NamedTuple):
    """One case of a campaign.

    Attributes:
        kind: the row of the table that it counts in.
        name: which case it is, so that it can be made again.
        verdict: 'ok', or what went wrong in a word or two: 'executed', 'crashed', 'hung', 'traceback', ...
        detail: the line that says more; empty where all is well.
    """
    kind: str
    name: str
    verdict: str
    detail: str = ''


def forked(call: Callable[[], Optional[int]], timeout: float = 120) -> Result:
    """Run a function in a child of this process, in which the libraries are loaded already.

    Args:
        call: what the child does; an integer that it returns is the exit status, ``SystemExit`` works as ever.
        timeout: seconds until the child and all it has started are killed.
    """
    start, (reader, writer) = time.monotonic(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setsid()
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            # what a test runner has put in their place writes elsewhere
            sys.stdout = sys.stderr = open(1, 'w', buffering=1, errors='backslashreplace', closefd=False)
            faulthandler.enable()
            try:
                status = call() or 0
            except SystemExit as error:
                if isinstance(error.code, str):
                    print(error.code, file=sys.stderr)
                status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writer)
    chunks, status = [], None
    while True:
        left = start + timeout - time.monotonic()
        ready = select.select([reader], [], [], max(0, min(left, 0.2)))[0]
        if ready:
            chunk = os.read(reader, 1 << 16)
            if chunk:
                chunks.append(chunk)
                continue
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
            break
        if left <= 0:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        if ready:  # the pipe is closed, the process not yet gone
            time.sleep(0.01)
    while select.select([reader], [], [], 0)[0]:
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        chunks.append(chunk)
    os.close(reader)
    return Result(status, b''.join(chunks).decode(errors='replace'), time.monotonic() - start)


def _print_table(records: List[Record]) -> None:
    kinds = list(dict.fromkeys(record.kind for record in records))
    width = max(map(len, [*kinds, 'kind']))
    print(f'\n{"kind":{width}}  cases  not ok')
    for kind in kinds:
        mine = [record for record in records if record.kind == kind]
        bad = collections.Counter(record.verdict for record in mine if record.verdict != OK)
        said = ', '.join(f'{count} {verdict}' for verdict, count in bad.items()) or '0'
        print(f'{kind:{width}}  {len(mine):5}  {said}')


def main(title: str, run: Callable[[int, int], Iterable[Record]], default_count: int) -> None:
    """The command line of a campaign: run it, show progress, print the table; status 1 where a case is not ok.

    Args:
        title: what it attacks, a phrase.
        run: (count, seed) -> its records, one after the other.
        default_count: cases of the long form.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument('--count', type=int, default=default_count, help=f'cases (default: {default_count})')
    parser.add_argument('--seed', type=int, default=0, help='the same seed makes the same cases (default: 0)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the records and the time')
    args = parser.parse_args()
    start, records = time.monotonic(), []
    for record in run(args.count, args.seed):
        records.append(record)
        if record.verdict != OK:
            print(f'{record.kind}, {record.name}: {record.verdict}: {record.detail}', flush=True)
        spent = time.monotonic() - start
        if len(records) % max(1, args.count // 20) == 0:
            left = spent / len(records) * max(0, args.count - len(records))
            print(f'{len(records)}/{args.count}  {spent:.0f} s, {left:.0f} s to go', flush=True)
    _print_table(records)
    bad = [record for record in records if record.verdict != OK]
    print(f'\n{title}: {len(records)} cases, {len(bad)} not ok, {time.monotonic() - start:.0f} s')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        machine = describe_machine()
        report = dict(
            title=title,
            count=args.count,
            seed=args.seed,
            seconds=round(time.monotonic() - start),
            machine=f'{machine["cpu"]}, {machine["cores"]} cores',
            commit=describe_run()['commit'],
            records=records)
        args.json.write_text(json.dumps(report, indent=1) + '\n')
    sys.exit(1 if bad else 0)
