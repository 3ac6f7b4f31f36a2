#!/usr/bin/env python3
"""One model of random weights in bf16 by transformers on PyTorch, for comparison in the same run as Corral.

usage: transformers_once.py SHAPE   (tiny, 8b); prints a JSON object a line, each with one figure more than the last, or why
it cannot, and then exits with 3

Each number is the best of three after one that is not counted: matrix products of 8192 (the card's bf16 rate),
decoding with one sequence and with 64 at 1024 tokens of context, a prompt of 4096 tokens. Attention is PyTorch's own
(sdpa), the cache is the static one; "compiled" is the same decoding through torch.compile, where that works.
"""
import json
import sys
import time

SHAPES = {
    "tiny": dict(vocab_size=512, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                 intermediate_size=512),
    "8b": dict(vocab_size=128256, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=8, intermediate_size=14336),
}
DEPTH, STEPS, PROMPT = 1024, 64, 4096


def best(torch, fn, rounds=3):
    fn()
    seconds = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        fn()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def matmul_rate(torch):
    n = 8192
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    return 2 * n**3 * 10 / best(torch, lambda: [a @ b for _ in range(10)])


def decode_rate(torch, model, cache_class, batch, forward):
    """Tokens per second of all sequences, each behind DEPTH tokens."""
    cache = cache_class(config=model.config, max_batch_size=batch, max_cache_len=DEPTH + STEPS, device="cuda",
                        dtype=torch.bfloat16)
    token = torch.randint(0, model.config.vocab_size, (batch, 1), device="cuda")

    def run():
        for i in range(STEPS):
            at = torch.tensor([DEPTH + i], device="cuda")
            logits = forward(input_ids=token, past_key_values=cache, cache_position=at, position_ids=at[None],
                             use_cache=True).logits
            token.copy_(logits[:, -1:].argmax(-1))
    return batch * STEPS / best(torch, run)


def main():
    shape = SHAPES[sys.argv[1]]
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM, StaticCache, __version__
    except ImportError as e:
        print(f"not installed: {e.name}", file=sys.stderr)
        return 3
    if not torch.cuda.is_available():
        print("PyTorch sees no GPU", file=sys.stderr)
        return 3
    out = {"torch": torch.__version__, "transformers": __version__, "device": torch.cuda.get_device_name(0)}
    with torch.inference_mode():
        out["matmul_flops"] = matmul_rate(torch)
        config = LlamaConfig(**shape, max_position_embeddings=8192, attn_implementation="sdpa")
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            model = LlamaForCausalLM(config).eval()
        prompt = torch.randint(0, config.vocab_size, (1, PROMPT), device="cuda")
        for name, fn in (
                ("prefill_tok_s", lambda: PROMPT / best(torch, lambda: model(prompt, logits_to_keep=1))),
                ("decode_1_tok_s", lambda: decode_rate(torch, model, StaticCache, 1, model)),
                ("decode_64_tok_s", lambda: decode_rate(torch, model, StaticCache, 64, model)),
                ("compiled_1_tok_s", lambda: decode_rate(
                    torch, model, StaticCache, 1, torch.compile(model, mode="reduce-overhead", fullgraph=True)))):
            try:
                out[name] = fn()
            except Exception as e:  # versions differ in what they take; the other figures still count
                out[name + "_error"] = f"{type(e).__name__}: {e}"[:200]
            print(json.dumps(out), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
