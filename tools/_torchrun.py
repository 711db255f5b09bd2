"""Start several copies of a tool on this machine: what dist_train.sh and dist_test.sh share.

Usage: _torchrun.py PROCESSES SCRIPT [arguments of the script] [--max-restarts N]. Environment: NNODES, NODE_RANK,
MASTER_ADDR, PORT.
"""
import argparse
import logging
import os
import signal
import sys
from typing import List

# torchrun warns where it is not set; each process sets its threads itself
os.environ.setdefault('OMP_NUM_THREADS', '1')

from torch.distributed import run  # noqa: E402
from torch.distributed.elastic.multiprocessing import SignalException  # noqa: E402
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: E402
from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: E402


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f'{text} is negative')
    return number


def _rendezvous(restarts: int) -> List[str]:
    """How the processes find each other."""
    nodes, rank = os.environ.get('NNODES', '1'), os.environ.get('NODE_RANK', '0')
    address, port = os.environ.get('MASTER_ADDR'), os.environ.get('PORT')
    if nodes == '1':
        # without PORT one that is free, so that two runs on one machine do not meet
        return ['--rdzv_backend=c10d', f'--rdzv_endpoint=localhost:{port or 0}', f'--rdzv_id={os.getpid()}']
    if not address:
        sys.exit(f'error: NNODES={nodes} needs MASTER_ADDR, the address of the machine with NODE_RANK=0')
    port = port or '29500'
    if not restarts:
        return [f'--nnodes={nodes}', f'--node_rank={rank}', f'--master_addr={address}', f'--master_port={port}']
    # machines may leave and come: they meet at the first one, which keeps the list. Shared with the processes, torch's
    # store tells a machine that comes later no address, so that it would wait for ever.
    os.environ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
    return [
        f'--nnodes={nodes}', '--rdzv_backend=c10d', f'--rdzv_endpoint={address}:{port}', f'--rdzv_id=port{port}',
        f'--rdzv_conf=is_host={int(rank == "0")}'
    ]


def _explain(error: ChildFailedError) -> int:
    """The exit status of the process that failed first. A process says itself why it ends, but when it is killed."""
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return failure.exitcode
    name = signal.Signals(-failure.exitcode).name
    print(
        f'error: process {rank} was ended by {name} (by the system, where memory runs out). Training goes on from its '
        'newest checkpoint with --resume; --max-restarts N does so by itself.',
        file=sys.stderr)
    return 128 - failure.exitcode


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--max-restarts', type=_count, default=0)
    options, (processes, script, *arguments) = parser.parse_known_args()
    # what goes wrong is said by the processes and here; torchrun's stacks and tables would bury it
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main([
            *_rendezvous(options.max_restarts), f'--max_restarts={options.max_restarts}',
            f'--nproc_per_node={processes}', script, *arguments, '--launcher', 'pytorch'
        ])
    except ChildFailedError as error:
        sys.exit(_explain(error))
    except SignalException as error:
        going_on = '; go on with --resume' if os.path.basename(script) == 'train.py' else ''
        print(f'interrupted{going_on}', file=sys.stderr)
        sys.exit(128 + error.sigval)
    except (RendezvousError, ConnectionError, TimeoutError) as error:
        sys.exit(f'error: the machines do not find each other: {str(error).splitlines()[0]}. See that all are started, '
                 f'that MASTER_ADDR={os.environ.get("MASTER_ADDR")} is the first one, and that PORT is open on it.')


if __name__ == '__main__':
    main()
