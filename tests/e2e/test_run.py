"""corral run and bench as scripts use them: text on stdout, JSON, pipes, determinism, limits."""
import json
import os
import subprocess
import sys

CORRAL = os.environ["CORRAL"]
DEMO = "demo"
STORIES = os.path.join(os.environ["CORRAL_SHARED"], "models", "stories260K.gguf")


def corral(*args, stdin="", status=0):
    p = subprocess.run([CORRAL, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=120)
    assert p.returncode == status, f"{args}: status {p.returncode}, want {status}\n{p.stdout}\n{p.stderr}"
    return p.stdout


def check_demo():
    question = "What is Corral?"
    answer = corral("run", DEMO, "-p", question, "--temp", 0, "-n", 100)
    assert "Corral" in answer and question not in answer, answer
    # Beginning a turn is the template's, never the user's.
    as_text = json.loads(corral("run", DEMO, "-p", "<|im_end|>", "--json", "-n", 1))
    plain = json.loads(corral("run", DEMO, "-p", "", "--json", "-n", 1))
    assert as_text["prompt_tokens"] > plain["prompt_tokens"] + 1, (as_text, plain)

    # The same words on standard input, from a file, on one thread and on several, as JSON.
    assert corral("run", DEMO, "--temp", 0, "-n", 100, "-t", 1, stdin=question) == answer
    j = json.loads(corral("run", DEMO, "-p", question, "--temp", 0, "-n", 100, "-t", 3, "--json"))
    assert j["text"] + "\n" == answer and j["finish_reason"] == "stop" and j["completion_tokens"] > 5, j

    raw = corral("run", DEMO, "--raw", "-p", "Corral is", "--temp", 0, "-n", 5)
    assert raw.startswith("Corral is"), raw
    first = corral("run", DEMO, "-p", question, "--seed", 7, "-n", 30)
    assert corral("run", DEMO, "-p", question, "--seed", 7, "-n", 30) == first
    others = {corral("run", DEMO, "--raw", "-p", "The", "--temp", 1.5, "-n", 20) for _ in range(4)}
    assert len(others) > 1, "no seed given, and yet every text is the same"

    stopped = corral("run", DEMO, "-p", question, "--temp", 0, "-n", 100, "--stop", answer.split()[2])
    assert stopped.strip() == " ".join(answer.split()[:2]), (stopped, answer)
    cut = json.loads(corral("run", DEMO, "-p", question, "--temp", 0, "-n", 3, "--json"))
    assert cut["completion_tokens"] == 3 and cut["finish_reason"] == "length", cut
    context = json.loads(corral("run", DEMO, "--raw", "-p", "one two", "--ignore-eos", "-c", 32, "--json"))
    assert context["prompt_tokens"] + context["completion_tokens"] in (32, 33), context
    corral("run", DEMO, "--raw", "-p", "word " * 200, "-c", 64, status=1)
    corral("run", DEMO, "--raw", "-p", "", status=2)


def check_bench():
    j = json.loads(corral("bench", "-m", DEMO, "-p", 20, "-n", 4, "-b", "1,3", "-r", 2, "--json"))
    for key in ("prefill_tok_s", "decode_tok_s", "memory_gb_s"):
        assert 0 < j[key]["min"] <= j[key]["median"] <= j[key]["max"], (key, j[key])
    assert [b["batch"] for b in j["batches"]] == [1, 3]
    for b in j["batches"]:
        assert b["bytes_per_step"] > 2_000_000 and b["memory_fraction"] > 0, b
    assert j["batches"][1]["bytes_per_token"] < j["batches"][0]["bytes_per_token"]
    for batch in ("0", "1,", "x", "1,,2", "100000"):
        corral("bench", "-m", DEMO, "-b", batch, status=2)


def check_stories():
    text = corral("run", STORIES, "-p", "Once upon a time", "--temp", 0, "-n", 60)
    want = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    assert text.startswith(want), text


check_demo()
check_bench()
if os.path.exists(STORIES):
    check_stories()
else:
    print("skipped: stories260K.gguf is not there", file=sys.stderr)
