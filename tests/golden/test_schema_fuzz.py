"""Random schemas and instances: what corral schema accepts is what Python's jsonschema calls valid."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from random_schemas import Schemas  # noqa: E402

try:
    import jsonschema
except ImportError:
    print("skipped: needs the package jsonschema (make venv)")
    sys.exit(77)

N, PER_SCHEMA = int(os.environ.get("CORRAL_FUZZ_SCHEMAS", "400")), 12
SEED = int(os.environ.get("CORRAL_FUZZ_SEED", "1"))


def main():
    lines = []
    for i in range(N):
        make = Schemas(SEED * 1000003 + i)
        schema = make.schema()
        lines.append({"id": i, "schema": schema, "instances": [make.value(schema) for _ in range(PER_SCHEMA)]})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    p = subprocess.run([os.environ["CORRAL"], "schema"], input=text, capture_output=True, text=True, timeout=250)
    assert p.returncode == 0, p.stderr
    compiled = judged = valid = wrong = 0
    for line, answer in zip(lines, map(json.loads, p.stdout.splitlines()), strict=True):
        check = jsonschema.Draft202012Validator(line["schema"])
        if answer["compile"] != "ok":
            if answer["compile"] == "invalid":  # nothing is valid under it: so nothing may be
                assert "no value" in answer["reason"], (line["schema"], answer)
                assert not any(check.is_valid(x) for x in line["instances"]), line
            continue
        compiled += 1
        for x, accepted in zip(line["instances"], answer["accept"], strict=True):
            want = check.is_valid(x)
            judged += 1
            valid += want
            if accepted != want:
                wrong += 1
                print(f"seed {SEED}, schema {line['id']}: {'accepts' if accepted else 'refuses'} {json.dumps(x)}\n"
                      f"  under {json.dumps(line['schema'])}")
    print(f"{compiled} of {N} schemas compile; {judged} instances, {valid} of them valid; {wrong} judged otherwise")
    assert compiled > N * .8 and judged / 10 < valid < judged * .95, "the generator says too little"
    sys.exit(wrong > 0)


main()
