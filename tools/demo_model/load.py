"""Reads a GGUF file back into the PyTorch model, with exactly the weights that quantization left."""

import gguf
import torch

import bpe
from model import Cache, Config, Model


def load(path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.get_field(key).contents()
    tokenizer = bpe.Tokenizer([tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")])
    assert tokenizer.tokens == field("tokenizer.ggml.tokens")
    config = Config(vocab=field("llama.vocab_size"), width=field("llama.embedding_length"), hidden=field("llama.feed_forward_length"),
                    heads=field("llama.attention.head_count"), kv_heads=field("llama.attention.head_count_kv"),
                    head_size=field("llama.attention.key_length"), context=field("llama.context_length"),
                    rope_base=field("llama.rope.freq_base"), eps=field("llama.attention.layer_norm_rms_epsilon"))
    weights = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    return Model.of(weights, config).eval(), tokenizer


@torch.no_grad()
def generate(model, tokenizer, text, limit=160):
    """The most likely continuation, up to <|im_end|>."""
    cache, ids, stop = Cache(), tokenizer.encode(text), {tokenizer.ids["<|im_end|>"], tokenizer.ids["<|endoftext|>"]}
    out, step = [], torch.tensor([ids])
    while len(out) < limit and cache.length + step.shape[1] <= model.config.context:
        token = int(model(step, cache)[0, -1].argmax())
        if token in stop:
            return tokenizer.decode(out)
        out.append(token)
        step = torch.tensor([[token]])
    return tokenizer.decode(out)
