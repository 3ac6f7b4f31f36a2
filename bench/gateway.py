#!/usr/bin/env python3
"""What the gateway costs: the same requests to it and straight to its worker's socket, in turns.

    CORRAL=build/corral python3 bench/gateway.py [MODEL]

Prints the median time to the first byte of a stream, and the throughput of 64 streams at once."""
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CORRAL = os.environ.get("CORRAL", "build/corral")
N_FIRST, N_STREAM, N_TOKEN, ROUNDS = 400, 64, 100, 5


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(c, n):
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": n, "stream": True, "temperature": 0,
                       "ignore_eos": True})
    t = time.perf_counter()
    c.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    r = c.getresponse()
    r.read(1)
    first = time.perf_counter() - t
    r.read()
    return first


def streams(connect):
    threads = [threading.Thread(target=lambda: ask(connect(), N_TOKEN)) for _ in range(N_STREAM)]
    t = time.perf_counter()
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    return N_STREAM * N_TOKEN / (time.perf_counter() - t)


def main():
    model = sys.argv[1] if len(sys.argv) > 1 else "demo"
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "CORRAL_HOME": home, "XDG_RUNTIME_DIR": home}
        p = subprocess.Popen([CORRAL, "serve", model, "--port", "0", "--quiet", "--parallel", str(N_STREAM)],
                             stdout=subprocess.PIPE, text=True, env=env)
        port = int(re.search(r":(\d+) serves", p.stdout.readline()).group(1))
        path = next(os.path.join(d, f) for d, _, fs in os.walk(home) for f in fs + os.listdir(d)
                    if f != "corral.sock" and os.path.exists(os.path.join(d, f)) and
                    (os.stat(os.path.join(d, f)).st_mode & 0o170000) == 0o140000)
        ways = {"worker": lambda: Unix(path), "gateway": lambda: http.client.HTTPConnection("127.0.0.1", port)}
        kept = {name: connect() for name, connect in ways.items()}
        first = {name: [] for name in ways}
        for _ in range(N_FIRST):
            for name in ways:
                first[name].append(ask(kept[name], 1) * 1e3)
        rate = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, connect in ways.items():
                rate[name].append(streams(connect))
        for name in ways:
            print(f"{name:8} first byte p50 {statistics.median(first[name][50:]):.3f} ms   "
                  f"{N_STREAM} streams {statistics.median(rate[name]):.0f} tokens/s")
        p.terminate()
        p.wait()


main()
