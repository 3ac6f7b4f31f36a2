#!/usr/bin/env python3
"""Corral against llama.cpp on the same files, in turns, as ratios.

usage: compare_cpu.py [--rounds 5] [--threads 2] [--corral build/corral] [--peer-python PYTHON] [--batches 2,16] MODEL.gguf ...

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
            "of memory": j["batches"][0]["memory_fraction"],
            "of arithmetic": j["batches"][0]["arithmetic_fraction"] if gen else j["prefill_arithmetic_fraction"]}


def llamacpp(a, model, prompt, gen, batch, depth):
    return run([a.peer_python, HERE / "llamacpp_once.py", model, prompt, gen, batch, depth, a.threads])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--corral", default=HERE.parent / "build" / "corral")
    p.add_argument("--peer-python", default=sys.executable)
    p.add_argument("--only", default="", help="workloads whose name contains this")
    p.add_argument("--without", help="none whose name contains this")
    p.add_argument("--batches", default="", help="decoding of these numbers of sequences, too: 2,4,16")
    a = p.parse_args()
    workloads = {n: w for n, w in WORKLOADS.items() if a.only in n and not (a.without and a.without in n)}
    for n in filter(None, a.batches.split(",")):
        workloads[f"decode 16, batch {n}"] = (16, 16, int(n), 0)
    print("| file | workload | ratio: median (min to max) | corral tok/s | llama.cpp tok/s | of memory bandwidth | of arithmetic |")
    print("|---|---|---|---|---|---|---|")
    for model in a.models:
        for name, work in workloads.items():
            what = name.split()[0]
            ours, theirs = [], []
            for i in range(a.rounds):
                pair = [corral, llamacpp] if i % 2 == 0 else [llamacpp, corral]
                got = {f: f(a, model, *work) for f in pair}
                ours.append(got[corral])
                theirs.append(got[llamacpp][what])
            ratio = [o[what] / t for o, t in zip(ours, theirs)]
            part = {of: [o[of] for o in ours if o[of] is not None] for of in ("of memory", "of arithmetic")}
            memory, arithmetic = (f"{100 * statistics.median(v):.0f} %" if v else "" for v in part.values())
            print(f"| {pathlib.Path(model).stem} | {name} | {statistics.median(ratio):.2f} ({min(ratio):.2f} to "
                  f"{max(ratio):.2f}) | {statistics.median(o[what] for o in ours):.1f} | "
                  f"{statistics.median(theirs):.1f} | {memory if what == 'decode' else ''} | {arithmetic} |", flush=True)


main()
