#!/bin/sh
# Compiles the GPU kernels with hipcc for AMD's gfx90a and gfx1030, to see that they stay free of CUDA. Nothing is kept.
#
# usage: tools/hip_compiles.sh [FILE.cu...]   (none: all but what is NVIDIA's alone)
# Loops that clang 15 does not unroll (-Wpass-failed) are no error here: nothing of this is tuned for AMD.
# Exit status: 0 all compiled, 1 something did not, 77 there is no hipcc.
set -u
cd "$(dirname "$0")/.." || exit 1
if ! command -v hipcc >/dev/null; then
    echo "skipped: no hipcc (Debian: apt-get install hipcc, 350 MB)"
    exit 77
fi
failed=0
[ $# -gt 0 ] || set -- src/backend/gpu/dev/*.cu
for f in "$@"; do
    case $f in
    */runtime_cuda.cu | */gemm90.cu | */attn90.cu | */blas.cu) continue ;; # the CUDA runtime, Hopper's instructions, NVIDIA's library
    esac
    echo "hipcc $f"
    hipcc -x hip --offload-arch=gfx90a --offload-arch=gfx1030 -std=c++17 -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-pass-failed \
        -Wno-missing-field-initializers -Isrc -c "$f" -o /dev/null || failed=1
done
exit $failed
