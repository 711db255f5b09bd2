#!/usr/bin/env bash
# Train with several processes: over NCCL on GPUs, over Gloo on a machine without any.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ $# -lt 2 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    cat >&2 <<'USAGE'
Usage:   tools/dist_train.sh CONFIG GPUS [options of tools/train.py] [--max-restarts N]
Example: tools/dist_train.sh configs/detection/faster_rcnn_odconv_r50.py 8 --amp
GPUS is the number of processes on this machine. For several machines, run it on each with NNODES (how many),
NODE_RANK (0, 1, ...), MASTER_ADDR (address of the first) and PORT (default 29500) in the environment.
With --max-restarts N, processes that die are replaced up to N times, and the run goes on from its newest checkpoint;
so it does when another machine than the first dies and the same command is started there again. All machines then
need the work directory on a file system that they share.
USAGE
    exit 2
fi
config=$1 gpus=$2
shift 2
exec python "$here/_torchrun.py" "$gpus" "$here/train.py" "$config" "$@"
