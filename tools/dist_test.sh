#!/usr/bin/env bash
# Evaluate with several processes: over NCCL on GPUs, over Gloo on a machine without any.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ $# -lt 3 ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
    cat >&2 <<'USAGE'
Usage:   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
Example: tools/dist_test.sh configs/detection/faster_rcnn_odconv_r50.py work_dirs/faster_rcnn_odconv_r50/epoch_12.pth 8
GPUS is the number of processes on this machine. For several machines, run it on each with NNODES (how many),
NODE_RANK (0, 1, ...), MASTER_ADDR (address of the first) and PORT (default 29500) in the environment.
USAGE
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec python "$here/_torchrun.py" "$gpus" "$here/test.py" "$config" "$checkpoint" "$@"
