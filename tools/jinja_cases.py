#!/usr/bin/env python3
"""What Python's Jinja2 makes of the templates in tests/golden/jinja/cases.json, written back into that file.

usage: tools/jinja_cases.py [--check] [TEMPLATE...]

Needs jinja2 3.1 (pip). Each TEMPLATE is added as a case first; --check changes nothing and exits with 1 when the file
is not what this script would write. The environment is that of Hugging Face's transformers: the immutable sandbox,
trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes, raise_exception, strftime_now (at a fixed time)
and {% generation %}.
"""
import copy
import datetime
import json
import pathlib
import sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/jinja/cases.json"
NOW = datetime.datetime(2026, 11, 21, 1, 2, 3)


class Generation(Extension):
    """{% generation %} marks what the model wrote; when rendering, its body is printed."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(env, template, context):
    try:
        return {"t": template, "text": env.from_string(template).render(**copy.deepcopy(context))}
    except Exception as e:  # whatever a template can raise
        return {"t": template, "error": f"{type(e).__name__}: {e}"[:100]}


def main(argv):
    check = "--check" in argv
    data = json.loads(FILE.read_text())
    env = environment()
    templates = dict.fromkeys([c["t"] for c in data["cases"]] + [a for a in argv if a != "--check"])
    cases = [render(env, t, data["context"]) for t in templates]
    rows = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    text = '{"context": ' + json.dumps(data["context"], ensure_ascii=False) + ',\n"cases": [\n' + rows + "\n]}\n"
    if check:
        return int(text != FILE.read_text())
    FILE.write_text(text)
    print(f"{len(cases)} cases, {sum('error' in c for c in cases)} of them errors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
