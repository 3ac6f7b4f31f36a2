#!/bin/sh
# What a request costs the server's processor, beside nginx in the same run: wrk and h2load ask for /health, the time is
# taken from /proc. Load on the machine changes the rates and leaves that figure nearly alone. Then many streams at
# once (bench/http_streams.c).
#
# usage: bench/http.sh [build folder]     needs: apt-get install wrk nghttp2-client nginx-light; ninja bench_http
#
# Rows: nginx answers a few bytes from its configuration; "core" is src/http alone with an answer as small;
# corral serve's /health besides asks the engine for its figures.
set -eu
build=${1:-build}
for tool in wrk h2load nginx; do
    command -v $tool >/dev/null || { echo "bench: there is no $tool (apt-get install wrk nghttp2-client nginx-light)" >&2; exit 1; }
done
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null; wait; rm -rf "$dir"' EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
h1=$(port) h2=$(port) core=$(port)
cat >"$dir/nginx.conf" <<EOF
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log $dir/error.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 100000000;
    server { listen 127.0.0.1:$h1; location /health { default_type application/json; return 200 '{"status":"ok"}\n'; } }
    server { listen 127.0.0.1:$h2 http2; location /health { default_type application/json; return 200 '{"status":"ok"}\n'; } }
}
EOF
nginx -c "$dir/nginx.conf" -p "$dir" 2>/dev/null &
pids="$pids $!"
"$build/tests/bench_http" serve "$core" &
core_pid=$!
"$build/corral" serve --port 0 --quiet >"$dir/ready" &
corral_pid=$!
pids="$pids $core_pid $corral_pid"
until url=$(sed -n 's/^corral: ready: \([^ ]*\) .*/\1/p' "$dir/ready") && [ -n "$url" ]; do sleep 0.1; done
until nginx_pid=$(pgrep -P "$(cat "$dir/nginx.pid")") 2>/dev/null && [ -n "$nginx_pid" ]; do sleep 0.1; done

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
report() { # name, process, ticks before, requests, requests a second
    awk -v name="$1" -v n="$4" -v rate="$5" -v t="$(($(ticks "$2") - $3))" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%-28s %8d requests %9.0f/s %6.1f us of processor each\n", name, n, rate, t / hz / n * 1e6 }'
}
http1() { # name, process, URL
    before=$(ticks "$2")
    report "$1, HTTP/1.1" "$2" "$before" $(wrk -t1 -c64 -d4s "$3/health" | awk '/requests in/ { n = $1 } /Requests\/sec/ { r = $2 } END { print n, r }')
}
http2() {
    before=$(ticks "$2")
    report "$1, HTTP/2" "$2" "$before" $(h2load -n 100000 -c 8 -m 16 "$3/health" | awk '/^finished/ { r = $4 } /succeeded/ { n = $8 } END { print n, r }')
}
for round in 1 2 3; do
    http1 nginx "$nginx_pid" "http://127.0.0.1:$h1"
    http1 core "$core_pid" "http://127.0.0.1:$core"
    http1 "corral serve" "$corral_pid" "$url"
    http2 nginx "$nginx_pid" "http://127.0.0.1:$h2"
    http2 core "$core_pid" "http://127.0.0.1:$core"
    http2 "corral serve" "$corral_pid" "$url"
done
"$build/tests/bench_http" run
