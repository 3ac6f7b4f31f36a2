#!/usr/bin/env python3
"""Distributions of what clients waited, as an SVG picture: one panel each for the first token and for the gaps between
tokens, one line for each server.

usage: plot.py OUT.svg NAME=FILE.json ...        the files are those of load.py --json
"""
import json
import math
import sys

COLORS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b7791f"]
W, H, LEFT, TOP = 360, 220, 50, 30


def panel(out, x0, title, series):
    values = [v for _, vs in series for v in vs if v > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    px = lambda v: x0 + (math.log10(max(v, 10.0 ** low)) - low) / (high - low) * W
    out.append(f'<text x="{x0}" y="{TOP - 10}" font-weight="bold">{title}</text>')
    out.append(f'<rect x="{x0}" y="{TOP}" width="{W}" height="{H}" fill="none" stroke="#888"/>')
    for e in range(low, high + 1):
        x = px(10.0 ** e)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + H}" stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{TOP + H + 16}" text-anchor="middle">{10.0 ** e:g} s</text>')
    for share in (0.5, 0.9, 0.99):
        y = TOP + H * (1 - share)
        out.append(f'<line x1="{x0}" x2="{x0 + W}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>'
                   f'<text x="{x0 - 4}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for i, (name, vs) in enumerate(series):
        vs = sorted(vs)
        step = max(1, len(vs) // 400)
        points = " ".join(f"{px(v):.1f},{TOP + H * (1 - (k + 1) / len(vs)):.1f}"
                          for k, v in enumerate(vs) if k % step == 0 or k == len(vs) - 1)
        color = COLORS[i % len(COLORS)]
        out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/>'
                   f'<text x="{x0 + W - 6}" y="{TOP + H - 10 - 15 * i}" text-anchor="end" fill="{color}">{name}</text>')


def main(path, *named):
    runs = [(n.split("=", 1)[0], json.load(open(n.split("=", 1)[1]))["requests"]) for n in named]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (W + LEFT) + 40}" height="{TOP + H + 30}" '
           'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>']
    panel(out, LEFT, "time to first token, share of requests", [(n, [r["ttft"] for r in rs if r["ttft"]]) for n, rs in runs])
    panel(out, 2 * LEFT + W + 20, "between tokens, share of gaps", [(n, [g for r in rs for g in r["gaps"]]) for n, rs in runs])
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) < 3 or any("=" not in a for a in sys.argv[2:]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
