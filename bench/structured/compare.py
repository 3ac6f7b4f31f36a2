#!/usr/bin/env python3
"""Token masks of Corral beside llguidance: the same schemas, instances and vocabulary, one thread each.

usage: bench/structured/compare.py --corral build/corral --vocab VOCAB.gguf --sample maskbench_sample.jsonl
       [--limit N] [--json OUT]

Needs `pip install llguidance` (and numpy); without it only Corral is measured. Verdicts are counted as in
MaskBench: a schema passes when every instance is judged as marked; Corral also checks that the text may end.
Corral's times are of its thread on the processor, llguidance's of its Python thread (time.thread_time_ns), the
binding included; the script interleaves the two schema by schema, so that a busy machine hits both alike.
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


class Llguidance:
    def __init__(self, lines, corral, vocab):
        import llguidance
        import llguidance.numpy
        self.ll, self.np = llguidance, llguidance.numpy
        dump = subprocess.run([corral, "schema", "--vocabulary", "-m", vocab], capture_output=True, text=True, check=True)
        pieces = [bytes.fromhex(x) for x in json.loads(dump.stdout)["pieces"]]
        eog = json.loads(dump.stdout)["eog"][0]

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
    a.add_argument("--json")
    a = a.parse_args()
    lines = [json.loads(line) for line in open(a.sample)][:a.limit or None]
    engines = {"corral": Corral(a.corral, a.vocab)}
    ids = None
    try:
        engines["llguidance"] = Llguidance(lines, a.corral, a.vocab)
        ids = tokenize(a.corral, a.vocab, lines)
    except ImportError:
        print("llguidance is not installed: measuring Corral alone", file=sys.stderr)
    for i, o in enumerate(lines):
        engines["corral"].run(o)
        if ids:
            engines["llguidance"].run(o, ids[i])
    out = {}
    for name, e in engines.items():
        out[name] = {"verdicts": vars(e.verdicts), "compile": percentiles(e.compile_ns), "mask": percentiles(e.mask_ns)}
        print(name, json.dumps(out[name], indent=1))
    if a.json:
        json.dump(out, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
