#!/usr/bin/env python3
"""Corral against llama.cpp on the same files, in turns, as ratios.

usage: compare_cpu.py [--rounds 5] [--threads 2] [--corral build/corral] [--peer-python PYTHON] [--isa avx2]
                      [--only TEXT] [--without TEXT] [--batches 2,4,16,32] [--prompts 64,128] MODEL.gguf ...

PYTHON is one that has llama-cpp-python from PyPI (which builds llama.cpp for this machine). Each round runs both programs
once per workload, one right after the other, and counts only ratios within a round; the table gives their median and
spread, and the medians of both speeds. A second table has the medians alone, a row per file, with what is slower than
llama.cpp in bold: with --batches and --prompts, whether any type is slower at any number of columns of a step.
--isa sets CORRAL_CPU_ISA for Corral, to stand beside a llama.cpp that was built for the same instructions.
Files with the shapes of real models: ../shared/tools/make_bench_models.py.
"""
import argparse
import json
import os
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


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def run(command, **env):
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **env})
    if p.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{p.stderr[-2000:]}")
    return json.loads(p.stdout)


def corral(a, model, prompt, gen, batch, depth):
    j = run([a.corral, "bench", "-m", model, "-p", prompt, "-n", gen, "-b", batch, "-d", depth, "-t", a.threads, "-r", 1,
             "--json"], **({"CORRAL_CPU_ISA": a.isa} if a.isa else {}))
    return {"prefill": j["prefill_tok_s"]["median"], "decode": j["decode_tok_s"]["median"],
            "of memory": j["batches"][0]["memory_fraction"],
            "of arithmetic": j["batches"][0]["arithmetic_fraction"] if gen else j["prefill_arithmetic_fraction"]}


def llamacpp(a, model, prompt, gen, batch, depth):
    return run([a.peer_python, HERE / "llamacpp_once.py", model, prompt, gen, batch, depth, a.threads])


def print_medians(table):
    """table: {file: {workload: ratio}}"""
    names = list(next(iter(table.values())))
    print("\n| file | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for file, row in table.items():
        print(f"| {file} | " + " | ".join(f"{r:.2f}" if r >= 1 else f"**{r:.2f}**" for r in row.values()) + " |")
    every = [r for row in table.values() for r in row.values()]
    print(f"\n{sum(r < 1 for r in every)} of {len(every)} medians are below 1; the lowest is {min(every):.2f}.")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--corral", default=HERE.parent / "build" / "corral")
    p.add_argument("--peer-python", default=sys.executable)
    p.add_argument("--only", default="", help="workloads whose name contains this")
    p.add_argument("--without", help="none whose name contains this")
    p.add_argument("--batches", type=numbers, default=[], help="decoding of these numbers of sequences, too: 2,4,16,32")
    p.add_argument("--prompts", type=numbers, default=[], help="prompts of these lengths, too: 64,128")
    p.add_argument("--isa", help="CORRAL_CPU_ISA for Corral: avx2, avxvnni, avx512, ...")
    a = p.parse_args()
    workloads = {n: w for n, w in WORKLOADS.items() if a.only in n and not (a.without and a.without in n)}
    workloads |= {f"prefill {n}": (n, 0, 1, 0) for n in a.prompts}
    workloads |= {f"decode 16, batch {n}": (16, 16, n, 0) for n in a.batches}
    if not workloads:
        p.error("no workload is left")
    print("| file | workload | ratio: median (min to max) | corral tok/s | llama.cpp tok/s | of memory bandwidth | of arithmetic |")
    print("|---|---|---|---|---|---|---|")
    table = {pathlib.Path(m).stem: {} for m in a.models}
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
            table[pathlib.Path(model).stem][name] = statistics.median(ratio)
    print_medians(table)


main()
