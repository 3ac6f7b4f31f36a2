#!/bin/sh
# Packs what testing and measuring the CUDA backend needs, for a machine that has a card but none of our libraries, no
# network and perhaps no compiler: programs, the shared libraries that they want, and the test data. That machine must have
# the same kind of processor, a glibc at least as new, and a driver for the toolkit that compiles here.
#
# usage: tools/gpu_carry.sh BUILD_FOLDER ARCHIVE.txz [SHARED_FOLDER]
#
# BUILD_FOLDER is made or brought up to date, for CORRAL_CUDA_ARCHS (default 90a). There:
#   python3 -m tarfile -e ARCHIVE.txz /tmp && tools/gpu_run.sh test /tmp/corral-gpu /tmp/corral-gpu/shared
set -eu
[ $# -ge 2 ] || { sed -n '6s/^# //p' "$0" >&2; exit 2; }
build=$1 archive=$2 shared=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
to=$folder/corral-gpu

# Libraries are found beside the programs, those that libraries want, too: hence the older kind of path.
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCORRAL_CUDA_ARCHS="${CORRAL_CUDA_ARCHS:-90a}" \
    -DCMAKE_BUILD_RPATH='$ORIGIN/lib;$ORIGIN/../lib' -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >"$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }
cmake --build "$build" --target corral gpu_targets gpu_tests gpu_kernels shape_model
[ -f "$build/corral_cuda.so" ] || { echo "gpu_carry: this build has no CUDA backend: is the toolkit installed?" >&2; exit 1; }

mkdir -p "$to/tests" "$to/lib"
for f in corral corral_cuda.so corral_sim.so gpu_kernels shape_model; do cp "$build/$f" "$to/"; done
sed -n 's/^ *run .*"\$build\/\(tests\/[a-z_]*\)"$/\1/p' tools/gpu_run.sh | while read -r t; do cp "$build/$t" "$to/tests/"; done
strip -g "$to"/corral* "$to"/gpu_kernels "$to"/shape_model "$to"/tests/*
ldd "$to/corral" "$to"/tests/* | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -v -E '/(lib(c|m|dl|rt|pthread|resolv|util)|ld-linux[^/]*)\.so' | while read -r so; do cp -L "$so" "$to/lib/"; done
if [ -d "$shared/golden" ]; then
    mkdir -p "$to/shared/golden"
    cp -r "$shared/golden/arch" "$shared/golden/quant" "$to/shared/golden/"
    cp -r "$shared/models" "$to/shared/"
fi
mkdir -p "$(dirname "$archive")"
tar -C "$folder" -cJf "$archive" corral-gpu # small: what carries it may take 64 MiB in all
du -h "$archive"
