#!/usr/bin/env bash
# What needs an NVIDIA GPU, in parts of less than ten minutes each; every part can be called again and goes on.
#
#   benchmarks/gpu.sh setup            mmcv with its CUDA operators, and what else the machine lacks, into a folder
#   benchmarks/gpu.sh setup tests      the tests that need a GPU
#   benchmarks/gpu.sh setup fit        Faster R-CNN on ODConv-ResNet50 at full size, until it fits 100 images of COCO
#   benchmarks/gpu.sh setup bench      all comparisons, into $OUT/cuda_NAME.json: goes to benchmarks/results/
#
# For a machine without a network that has Python, torch with CUDA, nvcc and ninja. KIT is a folder with wheels/ of what
# else is needed and build_mmcv.sh, DATA a COCO data set; both are looked for in .gpu/ and in ../shared. Where only this
# checkout comes along, fill .gpu/ first, some 35 MB:
#
#   mkdir -p .gpu && cp -r ../shared/cuda ../shared/data/coco_mini .gpu/ && echo /.gpu/ >> .git/info/exclude
#
# What is worth keeping is written to OUT: the wheel of mmcv, logs, figures. A wheel put into .gpu/ is not built again.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-work_dirs/gpu}
SITE=${SITE:-${TMPDIR:-/tmp}/mmbackbones_site}
mkdir -p "$OUT"

first_of() {  # the first of these paths that exists
    for path in "$@"; do
        if [ -e "$path" ]; then echo "$path"; return; fi
    done
    echo "gpu.sh: there is none of: $*" >&2
    return 1
}

setup() {
    export PYTHONPATH=$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
    if [ -e "$SITE/.ready" ]; then return; fi
    local kit wheel
    kit=$(first_of ${KIT:-} .gpu/cuda ../shared/cuda)
    pip_install "$kit"/wheels/*.whl
    wheel=$(first_of .gpu/onedl_mmcv-*.whl "$OUT"/onedl_mmcv-*.whl 2>/dev/null || true)
    if [ -z "$wheel" ]; then
        bash "$kit/build_mmcv.sh" "$OUT"
        wheel=$(first_of "$OUT"/onedl_mmcv-*.whl)
    fi
    pip_install "$wheel"
    python3 -c 'import torch, mmcv.ops, mmbackbones; print(torch.__version__, torch.cuda.get_device_name())'
    touch "$SITE/.ready"
}

pip_install() {
    python3 -m pip install --quiet --no-index --no-deps --no-cache-dir --upgrade --target "$SITE" "$@"
}

tests() {
    python3 -m pytest -v -rs tests/test_gpu.py | tee "$OUT/tests.log"
}

fit() {
    local data
    data=$(first_of ${DATA:-} .gpu/coco_mini ../shared/data/coco_mini)
    # training is stopped before the machine's limit, and goes on from its newest checkpoint
    timeout "${FIT_SECONDS:-480}" python3 tools/train.py configs/detection/faster_rcnn_odconv_r50_fit.py --amp --resume \
        --backbone-weights none --data-root "$data" --work-dir work_dirs/gpu_fit 2>&1 | tee -a "$OUT/fit.log" || {
        echo 'gpu.sh: stopped before the end; call `fit` again on the same machine and it goes on'; }
    grep -o 'coco/bbox_mAP: [0-9.]*' "$OUT/fit.log" | tail -n 1 || true
}

bench() {
    local name
    name=$(python3 -c 'import torch; print(torch.cuda.get_device_name().split("-")[0].lower().replace(" ", "_"))')
    if [ -e "benchmarks/results/cuda_$name.json" ] && [ ! -e "$OUT/cuda_$name.json" ]; then
        cp "benchmarks/results/cuda_$name.json" "$OUT/"
    fi
    timeout "${BENCH_SECONDS:-480}" python3 benchmarks/run_all.py --device cuda --out "$OUT/cuda_$name.json" \
        2>&1 | tee "$OUT/bench.log" || {
        echo "gpu.sh: not all is measured; put $OUT/cuda_$name.json into benchmarks/results/ and call \`bench\` again"; }
}

if [ $# -eq 0 ]; then
    sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
fi
for part in "$@"; do
    case $part in
        setup | tests | fit | bench) echo "== $part"; "$part" ;;
        *) echo "gpu.sh: no part $part; there are setup, tests, fit, bench" >&2; exit 2 ;;
    esac
done
