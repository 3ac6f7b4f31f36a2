#!/bin/sh
# Runs a compiler, and fails when ptxas had to put products of warpgroups one after the other (C7510 and its neighbours).
# It says so only as an information, and the kernel is then several times slower.
#
# usage: no_serialized_wgmma.sh nvcc ARGUMENTS...
said=$("$@" 2>&1)
result=$?
[ -n "$said" ] && printf '%s\n' "$said" >&2
case $said in
*C75[0-9][0-9]*) echo "ptxas serialized wgmma: see above" >&2; exit 1 ;;
esac
exit $result
