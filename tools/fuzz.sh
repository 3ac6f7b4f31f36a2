#!/bin/sh
# Runs every fuzz target of a build for a bounded time each, from the seeds in tests/fuzz/corpus/TARGET if there
# are any. What it finds new is kept in the build folder.
#
# usage: tools/fuzz.sh BUILD_DIR SECONDS_EACH
set -eu
build=$1 seconds=$2
source=$(cd "$(dirname "$0")/.." && pwd)
found=0 bad=0
for program in "$build"/tests/fuzz_*; do
    [ -x "$program" ] || continue
    found=1
    name=$(basename "$program")
    target=${name#fuzz_}
    corpus=$build/corpus/$target
    mkdir -p "$corpus"
    seeds=
    [ -d "$source/tests/fuzz/corpus/$target" ] && seeds=$source/tests/fuzz/corpus/$target
    echo "fuzz: $target for $seconds s"
    if ! "$program" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="$build/crash-$target-" "$corpus" $seeds 2>"$build/$name.log"; then
        tail -n 40 "$build/$name.log" >&2
        echo "fuzz: $target FAILED; replay: $program $build/crash-$target-*" >&2
        bad=1
    fi
done
if [ $found = 0 ]; then
    echo "fuzz: no target in $build/tests" >&2
    exit 1
fi
exit $bad
