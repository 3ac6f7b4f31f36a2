"""Trains the model on the packed corpus: train.py FOLDER STEPS MINUTES [START]. Writes model.pt and loss.csv into FOLDER.

Training ends after STEPS steps; where the machine is too slow or too busy for that, it ends after MINUTES, and the
learning rate falls so much the faster. From nothing, the first part of the way is made with fewer layers, which are
read faster; then the model grows (model.grow). START is an earlier model.pt or GGUF file to go on with, made with the
same tokenizer; it grows at once where it has fewer layers. In the environment, THREADS is the number of threads, two if
not given (one is faster where others compute too), and RATE a factor for the learning rates, one if not given.
"""

import csv
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import load
from corpus import ROWS, SEED
from model import Config, Model, grow
from optimizer import Optimizer

FIRST_LAYERS, GROW_AT = 5, 0.4      # from nothing: so many layers until so much of the way is done
READ_SHARE = 0.04       # of the tokens the model only reads, one in 25 counts: they teach the shape of questions


def batches(data, rng):
    """An endless shuffled stream of (ids, learn) over all row lengths, each row seen once per round."""
    while True:
        order = []
        for length, count in ROWS.items():
            rows = rng.permutation(len(data[f"ids{length}"]))
            order += [(length, rows[i:i + count]) for i in range(0, len(rows) - count + 1, count)]
        rng.shuffle(order)
        for length, rows in order:
            ids = torch.from_numpy(data[f"ids{length}"][rows].astype(np.int64))
            yield ids, torch.from_numpy(data[f"learn{length}"][rows][:, 1:])


def schedule(step, progress, going_on):
    """The learning rate: warm up, hold, then fall to zero over the last 60 % of the way; a trained model needs no holding.
    `step` counts from the start or from the growth: the optimizer of new layers begins anew."""
    return min((step + 1) / 20, 1 - progress) if going_on else min(1.0, (step + 1) / 60, (1 - progress) / 0.6)


def first_model(path):
    """The model to begin with, and the number of layers it ends with."""
    if not path:
        return Model(Config(layers=FIRST_LAYERS)), Config.layers
    model = load.load(path)[0].train() if path.endswith(".gguf") else Model.of(torch.load(path))
    return model, max(Config.layers, model.config.layers)


def save(folder, model, log):
    torch.save(model.state_dict(), f"{folder}/model.pt")
    with open(f"{folder}/loss.csv", "w") as file:
        csv.writer(file).writerows([("step", "loss", "smooth"), *log])


def main():
    folder, steps, minutes = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    torch.manual_seed(SEED)
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    data = dict(np.load(f"{folder}/corpus.npz"))
    going_on = len(sys.argv) > 4
    model, layers = first_model(sys.argv[4] if going_on else "")
    rate = float(os.environ.get("RATE", "1"))
    new_optimizer = lambda: Optimizer(model, 0.006 * rate, 0.002 * rate)
    optimizer, stream = new_optimizer(), batches(data, np.random.default_rng(SEED))
    log, start, smooth, step, progress, begun = [], time.time(), None, 0, 0.0, 0
    while progress < 1:
        if model.config.layers < layers and (going_on or progress >= GROW_AT):
            model, begun = grow(model, layers), step
            optimizer = new_optimizer()
        if step == begun:
            print(f"{model.config.layers} layers, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters", flush=True)
        ids, kind = next(stream)
        learn = kind == 1
        wanted = learn | (kind == 0) & (torch.rand(learn.shape) < READ_SHARE)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1], wanted=wanted)
        losses = F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
        losses.mean().backward()
        optimizer.step(schedule(step - begun, progress, going_on))
        loss = losses[learn[wanted]].mean().item()
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        log.append((step, loss, smooth))
        step, took = step + 1, time.time() - start
        progress = max(step / steps, took / 60 / minutes)
        if step % 50 == 0 or progress >= 1:
            print(f"step {step}/{steps}  loss {smooth:.4f}  {step * 4096 / took:.0f} tokens/s  "
                  f"{took / 60:.1f} min, {took / 60 * (1 / progress - 1):.1f} to go", flush=True)
        if step % 200 == 0 or progress >= 1:
            save(folder, model, log)


if __name__ == "__main__":
    main()
