"""The weighted mean of trained weights: mean.py OUT.pt WEIGHT FILE [WEIGHT FILE ...]; a FILE is a model.pt or a GGUF file.

Weights of one training that has gone on lie so near each other that their mean is a model as well, often a better one
("Model soups", M. Wortsman and others, 2022). Those of fewer layers grow first, which changes nothing they say.
"""

import sys

import torch

import load
from model import Model, grow


def read(path, layers):
    model = load.load(path)[0] if path.endswith(".gguf") else Model.of(torch.load(path))
    return (model if model.config.layers == layers else grow(model, layers)).state_dict()


def main():
    out, shares, paths = sys.argv[1], [float(a) for a in sys.argv[2::2]], sys.argv[3::2]
    assert abs(sum(shares) - 1) < 1e-6, "the weights must add up to one"
    layers = Model.of(torch.load(paths[-1])).config.layers
    states = [read(path, layers) for path in paths]
    torch.save({name: sum(share * state[name].float() for share, state in zip(shares, states)) for name in states[0]}, out)


if __name__ == "__main__":
    main()
