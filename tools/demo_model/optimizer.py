"""Muon for the matrices inside the layers, Adam for the embedding and the norms.

Muon (K. Jordan and others, 2024) makes each update an almost orthogonal matrix, by a few Newton-Schulz steps on
the averaged gradient. It learns from about half as many tokens as Adam does, which is what counts on two CPU cores.
"""

import torch


def orthogonalize(g):
    """g: (N, rows, columns). Pushes all singular values towards one: x <- a x + b (x x') x + c (x x')^2 x."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[1] > g.shape[2]
    x = (g.transpose(1, 2) if tall else g).bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(5):
        s = x @ x.transpose(1, 2)
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:
    def __init__(self, model, lr_matrix, lr_other, momentum=0.95, decay=0.01):
        shapes = {}
        for name, p in model.named_parameters():
            if p.dim() == 2 and "embd" not in name:
                shapes.setdefault(p.shape, []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), *shape)) for shape, ps in shapes.items()]
        inside = {id(p) for ps, _ in self.groups for p in ps}
        self.adam = torch.optim.AdamW([p for p in model.parameters() if id(p) not in inside], lr=lr_other, betas=(0.9, 0.98), weight_decay=0.0)
        self.lr_matrix, self.lr_other, self.momentum, self.decay = lr_matrix, lr_other, momentum, decay

    @torch.no_grad()
    def step(self, scale):
        """One update; `scale` in 0..1 is the learning-rate schedule."""
        lr = self.lr_matrix * scale
        for params, average in self.groups:         # matrices of one shape are updated together
            grad = torch.stack([p.grad for p in params])
            average.lerp_(grad, 1 - self.momentum)
            update = orthogonalize(grad.lerp(average, self.momentum))
            size = max(1, average.shape[1] / average.shape[2]) ** 0.5
            for p, u in zip(params, update):
                p.mul_(1 - lr * self.decay).add_(u, alpha=-lr * size)
                p.grad = None
        for group in self.adam.param_groups:
            group["lr"] = self.lr_other * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
