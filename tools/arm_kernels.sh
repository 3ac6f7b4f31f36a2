#!/bin/sh
# Builds the CPU kernels for AArch64 and runs their tests under qemu: NEON, its dot products, its matrix products.
#
# usage: tools/arm_kernels.sh BUILD_FOLDER [CMAKE_OPTION...]
# Exit status: 0 all is well, 1 something is not, 77 there is no cross compiler or no qemu.
set -eu
cd "$(dirname "$0")/.."
build=${1:?which folder to build in?}
shift
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    if ! command -v $tool >/dev/null; then
        echo "skipped: no $tool (Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
        exit 77
    fi
done
# -O1 compiles in half the time, and what the kernels calculate does not depend on it; with it gcc warns of what is not so.
cmake -S . -B "$build" -G Ninja --log-level=WARNING -DCORRAL_KERNELS_ONLY=ON -DCMAKE_BUILD_TYPE=None \
    "-DCMAKE_C_FLAGS=-O1 -Wno-maybe-uninitialized -Wno-format-truncation" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
    "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-cpu;max" "$@"
cmake --build "$build"
ctest --test-dir "$build" --output-on-failure
