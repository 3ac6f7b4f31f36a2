#!/usr/bin/env python3
"""Holds README.md and docs/ to the tree: the links, files, commands, options and make's targets that they name exist.

usage: tools/check_docs.py     exit status 1: something is named that is not there
"""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = "bench|cmake|docs|src|tests|tools"
NOT_OURS = {"some-name", "ppl-stride"}  # an example's, llama.cpp's


def read(*patterns):
    return "\n".join(open(f, encoding="utf-8").read() for p in patterns for f in glob.glob(f"{ROOT}/{p}"))


COMMANDS = set(re.findall(r"&cmd_(\w+)", read("src/cli/commands.c")))
OPTIONS = {"help"} | set(re.findall(r'"([a-z][a-z0-9-]*)"', read("src/cli/*.[ch]"))) | NOT_OURS
TARGETS = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))


def file_exists(path):
    """Capitals and * stand for anything: src/model/arch_NAME.c"""
    return bool(glob.glob(f"{ROOT}/" + re.sub(r"[A-Z][A-Z_]+", "*", path.rstrip("/."))))


def shell_lines(text):
    """What a reader may type: code spans, and lines of blocks that begin with a program."""
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from re.findall(r"^ *(?:\$ )?((?:build/)?corral .*|make .*)$", text, re.M)


def faults(page, text):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in link and not os.path.exists(os.path.join(os.path.dirname(page), link)):
            yield f"the link {link}"
    for path in re.findall(rf"(?<![\w./~-])(?:{FOLDERS})/[\w*./-]*[\w*/]", text):
        if not file_exists(path):
            yield f"the file {path}"
    for line in shell_lines(text):
        line = line.split("#")[0].removeprefix("build/")
        word = re.match(r"corral ([a-z]+)(?= |$)|make ([a-z-]+)(?= |$)", line)
        if word and not (word[1] in COMMANDS or word[2] in TARGETS):
            yield f"the command `{word[0]}`"
        for option in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", line) if line.startswith(("corral", "--")) else ():
            if option.removeprefix("no-") not in OPTIONS:
                yield f"the option --{option}"


bad = 0
for page in [f"{ROOT}/README.md", *sorted(glob.glob(f"{ROOT}/docs/*.md"))]:
    with open(page, encoding="utf-8") as f:
        for fault in dict.fromkeys(faults(page, f.read())):
            print(f"{os.path.relpath(page, ROOT)} names {fault}, which does not exist")
            bad += 1
if bad:
    sys.exit(1)
print("docs: what they name exists")
