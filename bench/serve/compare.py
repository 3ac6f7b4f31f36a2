#!/usr/bin/env python3
"""corral serve beside llama.cpp's servers: the same file, the same requests, in turns, on an otherwise idle machine.

usage: compare.py MODEL.gguf [--corral build/corral] [--llama-server PATH] [--llama-cpp-python PYTHON] [--rounds 3]
                  [--scenes throughput,mixed,turns,open] [--threads 2] [--out FOLDER]

Scenes: `throughput` 16 clients with prompts of 128 and answers of 64 tokens; `mixed` 16 clients, most with prompts of
32 tokens and some with 1000; `turns` conversations behind a long prefix that all share; `open` requests that arrive at
random. In `turns` corral also runs without its prefix cache. Servers are started once and answer one after the other,
round by round; the table has medians over rounds and ratios to corral's.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import load

SCENES = {
    "throughput": ["--closed", "16", "--requests", "32", "--prompt", "128", "--output", "64"],
    "mixed": ["--closed", "16", "--requests", "32", "--prompt", "mix:32*0.8,1000*0.2", "--output", "32"],
    "turns": ["--closed", "2", "--requests", "12", "--turns", "4", "--prefix", "768", "--prompt", "32", "--turn-tokens", "32",
              "--output", "16"],
    "open": ["--open", "0.5", "--requests", "20", "--prompt", "lognormal:160:0.8", "--output", "lognormal:48:0.6"],
}
CONTEXT, PARALLEL = 4096, 16


class Server:
    def __init__(self, name, command, ready):
        self.name, self.log = name, tempfile.TemporaryFile("w+")
        self.home = tempfile.TemporaryDirectory()
        self.proc = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT,
                                     env={**os.environ, "CORRAL_HOME": self.home.name})
        self.url = ready(self)

    def output(self):
        self.log.seek(0)
        return self.log.read()

    def wait(self, test, seconds=300):
        for _ in range(seconds * 5):
            if self.proc.poll() is not None:
                sys.exit(f"{self.name} ended: {self.output()[-2000:]}")
            found = test()
            if found:
                return found
            time.sleep(0.2)
        sys.exit(f"{self.name} is not ready: {self.output()[-2000:]}")

    def stop(self):
        self.proc.terminate()
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


def corral(o, *more):
    command = [o.corral, "serve", o.model, "--port", "0", "-p", str(PARALLEL), "-c", str(CONTEXT), "-t", str(o.threads), "--quiet", *more]
    url = lambda s: s.wait(lambda: re.search(r"corral: ready: (\S+) serves", s.output())).group(1)
    return Server("corral" + "".join(more), command, url)


def llama_server(o):
    url = f"http://127.0.0.1:{o.port}"
    command = [o.llama_server, "-m", o.model, "--port", str(o.port), "-np", str(PARALLEL), "-c", str(CONTEXT * PARALLEL), "-t", str(o.threads),
               "-tb", str(o.threads), "-kvu"]
    return Server("llama-server", command, lambda s: s.wait(lambda: answers(url + "/health")) and url)


def llama_cpp_python(o):
    url = f"http://127.0.0.1:{o.port + 1}"
    command = [o.llama_cpp_python, "-m", "llama_cpp.server", "--model", o.model, "--port", str(o.port + 1), "--n_ctx", str(CONTEXT),
               "--n_threads", str(o.threads), "--n_threads_batch", str(o.threads)]
    return Server("llama-cpp-python", command, lambda s: s.wait(lambda: answers(url + "/v1/models")) and url)


def median(rounds, *path):
    values = []
    for r in rounds:
        for p in path:
            r = r[p] if r is not None else None
        if r is not None:
            values.append(r)
    return statistics.median(values) if values else None


FIGURES = [("output tok/s", ("output_tok_s",)), ("TTFT p50", ("ttft", "p50")), ("TTFT p99", ("ttft", "p99")),
           ("between tokens p50", ("itl", "p50")), ("p99", ("itl", "p99")), ("end to end p50", ("e2e", "p50"))]


def table(results):
    out = []
    for scene, servers in results.items():
        ours = next(iter(servers.values()))
        out.append(f"\n{scene}: `{' '.join(SCENES[scene])}`\n\n| | " + " | ".join(name for name, _ in FIGURES) + " | errors |")
        out.append("|---" * (len(FIGURES) + 2) + "|")
        for name, rounds in servers.items():
            cells = []
            for _, path in FIGURES:
                x, base = median(rounds, *path), median(ours, *path)
                text = "-" if x is None else f"{x:.1f}" if path[0] == "output_tok_s" else f"{x * 1e3:.0f} ms"
                cells.append(text if servers[name] is ours or not x or not base else f"{text} ({x / base:.2f}x)")
            out.append(f"| {name} | " + " | ".join(cells) + f" | {sum(r['errors'] for r in rounds)} |")
    return "\n".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--corral", default="build/corral")
    p.add_argument("--llama-server")
    p.add_argument("--llama-cpp-python", help="a Python that has llama-cpp-python[server]")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scenes", default=",".join(SCENES))
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--port", type=int, default=18900)
    p.add_argument("--out", help="a folder for each scene's and server's figures, which plot.py reads")
    o = p.parse_args()
    results, requests = {}, {}
    servers = [corral(o)]
    try:
        if o.llama_server:
            servers.append(llama_server(o))
        if o.llama_cpp_python:
            servers.append(llama_cpp_python(o))
        if "turns" in o.scenes:
            servers.append(corral(o, "--no-prefix-cache"))
        for round_ in range(o.rounds):
            for scene in o.scenes.split(","):
                for s in servers:
                    if s.name == "corral--no-prefix-cache" and scene != "turns":
                        continue
                    # A seed of its own for each round: what one round left in a cache is no help to the next.
                    one, rows = load.measure(load.options([s.url, *SCENES[scene], "--seed", str(100 + round_)]))
                    results.setdefault(scene, {}).setdefault(s.name, []).append(one)
                    requests.setdefault(scene, {}).setdefault(s.name, []).extend(rows)
                    print(f"round {round_} {scene} {s.name}: {one['output_tok_s'] or 0:.1f} tok/s, TTFT p50 {one['ttft']['p50'] or 0:.3f} "
                          f"p99 {one['ttft']['p99'] or 0:.3f} s, errors {one['errors']} {one['first_error'] or ''}", file=sys.stderr)
    finally:
        for s in servers:
            s.stop()
    print(table(results))
    if not o.out:
        return
    os.makedirs(o.out, exist_ok=True)
    for scene, servers in results.items():
        for name, rounds in servers.items():
            with open(os.path.join(o.out, f"{scene}-{name}.json"), "w") as f:
                json.dump({"options": SCENES[scene], "rounds": rounds, "requests": requests[scene][name]}, f)


if __name__ == "__main__":
    main()
