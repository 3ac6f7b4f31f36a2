#!/usr/bin/env python3
"""Corral against llama.cpp on the same files, in turns, as ratios.

usage: compare_cpu.py [--rounds 5] [--threads 2] [--corral build/corral] [--peer-python PYTHON] MODEL.gguf ...

PYTHON is one that has llama-cpp-python from PyPI (which builds llama.cpp for this machine). Each round runs both programs
once per workload, one right after the other, and counts only ratios within a round; the table gives their median and
spread, and the medians of both speeds. Files with the shapes of real models: ../shared/tools/make_bench_models.py.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = {  # name: (prompt, generated, batch, depth)
    "prefill 512": (512, 0, 1, 0),
    "decode 64": (16, 64, 1, 0),
    "decode 64, batch 8": (16, 64, 8, 0),
    "prefill 512 behind 8k": (512, 0, 1, 8192),
}


def run(command):
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if p.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{p.stderr[-2000:]}")
    return json.loads(p.stdout)


def corral(a, model, prompt, gen, batch, depth):
    j = run([a.corral, "bench", "-m", model, "-p", prompt, "-n", gen, "-b", batch, "-d", depth, "-t", a.threads, "-r", 1,
             "--json"])
    return {"prefill": j["prefill_tok_s"]["median"], "decode": j["decode_tok_s"]["median"],
            "memory": j["batches"][0]["memory_fraction"]}


def llamacpp(a, model, prompt, gen, batch, depth):
    return run([a.peer_python, HERE / "llamacpp_once.py", model, prompt, gen, batch, depth, a.threads])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--corral", default=HERE.parent / "build" / "corral")
    p.add_argument("--peer-python", default=sys.executable)
    p.add_argument("--only", help="workloads whose name contains this")
    a = p.parse_args()
    print("| file | workload | ratio: median (min to max) | corral tok/s | llama.cpp tok/s | of memory bandwidth |")
    print("|---|---|---|---|---|---|")
    for model in a.models:
        for name, work in WORKLOADS.items():
            if a.only and a.only not in name:
                continue
            what = name.split()[0]
            ours, theirs = [], []
            for i in range(a.rounds):
                pair = [corral, llamacpp] if i % 2 == 0 else [llamacpp, corral]
                got = {f: f(a, model, *work) for f in pair}
                ours.append(got[corral])
                theirs.append(got[llamacpp][what])
            ratio = [o[what] / t for o, t in zip(ours, theirs)]
            memory = f"{100 * statistics.median(o['memory'] for o in ours):.0f} %" if what == "decode" else ""
            print(f"| {pathlib.Path(model).stem} | {name} | {statistics.median(ratio):.2f} ({min(ratio):.2f} to "
                  f"{max(ratio):.2f}) | {statistics.median(o[what] for o in ours):.1f} | "
                  f"{statistics.median(theirs):.1f} | {memory} |", flush=True)


main()
