"""Draws the loss curve: plot.py loss.csv picture.png"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

with open(sys.argv[1]) as file:
    rows = [(int(r["step"]), float(r["loss"]), float(r["smooth"])) for r in csv.DictReader(file)]
steps, loss, smooth = zip(*rows)
plt.figure(figsize=(6, 3.2), dpi=80)
plt.plot(steps, loss, color="#c8d4e3", linewidth=0.6, label="one step")
plt.plot(steps, smooth, color="#1f4e8c", linewidth=1.3, label="smoothed")
plt.yscale("log")
plt.xlabel("step (4096 tokens each)")
plt.ylabel("loss on answers")
plt.title("Training of the demo model", fontsize=10)
plt.legend(frameon=False, fontsize=8)
plt.grid(alpha=0.25, which="both")
plt.tight_layout()
plt.savefig(sys.argv[2])
