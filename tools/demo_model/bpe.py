"""A byte-level BPE tokenizer in the GPT-2 manner, with the "qwen2" pre-tokenizer (digits stand alone).

Training differs from the usual in one rule, made for copying: a space (or other sign) in front of a word is only
ever merged with the complete word, never with its first letters. So a name unknown to the tokenizer falls into the
same pieces after a space as after a quote, and `in Lisbon` -> `"Lisbon"` is a copy token by token.
Encoding is plain BPE, as every GGUF runtime does it.
"""

import json
from collections import Counter

import regex

PRE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
       r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
SPECIAL = CONTROL + USER_DEFINED


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, spare = {}, 256
    for byte in range(256):
        letters[byte] = chr(byte) if byte in plain else chr(spare)
        spare += byte not in plain
    return letters


LETTER = byte_letters()
BYTE = {letter: byte for byte, letter in LETTER.items()}


def letters(text):
    return "".join(LETTER[b] for b in text.encode())


def merge_all(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self, merges):
        self.merges = merges
        self.rank = {tuple(m): i for i, m in enumerate(merges)}
        self.tokens = [LETTER[b] for b in range(256)] + [a + b for a, b in merges] + SPECIAL
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.pre = regex.compile(PRE)
        self.split_special = regex.compile("(" + "|".join(map(regex.escape, SPECIAL)) + ")")
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path) as file:
            return cls([tuple(m) for m in json.load(file)])

    def save(self, path):
        with open(path, "w") as file:
            json.dump(self.merges, file)

    def _word(self, word):
        ids = self.cache.get(word)
        if ids is None:
            pieces = list(letters(word))
            while len(pieces) > 1:
                best = min(zip(pieces, pieces[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                pieces = merge_all(pieces, best)
            ids = self.cache[word] = [self.ids[p] for p in pieces]
        return ids

    def encode(self, text):
        ids = []
        for part in self.split_special.split(text):
            if part in SPECIAL:
                ids.append(self.ids[part])
            else:
                for word in self.pre.findall(part):
                    ids += self._word(word)
        return ids

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            token = self.tokens[i]
            out += token.encode() if token in SPECIAL else bytes(BYTE[c] for c in token)
        return out.decode(errors="replace")


def _allowed(left, right, word):
    """May `left` and `right`, neighbours inside the pre-token `word`, become one token?"""
    has_sign = len(word) > 1 and not word[0].isalpha() and word[-1].isalpha()
    return not (has_sign and left == letters(word[0]) and left + right != letters(word))


def train(texts, vocab_size, never=(), least=25):
    """Merges for the pre-tokens seen at least `least` times, except the words in `never` (names, cities)."""
    split, pre, counts = regex.compile("|".join(map(regex.escape, SPECIAL))), regex.compile(PRE), Counter()
    for text in texts:
        for part in split.split(text):
            counts.update(pre.findall(part))
    counts = {w: c for w, c in counts.items() if c >= least and w.strip() not in never and len(w.encode()) > 1}
    pieces = {w: list(letters(w)) for w in counts}
    merges = []
    while 256 + len(merges) + len(SPECIAL) < vocab_size:
        pairs = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                if _allowed(*pair, word):
                    pairs[pair] += counts[word]
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for word, parts in pieces.items():
            if best[0] in parts:
                pieces[word] = merge_all(parts, best)
    return Tokenizer(merges)
