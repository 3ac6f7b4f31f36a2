"""Answers under random schemas at a high temperature are valid, and the same with guesses ahead and without."""
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


def main():
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
