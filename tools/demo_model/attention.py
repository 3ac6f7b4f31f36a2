"""Causal attention for training on a CPU: blocks of queries see only the keys before them, in bfloat16.

The plain formula spends most of a step moving T x T matrices through memory; a block stays in the cache, and the
upper triangle is never computed. Shapes: q (B, K, G, T, E) with G query heads per key head, k and v (B, K, T, E).
"""

import torch

BLOCK = 128


class CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        B, K, G, T, E = q.shape
        out, weights = torch.empty_like(q), []
        future = torch.full((BLOCK, BLOCK), -1e4, dtype=q.dtype).triu(1)
        q = q * E ** -0.5
        for s in range(0, T, BLOCK):
            e = min(s + BLOCK, T)
            scores = q[:, :, :, s:e].reshape(B, K, -1, E) @ k[:, :, :e].transpose(-1, -2)
            scores.view(B, K, G, e - s, e)[..., s:] += future[:e - s, :e - s]
            w = torch.softmax(scores, -1)
            out[:, :, :, s:e] = (w @ v[:, :, :e]).view(B, K, G, e - s, E)
            weights.append(w)
        ctx.save_for_backward(q, k, v, out, *weights)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, *weights = ctx.saved_tensors
        B, K, G, T, E = q.shape
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        inner = (grad.float() * out.float()).sum(-1, keepdim=True).to(grad.dtype)
        for s, w in zip(range(0, T, BLOCK), weights):
            e = min(s + BLOCK, T)
            g = grad[:, :, :, s:e].reshape(B, K, -1, E)
            dv[:, :, :e] += w.transpose(-1, -2) @ g
            ds = g @ v[:, :, :e].transpose(-1, -2)
            ds.sub_(inner[:, :, :, s:e].reshape(B, K, -1, 1)).mul_(w)
            dk[:, :, :e] += ds.transpose(-1, -2) @ q[:, :, :, s:e].reshape(B, K, -1, E)
            dq[:, :, :, s:e] = (ds @ k[:, :, :e]).view(B, K, G, e - s, E)
        return dq * E ** -0.5, dk.to(k.dtype), dv.to(v.dtype)
