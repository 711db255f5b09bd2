"""Start several copies of a tool on this machine: what dist_train.sh and dist_test.sh share.

Usage: _torchrun.py PROCESSES SCRIPT [arguments of the script]. Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.
"""
import os
import socket
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def main() -> None:
    processes, script, *arguments = sys.argv[1:]
    nodes = os.environ.get('NNODES', '1')
    address = os.environ.get('MASTER_ADDR')
    if nodes == '1':
        # a port of its own, so that two runs on one machine do not meet
        address, port = address or '127.0.0.1', os.environ.get('PORT') or _free_port()
    elif address:
        port = os.environ.get('PORT') or 29500
    else:
        sys.exit(f'error: NNODES={nodes} needs MASTER_ADDR, the address of the machine with NODE_RANK=0')
    try:
        run.main([
            f'--nnodes={nodes}', f'--node_rank={os.environ.get("NODE_RANK", "0")}', f'--master_addr={address}',
            f'--master_port={port}', f'--nproc_per_node={processes}', script, *arguments, '--launcher', 'pytorch'
        ])
    except ChildFailedError:
        sys.exit(1)  # the process has said why; torchrun's own stack of calls would bury it


if __name__ == '__main__':
    main()
