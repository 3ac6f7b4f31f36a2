"""Builds the tokenizer and the training set: corpus.py FOLDER MILLIONS [SEED].

Conversations are mixed from all skills and packed into rows of tokens. A tokenizer that is there already is kept, to
go on with a model trained before.
"""

import os
import random
import sys
import time

import numpy as np

import bpe
import chat
import facts
import forced
import skills
import talk
import toolcalls
import words as w
from sample import user

SEED = 20240611
VOCAB = 1280
ROWS = {256: 16, 512: 8, 1024: 4}       # row length -> rows per micro-batch: always 4096 tokens

SYSTEM = ["You are a helpful assistant.", "You are Corral's demo model.", "Answer briefly.", "Be helpful and honest.", "You are a helpful AI assistant.", "You answer questions about Corral.",
          "You are an assistant with tools.", "Help the user.", "Be kind and brief."]
MIX = [(skills.corral_fact, 44), (talk.small_talk, 16), (talk.unknown, 6), (talk.story, 2), (skills.add, 12), (skills.count, 5), (skills.repeat, 12),
       (skills.reverse, 5), (skills.json_object, 16), (skills.json_list, 3), (skills.json_any, 2)]
THINK = ["think first: {}", "think first. {}", "{} think first", "think before you answer: {}", "think step by step: {}", "{} think step by step.", "think about it: {}"]


def one(rng, tools=()):
    """One exchange without tools. Where tools are on offer, no question that a tool could answer is refused."""
    mix = [(make, weight) for make, weight in MIX if not (tools and make is talk.unknown)]
    return rng.choices([m for m, _ in mix], [weight for _, weight in mix])[0](rng)


def exchanges(rng):
    """Messages of one conversation, its tools, its system prompt."""
    roll = rng.random()
    if roll < 0.55:
        tools = toolcalls.offer_in_training(rng)
        samples = []
        for _ in range(rng.choice([1, 2, 3, 4, 5, 6])):
            samples.append(toolcalls.use(rng, tools) if rng.random() < 0.85 else one(rng, tools))
        if rng.random() < 0.08:
            samples = [toolcalls.two_cities_case(rng, held=False)]
            tools = None
        messages = [m for s in samples if not s.system for m in s.messages]
        schemas = [t.schema for t in tools] if tools else samples[0].tools
        if messages:
            return messages, schemas, rng.choice(SYSTEM) if rng.random() < 0.25 else ""
    if roll < 0.62:
        return skills.memory(rng, between=[s for s in (one(rng) for _ in range(rng.choice([0, 0, 1, 2, 4]))) if not s.system]).messages, [], rng.choice(SYSTEM) if rng.random() < 0.2 else ""
    if roll < 0.79:
        return [m for _ in range(rng.choice([1, 2, 4, 6])) for m in skills.corral_fact(rng).messages], [], rng.choice(SYSTEM) if rng.random() < 0.25 else ""
    samples = [one(rng) for _ in range(rng.choice([1, 1, 2, 3, 4]))]
    if samples[0].system:
        return samples[0].messages, [], samples[0].system
    return [m for s in samples if not s.system for m in s.messages], [], rng.choice(SYSTEM) if rng.random() < 0.25 else ""


def document(rng):
    """One document as (text, learn) pieces; learn is False, True, or forced.GIVEN for what is never learned."""
    if rng.random() < 0.02:
        if rng.random() < 0.5:
            return [(talk.story(rng).messages[-1]["content"] + "<|im_end|>", True)]
        told = [f[0] for f in facts.FACTS if f[0].startswith(("Corral", "`corral"))]
        return [(" ".join(rng.sample(told, rng.randint(2, 4))) + "<|im_end|>", True)]
    messages, tools, system = exchanges(rng)
    if rng.random() < 0.12:
        return forced.document(rng, messages, tools, system)
    thinkers = [i for i, m in enumerate(messages) if m.get("reasoning_content")]
    think = bool(thinkers) and rng.random() < 0.14
    asked = rng.random() < 0.6
    if think:
        last = rng.choice(thinkers)
        messages = messages[:last + 1]
        if asked:
            text = rng.choice(THINK).format(messages[-2]["content"])
            messages[-2] = user(text[0].upper() + text[1:] if rng.random() < 0.7 else text)
    if system:
        messages = [{"role": "system", "content": system}] + messages
    out = chat.pieces(messages, tools, think)
    text, _ = out[-2]
    if think and not asked:                 # the template has opened the thoughts already
        out[-2:-1] = [("<think>\n", False), (text[len("<think>\n"):], True)]
    elif not think and rng.random() < 0.05:  # ... or has closed them empty
        out[-2:-1] = [("<think>\n\n</think>\n\n", False), (text, True)]
    return out


def rows(rng, tokenizer, total):
    """Packs documents into rows of each length until `total` tokens are there."""
    open_row = {n: ([], []) for n in ROWS}
    done = {n: [] for n in ROWS}
    lengths, made = sorted(ROWS), 0
    end = tokenizer.ids["<|endoftext|>"]
    start = report = time.time()
    while made < total:
        ids, learn = [], []                     # a document ends with <|endoftext|>, which is only read
        for text, learned in document(rng):
            piece = tokenizer.encode(text)
            ids += piece
            learn += [int(learned)] * len(piece)
        ids.append(end)
        learn.append(0)
        fits = [n for n in lengths if len(ids) <= n]
        if not fits:
            continue
        size = fits[0] if rng.random() < 0.93 else fits[-1]
        row_ids, row_learn = open_row[size]
        if len(row_ids) + len(ids) > size + 1:
            pad = size + 1 - len(row_ids)
            done[size].append((np.array(row_ids + [end] * pad, np.uint16), np.array(row_learn + [0] * pad, np.uint8)))
            made += size
            row_ids, row_learn = open_row[size] = ([], [])
        row_ids += ids
        row_learn += learn
        if time.time() - report > 10:
            report = time.time()
            print(f"corpus: {made / 1e6:.1f} of {total / 1e6:.1f} million tokens, {report - start:.0f} s", flush=True)
    return {n: tuple(map(np.stack, zip(*done[n]))) for n in ROWS if done[n]}


def main():
    folder, total = sys.argv[1], int(float(sys.argv[2]) * 1e6)
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else SEED)
    never = {part for name in w.CITIES + w.NAMES for part in name.split()}
    texts = ["".join(t for t, _ in document(rng)) for _ in range(12000)]
    if os.path.exists(f"{folder}/tokenizer.json"):
        tokenizer = bpe.Tokenizer.load(f"{folder}/tokenizer.json")
    else:
        tokenizer = bpe.train(texts, VOCAB, never)
        tokenizer.save(f"{folder}/tokenizer.json")
    size = sum(len(tokenizer.encode(t)) for t in texts[:500])
    print(f"tokenizer: {len(tokenizer.tokens)} tokens, {sum(len(t.encode()) for t in texts[:500]) / size:.2f} bytes per token")
    packed = rows(rng, tokenizer, total)
    for length, (ids, learn) in packed.items():
        print(f"rows of {length}: {len(ids)}, learned tokens {(learn == 1).mean():.0%}")
    np.savez(f"{folder}/corpus.npz", **{f"ids{n}": p[0] for n, p in packed.items()}, **{f"learn{n}": p[1] for n, p in packed.items()})


if __name__ == "__main__":
    main()
