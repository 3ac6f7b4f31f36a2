#!/bin/sh
# Tests or measures the CUDA backend on the card of this machine. Exit status: 0 all well, 1 something failed, 2 no GPU.
#
# usage: tools/gpu_run.sh test BUILD_FOLDER [SHARED_FOLDER]
#        tools/gpu_run.sh bench BUILD_FOLDER [MODEL.gguf]
#
# PYTHON names the one that has PyTorch and transformers. GPU_RUN_UNDER="compute-sanitizer" runs each test under that.
# GPU_RUN_SECONDS=120 gives up a test after so long, where less than what stands below is enough.
# CORRAL_GPU=sim tries the script itself on the simulator.
set -u
what=${1:-} build=${2:-} with=${3:-}
usage() {
    sed -n '4,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ -n "$build" ] || usage
export CORRAL_PLUGINS="$build" CORRAL_GPU="${CORRAL_GPU:-cuda}"

why=$("$build/corral" doctor | sed -n "s/^ *$CORRAL_GPU  *not usable: //p")
if [ -n "$why" ]; then
    echo "no GPU: $why" >&2
    exit 2
fi
"$build/corral" doctor | grep " $CORRAL_GPU "
failed=
run() { # NAME SECONDS COMMAND...: a kernel that never ends must not end the day
    name=$1 seconds=$2
    [ "${GPU_RUN_SECONDS:-$seconds}" -lt "$seconds" ] && seconds=$GPU_RUN_SECONDS
    shift 2
    echo "+ $*"
    # shellcheck disable=SC2086
    timeout -k 10 "$seconds" ${GPU_RUN_UNDER:-} "$@"
    rc=$?
    [ $rc -eq 0 ] && return
    [ $rc -ge 124 ] && [ $rc -le 137 ] && name="$name (still running after $seconds s)"
    failed="$failed
  $name"
}
case $what in
test)
    [ -d "$with" ] && export CORRAL_SHARED="$with"
    # In order of what depends on what: the first that fails says where to look.
    run "kernels: primitives against the simulator's, then every kernel" 900 "$build/tests/test_backend_gpu_kernels"
    run "draws: tokens chosen on the device against the host's" 600 "$build/tests/test_backend_draws"
    run "models of every shape against the reference" 900 "$build/tests/test_backend_gpu"
    run "KV types, determinism, draws in a step" 600 "$build/tests/test_backend_gpu_options"
    run "two steps under way" 600 "$build/tests/test_backend_ahead"
    run "one model on two devices, or on one that is named twice" 600 "$build/tests/test_backend_split"
    if [ -n "${CORRAL_SHARED:-}" ]; then
        run "reference logits" 900 "$build/tests/test_backend_golden"
    else
        echo "skipped: reference logits (no shared folder of test data)"
    fi
    ;;
bench)
    set -- "$build"
    [ "$CORRAL_GPU" = cuda ] && set -- "$@" --write docs/benchmarks.md
    [ "$CORRAL_GPU" = cuda ] || set -- "$@" --target "$CORRAL_GPU" --tiny
    [ -n "$with" ] && set -- "$@" --model "$with"
    run "some measurement" 7200 "${PYTHON:-python3}" tools/gpu_bench.py "$@"
    ;;
*) usage ;;
esac
if [ -n "$failed" ]; then
    echo "FAILED:$failed"
    exit 1
fi
echo "all well"
