#!/bin/sh
# What one request costs the server's processor, over HTTP/1.1 and HTTP/2: wrk and h2load against /health, the time
# taken from /proc. Load on the machine changes the rates and leaves that figure nearly alone.
#
# usage: bench/http.sh [path of corral]      needs: apt-get install wrk nghttp2-client
set -eu
corral=${1:-build/corral}
for tool in wrk h2load; do
    command -v $tool >/dev/null || { echo "bench: there is no $tool (apt-get install wrk nghttp2-client)" >&2; exit 1; }
done
out=$(mktemp)
"$corral" serve --port 0 --quiet >"$out" &
pid=$!
trap 'kill $pid; wait $pid || true; rm -f "$out"' EXIT
until url=$(sed -n 's/^corral: ready: \([^ ]*\) .*/\1/p' "$out") && [ -n "$url" ]; do sleep 0.1; done
ticks() { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
report() { # name, requests, requests a second, ticks before
    awk -v name="$1" -v n="$2" -v rate="$3" -v t="$(($(ticks) - $4))" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%-24s %8d requests %9.0f/s %6.1f us of processor each\n", name, n, rate, t / hz / n * 1e6 }'
}
before=$(ticks)
set -- $(wrk -t1 -c64 -d4s "$url/health" | awk '/requests in/ { n = $1 } /Requests\/sec/ { r = $2 } END { print n, r }')
report "HTTP/1.1, 64 connections" "$1" "$2" "$before"
before=$(ticks)
set -- $(h2load -n 100000 -c 8 -m 16 "$url/health" | awk '/^finished/ { r = $4 } /succeeded/ { n = $8 } END { print n, r }')
report "HTTP/2, 8 x 16 streams" "$1" "$2" "$before"
