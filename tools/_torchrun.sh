# Sourced by dist_train.sh and dist_test.sh: start PROCESSES copies of SCRIPT on this machine.
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.

launch() {  # launch PROCESSES SCRIPT [arguments of the script]
    local processes=$1 script=$2
    shift 2
    local nodes=${NNODES:-1} port=${PORT:-}
    if [ -z "$port" ]; then
        if [ "$nodes" = 1 ]; then
            # so that two runs on one machine do not meet
            port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        else
            port=29500
        fi
    fi
    if [ "$nodes" != 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        echo "error: NNODES=$nodes needs MASTER_ADDR, the address of the machine with NODE_RANK=0" >&2
        exit 2
    fi
    exec python -m torch.distributed.run --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" --nproc_per_node="$processes" \
        "$script" "$@" --launcher pytorch
}
