#!/usr/bin/env python3
"""What the CUDA backend reaches on this machine's card, as a section for docs/benchmarks.md.

usage: tools/gpu_bench.py BUILD_FOLDER [--model FILE.gguf] [--write docs/benchmarks.md] [--folder FOLDER] [--kinds bf16,q4_k_m]
                          [--no-transformers]
       tools/gpu_bench.py BUILD_FOLDER --target sim --tiny     (does the program work? the figures mean nothing)

Models of known shapes with random weights are written to FOLDER ($TMPDIR or /tmp) one at a time and removed; the largest
takes 16 GB there and in the page cache. Ratios are to what the card does in the same run: copying on the device, and bf16
products of 8192 by PyTorch where it is installed. Each figure is the median of the rounds. Exit status: 0 all measured,
1 something failed, which the section then names.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPTH, STEPS, PROMPT = 1024, 64, 4096
TORCH_SECONDS = 300

# Numbers in the matrices that every token is multiplied with; the last one (the head) only where logits are wanted.
SHAPES = {
    "8b": dict(layers=32, width=4096, heads=4096, per_layer=2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096,
               head=128256 * 4096, file_gb={"bf16": 16.1, "q8_0": 8.6, "q4_k_m": 5.0, "q4_0": 4.6}),
    "tiny": dict(layers=4, width=256, heads=256, per_layer=2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256, head=512 * 256,
                 file_gb={"bf16": 0.1, "q8_0": 0.1, "q4_k_m": 0.1, "q4_0": 0.1}),
}
GOALS = {"bf16": 78, "q8_0": 75, "q4_k_m": 65, "q4_0": 70}


class Failed(Exception):
    pass


class Stopped(Exception):
    """By SIGTERM, as timeout(1) sends it: what was measured until then is still written."""


def stop(*_):
    raise Stopped


def run(command, timeout=3600):
    print("+", " ".join(map(str, command)), file=sys.stderr, flush=True)
    try:
        r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{pathlib.Path(str(command[0])).name}: not done after {timeout} s")
    if r.returncode:
        last = (r.stderr or r.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Failed(f"{pathlib.Path(str(command[0])).name}: status {r.returncode}: {last[0]}")
    return r.stdout


def first_line(command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return ""


def percent(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "not known"


class Bench:
    def __init__(self, o):
        self.o = o
        self.failed = []
        self.copy = self.flops = None  # of the card: bytes and operations per second
        self.rows = []                 # (what, measured, part of what the card does, goal)
        self.kernels = ""
        self.torch = {}
        self.prompt = 256 if o.tiny else PROMPT
        self.depth = 128 if o.tiny else DEPTH
        self.steps = 4 if o.tiny else STEPS
        self.many = 4 if o.tiny else 64

    def attempt(self, what, fn, *args):
        try:
            fn(*args)
        except (Failed, OSError, ValueError, KeyError) as e:
            self.failed.append(f"{what}: {e}")
            print(f"gpu_bench: {what}: {e}", file=sys.stderr)

    def measure_kernels(self):
        command = [self.o.build / "gpu_kernels", self.o.target] + (["tiny"] if self.o.tiny else [])
        self.kernels = run(command)
        m = re.search(r"Copying on the device: (\d+) GB/s", self.kernels)
        if not m:
            raise Failed("no copy rate in what it prints")
        self.copy = float(m.group(1)) * 1e9
        row = r"^\| (\S+) \| (.+) \| 1 \| [\d.]+ \| (\d+) \| (\d+) % \|$"
        for what, size, rate, part in re.findall(row, self.kernels, re.M):
            if what == "attention" or size == "14336 x 4096":
                name = f"attention of one token, {size}" if what == "attention" else f"product, 1 token, {what}, {size}"
                self.rows.append((name, f"{rate} GB/s", f"{part} %", "85 %"))

    def measure_torch(self, shape):
        """Its absence is no failure."""
        script = ROOT / "bench" / "transformers_once.py"
        with tempfile.TemporaryFile("w+") as figures:  # one line more for each, so that the last one counts whatever comes
            try:
                r = subprocess.run([sys.executable, script, shape], stdout=figures, stderr=subprocess.PIPE, text=True,
                                   timeout=TORCH_SECONDS)
                status, why = r.returncode, (r.stderr.strip().splitlines() or ["no message"])[-1]
            except subprocess.TimeoutExpired:
                status, why = 1, f"not done after {TORCH_SECONDS} s"
            figures.seek(0)
            lines = figures.read().splitlines()
        if status == 3:
            self.torch = {"absent": why}
            return
        if lines:
            self.torch = json.loads(lines[-1])
            self.flops = self.torch.get("matmul_flops")
        if status:
            raise Failed(why)

    def corral(self, path, *flags):
        command = [self.o.build / "corral", "bench", "-m", path, "--backend", self.o.target, "--json", *flags]
        return json.loads(run(command))

    def rounds(self):
        return "1" if self.o.tiny else "5"

    def measure_file(self, path, name, shape, kind):
        length = str(self.depth + self.steps)
        d = self.corral(path, "-p", "0", "-d", self.depth, "-n", self.steps, "-b", f"1,{self.many}", "-r", self.rounds(),
                        "-c", length)
        goal = GOALS.get(kind)
        for b in d["batches"]:
            rate, batch = b["decode_tok_s"]["median"], b["batch"]
            floor = b["bytes_per_step"] / self.copy if self.copy else 0
            if shape and self.flops:
                s = SHAPES[shape]
                products = 2 * batch * (s["layers"] * s["per_layer"] + s["head"]) / self.flops
                kv = 2 * s["layers"] * batch * self.depth * 1024 * 2 / self.copy if shape == "8b" else 0
                floor = max(floor, products + kv)
            self.rows.append((f"{name}, decode, {batch} at {self.depth} tokens", f"{rate:.1f} tok/s",
                              percent(rate / batch * floor, 1) if floor else "not known",
                              f"{80 if batch > 1 else goal} %" if goal and (batch == 1 or kind in ("bf16", "q4_k_m")) else ""))
        d = self.corral(path, "-p", self.prompt, "-n", "0", "--step-tokens", self.prompt, "-r", self.rounds(),
                        "-c", self.prompt)
        rate, part = d["prefill_tok_s"]["median"], ""
        if shape:
            s = SHAPES[shape]
            ops = 2 * s["layers"] * s["per_layer"] + 2 * s["layers"] * s["heads"] * self.prompt
            part = percent(rate * ops, self.flops) if self.flops else f"{rate * ops * 1e-12:.0f} TFLOP/s"
        self.rows.append((f"{name}, prompt of {self.prompt} tokens", f"{rate:.0f} tok/s", part,
                          "65 %" if kind == "bf16" else ""))

    def measure_shape(self, shape, kind):
        need = SHAPES[shape]["file_gb"][kind] * 1e9
        if shutil.disk_usage(self.o.folder).free < 1.05 * need:
            raise Failed(f"{self.o.folder} has no room for {need * 1e-9:.1f} GB: choose another with --folder")
        with tempfile.TemporaryDirectory(prefix="corral-bench-", dir=self.o.folder) as folder:
            path = pathlib.Path(folder) / f"{shape}-{kind}.gguf"
            run([self.o.build / "shape_model", path, shape, kind])
            self.measure_file(path, f"{shape} {kind}", shape, kind)

    def section(self):
        card = self.kernels.splitlines()[0] if self.kernels else f"{datetime.date.today()}, {self.o.target}"
        driver = first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
        out = [f"## GPU: {card.split(',')[1].strip() if ',' in card else self.o.target}", "",
               f"{card}{' Driver ' + driver + '.' if driver else ''}", "",
               f"    make bench-gpu{' MODEL=' + str(self.o.model) if self.o.model else ''}", "",
               f"Random weights; medians of {self.rounds()} rounds. The share is of the time that reading weights and cache at "
               "the card's copy rate takes, or its products at PyTorch's bf16 rate, whichever is longer."
               + (f" PyTorch {self.torch['torch']}: bf16 products of 8192, {self.flops * 1e-12:.0f} TFLOP/s."
                  if self.flops else ""), "",
               "| what | measured | of what the card does | goal |", "|---|---:|---:|---:|"]
        out += [f"| {' | '.join(r)} |" for r in self.rows]
        if "matmul_flops" in self.torch:
            out += ["", f"transformers {self.torch['transformers']} on PyTorch, the 8B shape in bf16, the same run:", "",
                    "| what | measured |", "|---|---:|"]
            for key, what in (("decode_1_tok_s", f"decode, 1 at {DEPTH} tokens"),
                              ("compiled_1_tok_s", "the same, torch.compile"),
                              ("decode_64_tok_s", f"decode, 64 at {DEPTH} tokens"),
                              ("prefill_tok_s", f"prompt of {PROMPT} tokens")):
                value = self.torch.get(key)
                out.append(f"| {what} | {f'{value:.1f} tok/s' if value else self.torch.get(key + '_error', 'not measured')} |")
        elif "absent" in self.torch:
            out += ["", f"transformers was not compared with: {self.torch['absent']}."]
        if self.failed:
            out += ["", "Not measured:", ""] + [f"- {f}" for f in self.failed]
        out += ["", "Kernels one by one:", "", *self.kernels.splitlines()[1:], ""]
        return "\n".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("build", type=pathlib.Path)
    p.add_argument("--model", type=pathlib.Path)
    p.add_argument("--write", type=pathlib.Path)
    p.add_argument("--folder", default=os.environ.get("TMPDIR", "/tmp"))
    p.add_argument("--target", default="cuda")
    p.add_argument("--tiny", action="store_true")
    p.add_argument("--no-transformers", action="store_true")
    p.add_argument("--kinds", default=",".join(GOALS), help="of the shape's weights, with commas")
    o = p.parse_args()
    if unknown := set(o.kinds.split(",")) - set(GOALS):
        p.error(f"no kind of weights: {', '.join(sorted(unknown))}")
    b = Bench(o)
    shape = "tiny" if o.tiny else "8b"
    signal.signal(signal.SIGTERM, stop)
    try:
        b.attempt("kernels", b.measure_kernels)
        if not o.no_transformers:
            b.attempt("transformers", b.measure_torch, shape)
        for kind in o.kinds.split(","):
            b.attempt(f"{shape} {kind}", b.measure_shape, shape, kind)
        if o.model:
            b.attempt(o.model.name, b.measure_file, o.model, o.model.name, None, None)
    except Stopped:
        b.failed.append("the rest: stopped from outside")
    text = b.section()
    print(text)
    if o.write:
        with open(o.write, "a") as f:
            f.write("\n" + text)
        print(f"added to {o.write}", file=sys.stderr)
    return 1 if b.failed else 0


if __name__ == "__main__":
    sys.exit(main())
