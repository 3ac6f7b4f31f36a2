#!/bin/sh
# Tests or measures the CUDA backend on the card of this machine. Exit status: 0 all well, 1 something failed, 2 no GPU.
#
# usage: tools/gpu_run.sh test BUILD_FOLDER [SHARED_FOLDER]
#        tools/gpu_run.sh bench BUILD_FOLDER [MODEL.gguf]
set -u
what=${1:?} build=${2:?} with=${3:-}
export CORRAL_PLUGINS="$build" CORRAL_GPU=cuda

why=$("$build/corral" doctor | sed -n 's/^ *cuda  *not usable: //p')
if [ -n "$why" ]; then
    echo "no GPU: $why" >&2
    exit 2
fi
failed=0
run() {
    echo "+ $*"
    "$@" || failed=1
}
"$build/corral" doctor | grep ' cuda '
case $what in
test)
    [ -d "$with" ] && export CORRAL_SHARED="$with"
    run "$build/tests/test_backend_gpu_kernels" # primitives against the simulator's, then every kernel
    run "$build/tests/test_backend_gpu"         # models of every shape against the reference
    run "$build/tests/test_backend_golden"      # reference logits, on all backends that are usable
    ;;
bench)
    run "$build/gpu_kernels"
    if [ -n "$with" ]; then
        run "$build/corral" bench -m "$with" --backend cuda -b 1,8,64
    else
        echo "MODEL=file.gguf measures a whole model, too"
    fi
    ;;
*) sed -n '4,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
exit $failed
