#!/usr/bin/env bash
# Train under Slurm: one task for each GPU, on as many machines as that takes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ $# -lt 3 ]; then
    cat >&2 <<'USAGE'
Usage:   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
Example: GPUS=16 tools/slurm_train.sh gpu odconv configs/detection/faster_rcnn_odconv_r50.py --auto-scale-lr
Environment: GPUS (default 8), GPUS_PER_NODE (default 8, or GPUS if that is less), CPUS_PER_TASK (default 5),
SRUN_ARGS (more options of srun, separated by blanks).
USAGE
    exit 2
fi
partition=$1 job_name=$2 config=$3
shift 3
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -ra srun_args <<<"${SRUN_ARGS:-}"
exec srun --partition="$partition" --job-name="$job_name" --gres=gpu:"$gpus_per_node" --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$here/train.py" "$config" "$@" --launcher slurm
