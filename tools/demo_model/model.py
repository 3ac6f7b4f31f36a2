"""The demo model: a small Llama. B = batch, T = time, D = width, H = heads, K = key/value heads, E = head size.

Rotary embeddings turn neighbouring pairs (2i, 2i+1), which is what the llama architecture of GGUF expects, so the
query and key rows are exported as they are. All row lengths are multiples of 32, the block of Q8_0 and Q5_0.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from attention import CausalAttention


@dataclass
class Config:
    vocab: int = 1280
    width: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    hidden: int = 352
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-5


def rope_table(config, length):
    freq = config.rope_base ** (-torch.arange(0, config.head_size, 2).float() / config.head_size)
    angle = torch.outer(torch.arange(length).float(), freq)         # T, E/2
    return torch.cos(angle), torch.sin(angle)


def rotate(x, cos, sin):
    """x: (B, heads, T, E)"""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attn_norm, self.ffn_norm = Norm(c.width, c.eps), Norm(c.width, c.eps)
        self.attn_q = nn.Linear(c.width, c.heads * c.head_size, bias=False)
        self.attn_k = nn.Linear(c.width, c.kv_heads * c.head_size, bias=False)
        self.attn_v = nn.Linear(c.width, c.kv_heads * c.head_size, bias=False)
        self.attn_output = nn.Linear(c.heads * c.head_size, c.width, bias=False)
        self.ffn_gate = nn.Linear(c.width, c.hidden, bias=False)
        self.ffn_up = nn.Linear(c.width, c.hidden, bias=False)
        self.ffn_down = nn.Linear(c.hidden, c.width, bias=False)

    def attention(self, x, rope, mask, cache):
        c, (B, T, _) = self.c, x.shape
        q = rotate(self.attn_q(x).view(B, T, c.heads, c.head_size).transpose(1, 2), *rope)
        k = rotate(self.attn_k(x).view(B, T, c.kv_heads, c.head_size).transpose(1, 2), *rope)
        v = self.attn_v(x).view(B, T, c.kv_heads, c.head_size).transpose(1, 2)
        if self.training:
            out = CausalAttention.apply(q.unflatten(1, (c.kv_heads, -1)), k, v).flatten(1, 2)
            return self.attn_output(out.transpose(1, 2).reshape(B, T, -1))
        if cache is not None:
            k, v = cache.extend(self, k, v)
        group = c.heads // c.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = q @ (k.transpose(-1, -2) * c.head_size ** -0.5)
        weights = F.softmax(scores + mask, -1) if mask is not None else F.softmax(scores, -1)
        return self.attn_output((weights.to(v.dtype) @ v).transpose(1, 2).reshape(B, T, -1))

    def forward(self, x, rope, mask, cache=None):
        x = x + self.attention(self.attn_norm(x), rope, mask, cache)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.vocab, config.width)
        self.blk = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.output_norm = Norm(config.width, config.eps)
        self.rope = rope_table(config, config.context)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if "embd" in name else p.shape[1] ** -0.5)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(p)

    @classmethod
    def of(cls, state, config=Config()):
        """The model with the weights of `state`, and as many layers as they are for."""
        model = cls(replace(config, layers=len({name.split(".")[1] for name in state if name.startswith("blk.")})))
        model.load_state_dict(state)
        return model

    def forward(self, ids, cache=None, wanted=None):
        """ids: (B, T) -> logits (B, T, vocab), or (N, vocab) for the N places marked in `wanted` (B, T).
        The output matrix is the embedding."""
        past, T = (cache.length if cache is not None else 0), ids.shape[1]
        rope = [t[past:past + T] for t in self.rope]
        mask = torch.full((T, past + T), -1e4).triu(past + 1) if T > 1 and not self.training else None
        x = self.token_embd(ids)
        for layer in self.blk:
            x = layer(x, rope, mask, cache)
        if cache is not None:
            cache.length += T
        return F.linear(self.output_norm(x if wanted is None else x[wanted]), self.token_embd.weight)


def grow(model, layers):
    """The same function with more layers: between the old ones stand copies of the layer before, which add nothing yet.

    Growing a trained network by layers that begin as nothing follows "Net2Net" (T. Chen and others, 2016), copies of
    trained layers "Efficient training of BERT by progressively stacking" (L. Gong and others, 2019).
    """
    old = len(model.blk)
    places = [i * (layers - 1) // (old - 1) for i in range(old)]
    grown = Model(replace(model.config, layers=layers))
    for name in ("token_embd", "output_norm"):
        getattr(grown, name).load_state_dict(getattr(model, name).state_dict())
    for i, layer in enumerate(grown.blk):
        layer.load_state_dict(model.blk[sum(place <= i for place in places) - 1].state_dict())
        if i not in places:
            nn.init.zeros_(layer.attn_output.weight)
            nn.init.zeros_(layer.ffn_down.weight)
    return grown


class Cache:
    """Keys and values of earlier tokens, for generation."""

    def __init__(self):
        self.length, self.kv = 0, {}

    def extend(self, layer, k, v):
        if layer in self.kv:
            k, v = (torch.cat((old, new), 2) for old, new in zip(self.kv[layer], (k, v)))
        self.kv[layer] = (k, v)
        return k, v
