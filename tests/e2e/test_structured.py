"""Answers under random schemas at a high temperature are valid, and the same with guesses ahead and without; tool calls
that must be made are made, well formed."""
import concurrent.futures
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "wire"), os.path.join(HERE, "..", "support")]
from random_schemas import Schemas  # noqa: E402
from server import Server  # noqa: E402

try:
    import jsonschema
except ImportError:
    print("skipped: needs the package jsonschema (make venv)")
    sys.exit(77)

N = int(os.environ.get("CORRAL_REQUESTS", "24"))
SEED = int(os.environ.get("CORRAL_FUZZ_SEED", "1"))


def ask(server, i, schema):
    """(text, finish reason) or None: this schema is refused."""
    code, _, answer = server.post("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Write JSON."}], "temperature": 1.5, "seed": i, "max_tokens": 700,
        "enable_thinking": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}},
        timeout=250)
    if code == 400 and "no value is valid" in json.dumps(answer):
        return None
    assert code == 200, (answer, schema)
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"], answer["usage"]["completion_tokens"]


def ask_all(schemas, *options):
    with Server(*options) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        answers = list(pool.map(lambda x: ask(server, *x), enumerate(schemas)))
        return answers, time.monotonic() - start


TOOLS = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name, parameters in (
    ("get_weather", {"type": "object", "properties": {"city": {"type": "string", "maxLength": 10}, "unit": {"enum": ["c", "f"]}},
                     "required": ["city", "unit"], "additionalProperties": False}),
    ("stop", {"type": "object", "properties": {}, "additionalProperties": False}))]


def call_tools():
    named = {"type": "function", "function": {"name": "get_weather"}}
    n = 0
    with Server() as server:
        for i in range(max(8, N // 3)):
            code, _, answer = server.post("/v1/chat/completions", {
                "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "temperature": 1.5, "seed": i,
                "max_tokens": 400, "enable_thinking": False, "tools": TOOLS,
                "tool_choice": named if i % 2 else "required", "parallel_tool_calls": i % 3 == 0})
            assert code == 200, answer
            choice = answer["choices"][0]
            if choice["finish_reason"] == "length" and i % 3 == 0:
                continue  # calls without end are allowed
            assert choice["finish_reason"] == "tool_calls", choice
            for call in choice["message"]["tool_calls"]:
                f, n = call["function"], n + 1
                assert not i % 2 or f["name"] == "get_weather", f
                schema = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}[f["name"]]
                jsonschema.Draft202012Validator(schema).validate(json.loads(f["arguments"]))
    print(f"{n} calls, all well formed")


def main():
    call_tools()
    schemas = [Schemas(SEED * 7919 + i, small=True).schema() for i in range(N)]
    with_guesses, s1 = ask_all(schemas)
    without, s2 = ask_all(schemas, "--draft-max", "0")
    n_valid = n_refused = 0
    for i, (schema, one, two) in enumerate(zip(schemas, with_guesses, without, strict=True)):
        assert one == two, f"{i}: {one} with guesses, {two} without, under {json.dumps(schema)}"
        if one is None:
            n_refused += 1
            continue
        text, why, _ = one
        assert why == "stop", (i, one, schema)
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))
        n_valid += 1
    n = sum(a[2] for a in without if a)
    print(f"{n_valid} valid, {n_refused} schemas without values; {n} tokens, {s1:.1f} s with guesses, {s2:.1f} s without")
    assert n_valid > N * .8


main()
