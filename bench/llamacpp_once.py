"""One measurement of llama.cpp, through llama-cpp-python's low-level interface, as JSON on standard output.

usage: llamacpp_once.py MODEL PROMPT GEN BATCH DEPTH THREADS
Prefills PROMPT tokens behind DEPTH, then decodes GEN steps of BATCH sequences that share them; a short warm-up first.
"""
import json
import random
import sys
import time

import llama_cpp as L

path = sys.argv[1]
prompt, gen, batch, depth, threads = map(int, sys.argv[2:])
L.llama_backend_init()
model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
params = L.llama_context_default_params()
params.n_ctx = depth + prompt + (gen + 2) * batch + 64
params.n_batch = params.n_ubatch = 512
params.n_seq_max = max(batch, 1)
params.kv_unified = True
params.n_threads = params.n_threads_batch = threads
context = L.llama_init_from_model(model, params)
n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
rng = random.Random(1)
work = L.llama_batch_init(512, 0, max(batch, 1))


def compute(rows):
    """rows: (position, sequences, wants logits) of random tokens, computed in steps of 512."""
    for at in range(0, len(rows), 512):
        part = rows[at:at + 512]
        work.n_tokens = len(part)
        for i, (position, sequences, logits) in enumerate(part):
            work.token[i], work.pos[i] = rng.randrange(300, n_vocab - 1), position
            work.n_seq_id[i] = len(sequences)
            for j, s in enumerate(sequences):
                work.seq_id[i][j] = s
            work.logits[i] = logits
        if L.llama_decode(context, work) != 0:
            sys.exit("llama_decode failed")
    L.llama_synchronize(context)


def run():
    every = list(range(batch))
    memory = L.llama_get_memory(context)
    L.llama_memory_clear(memory, True)
    if depth:
        compute([(i, every, False) for i in range(depth)])
    start = time.perf_counter()
    compute([(depth + i, every, i == prompt - 1) for i in range(prompt)])
    middle = time.perf_counter()
    for i in range(gen):
        compute([(depth + prompt + i, [s], True) for s in every])
    return prompt / max(middle - start, 1e-9), gen * batch / max(time.perf_counter() - middle, 1e-9)


if not depth:
    compute([(i, [0], False) for i in range(64)])
prefill, decode = run()
print(json.dumps({"prefill": prefill if prompt else None, "decode": decode if gen else None}))
