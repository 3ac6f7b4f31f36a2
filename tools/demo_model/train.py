"""Trains the model on the packed corpus: train.py FOLDER STEPS. Writes model.pt and loss.csv into FOLDER."""

import csv
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from corpus import ROWS, SEED
from model import Config, Model
from optimizer import Optimizer

READ_SHARE = 0.1        # of the tokens the model only reads, one in ten counts: they teach the shape of questions
MICRO = 2               # micro-batches of 4096 tokens per step


def micro_batches(data, rng):
    """An endless shuffled stream of (ids, learned or not) over all row lengths, each row seen once per round."""
    while True:
        order = []
        for length, count in ROWS.items():
            rows = rng.permutation(len(data[f"ids{length}"]))
            order += [(length, rows[i:i + count]) for i in range(0, len(rows) - count + 1, count)]
        rng.shuffle(order)
        for length, rows in order:
            ids = torch.from_numpy(data[f"ids{length}"][rows].astype(np.int64))
            yield ids, torch.from_numpy(data[f"learn{length}"][rows][:, 1:] == 1)


def schedule(step, steps):
    """Warm up, hold, then fall to zero over the last 60 %."""
    return min(1.0, (step + 1) / 40, (steps - step) / (0.6 * steps))


def main():
    folder, steps = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(SEED)
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    data = dict(np.load(f"{folder}/corpus.npz"))
    model = Model(Config())
    print(f"parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million")
    optimizer, stream = Optimizer(model), micro_batches(data, np.random.default_rng(SEED))
    log, start, smooth = [], time.time(), None
    for step in range(steps):
        learned = 0.0
        for _ in range(MICRO):
            ids, learn = next(stream)
            wanted = learn | (torch.rand(learn.shape) < READ_SHARE)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(ids[:, :-1], wanted=wanted)
            losses = F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
            (losses.mean() / MICRO).backward()
            learned += losses[learn[wanted]].mean().item() / MICRO
        optimizer.step(schedule(step, steps))
        smooth = learned if smooth is None else 0.95 * smooth + 0.05 * learned
        log.append((step, learned, smooth))
        if step % 20 == 19 or step + 1 == steps:
            took = time.time() - start
            print(f"step {step + 1}/{steps}  loss {smooth:.4f}  {(step + 1) * MICRO * 4096 / took:.0f} tokens/s  "
                  f"{took / 60:.1f} min, {took / (step + 1) * (steps - step - 1) / 60:.1f} to go", flush=True)
        if step % 200 == 199 or step + 1 == steps:
            torch.save(model.state_dict(), f"{folder}/model.pt")
    with open(f"{folder}/loss.csv", "w") as file:
        csv.writer(file).writerows([("step", "loss", "smooth"), *log])


if __name__ == "__main__":
    main()
