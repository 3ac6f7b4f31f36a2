#!/usr/bin/env python3
"""Token masks of Corral beside llguidance and xgrammar: the same schemas, instances and vocabulary, one thread each.

usage: bench/structured/compare.py --corral build/corral --vocab VOCAB.gguf --sample maskbench_sample.jsonl
       [--every N] [--limit N] [--limit-s S] [--json OUT]

Needs `pip install llguidance xgrammar` (and numpy); what is missing is left out. Verdicts are counted as in
MaskBench: a schema passes when every instance is judged as marked; Corral also checks that the text may end.
Corral's times are of its thread on the processor, the others' of their Python thread (time.thread_time_ns), the
bindings included; the script interleaves them schema by schema, so that a busy machine hits all alike. xgrammar runs
with any whitespace, its closest to the others, and with strict_mode off (objects open by default, as the standard
says); a schema that takes it longer than --limit-s to compile counts as refused, in a process of its own.
"""
import argparse
import json
import subprocess
import sys
import time


def percentiles(ns):
    ns = sorted(ns)
    at = lambda q: ns[min(len(ns) - 1, int(len(ns) * q))] / 1e3
    return {"n": len(ns), "avg_us": round(sum(ns) / len(ns) / 1e3, 2), "p50_us": round(at(.5), 2),
            "p90_us": round(at(.9), 2), "p99_us": round(at(.99), 2), "p99.9_us": round(at(.999), 2), "max_us": round(ns[-1] / 1e3, 2)}


class Verdicts:
    def __init__(self):
        self.passing = self.refused = self.wrong_accept = self.wrong_reject = self.schemas = 0

    def add(self, tests, accept):
        self.schemas += 1
        if accept is None:
            self.refused += 1
            return
        wrong = [(t["valid"], a) for t, a in zip(tests, accept) if t["valid"] != a]
        self.wrong_accept += sum(a for _, a in wrong)
        self.wrong_reject += sum(v for v, _ in wrong)
        self.passing += not wrong


class Corral:
    """One process, a line in and a line out at a time."""

    def __init__(self, program, vocab):
        self.p = subprocess.Popen(["stdbuf", "-oL", program, "schema", "--times", "-m", vocab], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.compile_ns, self.mask_ns, self.verdicts = [], [], Verdicts()

    def run(self, o):
        self.p.stdin.write(json.dumps({"id": o["id"], "schema": o["schema"], "instances": [t["data"] for t in o["tests"]]}) + "\n")
        self.p.stdin.flush()
        r = json.loads(self.p.stdout.readline())
        ok = r["compile"] == "ok"
        if ok:
            self.compile_ns.append(r["compile_us"] * 1e3)
            self.mask_ns += r.get("times_ns", [])
        self.verdicts.add(o["tests"], r["accept"] if ok else None)


def vocabulary(corral, vocab):
    dump = json.loads(subprocess.run([corral, "schema", "--vocabulary", "-m", vocab], capture_output=True, text=True,
                                     check=True).stdout)
    return [bytes.fromhex(x) for x in dump["pieces"]], dump["eog"]


class Xgrammar:
    """In a child process, so that what does not come back can be ended."""

    def __init__(self, corral, vocab, limit_s):
        import xgrammar  # noqa: F401: to fail here when it is missing
        self.args, self.limit_s, self.child = (corral, vocab), limit_s, None
        self.compile_ns, self.mask_ns, self.verdicts, self.n_late = [], [], Verdicts(), 0

    def start(self):
        import multiprocessing
        here, there = multiprocessing.Pipe()
        self.child, self.pipe = multiprocessing.Process(target=xgrammar_child, args=(there, *self.args), daemon=True), here
        self.child.start()
        self.pipe.recv()

    def run(self, o, ids):
        if not self.child or not self.child.is_alive():
            self.start()
        self.pipe.send((json.dumps(o["schema"]), ids))
        try:
            late = not self.pipe.poll(self.limit_s)
            answer = None if late else self.pipe.recv()
        except EOFError:  # it crashed
            late, answer = True, None
        if late:
            self.n_late += 1
            self.child.kill()
            self.child.join()
        if answer:
            self.compile_ns.append(answer[0])
            self.mask_ns += answer[1]
        self.verdicts.add(o["tests"], answer[2] if answer else None)


def xgrammar_child(pipe, corral, vocab):
    import torch
    import xgrammar
    torch.set_num_threads(1)
    pieces, eog = vocabulary(corral, vocab)
    info = xgrammar.TokenizerInfo(pieces, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=eog)
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    mask = xgrammar.allocate_token_bitmask(1, info.vocab_size)
    pipe.send(True)
    while True:
        schema, ids = pipe.recv()
        start = time.thread_time_ns()
        try:
            compiled = compiler.compile_json_schema(schema, any_whitespace=True, strict_mode=False)
        except Exception:
            pipe.send(None)
            continue
        took, times, accept = time.thread_time_ns() - start, [], []
        for tokens in ids:
            m, good = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=False), True
            for t in tokens:
                start = time.thread_time_ns()
                m.fill_next_token_bitmask(mask)
                times.append(time.thread_time_ns() - start)
                good = bool(mask[0, t >> 5] >> (t & 31) & 1) and m.accept_token(t)
                if not good:
                    break
            if good:
                m.fill_next_token_bitmask(mask)
                good = bool(mask[0, eog[0] >> 5] >> (eog[0] & 31) & 1)
            accept.append(good)
        pipe.send((took, times, accept))


class Llguidance:
    def __init__(self, lines, corral, vocab):
        import llguidance
        import llguidance.numpy
        self.ll, self.np = llguidance, llguidance.numpy
        pieces, eog = vocabulary(corral, vocab)
        eog = eog[0]

        class Wrapper:  # what LLTokenizer asks of a tokenizer
            eos_token_id, bos_token_id, tokens, special_token_ids = eog, None, pieces, [eog]

            def __call__(self, text):
                return [pieces.index(bytes([b])) for b in (text if isinstance(text, bytes) else text.encode())]

        self.tok = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Wrapper()))
        self.mask = llguidance.numpy.allocate_token_bitmask(1, self.tok.vocab_size)
        self.ids = None
        self.compile_ns, self.mask_ns, self.verdicts = [], [], Verdicts()

    def run(self, o, ids):
        start = time.thread_time_ns()
        try:
            grammar = self.ll.LLMatcher.grammar_from_json_schema(o["schema"])
            first = self.ll.LLMatcher(self.tok, grammar, log_level=0)
            if first.is_error():
                raise ValueError(first.get_error())
        except (ValueError, RuntimeError):
            self.verdicts.add(o["tests"], None)
            return
        self.compile_ns.append(time.thread_time_ns() - start)
        accept = []
        for tokens in ids:
            m = first.deep_copy()
            good = True
            for t in tokens:
                start = time.thread_time_ns()
                self.np.fill_next_token_bitmask(m, self.mask, 0)
                self.mask_ns.append(time.thread_time_ns() - start)
                good = m.consume_token(t)  # its masks hold only the canonical token where text is forced
                if not good:
                    break
            accept.append(good and m.is_accepting())
        self.verdicts.add(o["tests"], accept)


def tokenize(corral, vocab, lines):
    texts = [json.dumps(t["data"], ensure_ascii=False) for o in lines for t in o["tests"]]
    p = subprocess.run([corral, "tokenize", "-m", vocab, "--jsonl", "--bos", "off"], capture_output=True, text=True, check=True,
                       input="".join(json.dumps(t) + "\n" for t in texts))
    rows = iter(p.stdout.splitlines())
    return [[json.loads(next(rows)) for _ in o["tests"]] for o in lines]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--corral", default="build/corral")
    a.add_argument("--vocab", required=True)
    a.add_argument("--sample", required=True)
    a.add_argument("--limit", type=int, default=0)
    a.add_argument("--every", type=int, default=1, help="take each N-th line of the sample")
    a.add_argument("--limit-s", type=float, default=20)
    a.add_argument("--json")
    a = a.parse_args()
    lines = [json.loads(line) for line in open(a.sample)][::a.every][:a.limit or None]
    engines, ids = {"corral": Corral(a.corral, a.vocab)}, None
    for name, make in (("llguidance", lambda: Llguidance(lines, a.corral, a.vocab)),
                       ("xgrammar", lambda: Xgrammar(a.corral, a.vocab, a.limit_s))):
        try:
            engines[name] = make()
        except ImportError:
            print(f"{name} is not installed: left out", file=sys.stderr)
    if len(engines) > 1:
        ids = tokenize(a.corral, a.vocab, lines)
    for i, o in enumerate(lines):
        for name, e in engines.items():
            if name == "corral":
                e.run(o)
            else:
                e.run(o, ids[i])
    out = {}
    for name, e in engines.items():
        out[name] = {"verdicts": vars(e.verdicts), "compile": percentiles(e.compile_ns), "mask": percentiles(e.mask_ns)}
        if hasattr(e, "n_late"):
            out[name]["late or crashed"] = e.n_late
        print(name, json.dumps(out[name], indent=1))
    if a.json:
        json.dump(out, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
