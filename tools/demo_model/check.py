"""Quick checks that need no training: the template renders what chat.py renders, held-out material stays out of
the training text, and the tokenizer gives every text back. Run by run.sh before anything else."""

import json
import os
import random
import re

import jinja2

import bpe
import chat
import corpus
import skills
import talk
import toolcalls
import words as w
from sample import plain

HERE = os.path.dirname(os.path.abspath(__file__))


def template():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    with open(os.path.join(HERE, "chat_template.jinja")) as file:
        return env.from_string(file.read().rstrip("\n"))


def check_template(rng):
    page = template()
    for i in range(2000):
        messages, tools, system = corpus.exchanges(rng)
        if system:
            messages = [{"role": "system", "content": system}] + messages
        thinking = rng.choice([None, True, False])
        given = {} if thinking is None else {"enable_thinking": thinking}
        cut = rng.choice([j for j, m in enumerate(messages) if m["role"] == "assistant"])
        assert page.render(messages=messages[:cut], tools=tools, add_generation_prompt=True, **given) == chat.prompt(messages[:cut], tools, thinking)
        assert page.render(messages=messages, tools=tools) == "".join(t for t, _ in chat.pieces(messages, tools))


def check_held_out(rng):
    """Counts whole questions, so a held-out one inside a longer question is found as well."""
    held_words = {x.lower() for x in w.HELD_NAMES + w.HELD_WORDS + [c for c in w.HELD_CITIES]}
    questions = skills.HELD_QUESTIONS | talk.HELD_QUESTIONS
    seen_questions, seen_words = set(), set()
    for _ in range(6000):
        messages, _, _ = corpus.exchanges(rng)
        for m in messages:
            if m["role"] == "user":
                seen_questions.add(plain(m["content"]))
                seen_words |= set(re.findall(r"\w+", m["content"].lower()))
    assert not seen_words & held_words, seen_words & held_words
    assert not seen_questions & questions, seen_questions & questions
    for kind in toolcalls.KINDS:
        assert not set(kind.asks) & set(kind.held)


def check_tokenizer(rng):
    texts = ["".join(t for t, _ in corpus.document(rng)) for _ in range(300)]
    tokenizer = bpe.train(texts, 600, least=5)
    for text in texts + ["Zürich 東京 🐎\n\n  two  spaces\tand a tab \r\n", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def main():
    rng = random.Random(3)
    for check in (check_template, check_held_out, check_tokenizer):
        check(rng)
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
