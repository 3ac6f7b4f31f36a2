"""Talks to a model from the shell, to try it without Corral: say.py demo.gguf "What is Corral?" """

import sys

import chat
import load
from sample import user

model, tokenizer = load.load(sys.argv[1])
for question in sys.argv[2:]:
    print(f"> {question}\n{load.generate(model, tokenizer, chat.prompt([user(question)]))}\n")
