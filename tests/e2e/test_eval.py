"""corral eval against what corral logits says, and what its options promise."""
import array
import json
import math
import os
import subprocess
import sys
import tempfile

CORRAL = os.environ["CORRAL"]
STORIES = os.path.join(os.environ["CORRAL_SHARED"], "models", "stories260K.gguf")
TEXT = ("Once upon a time there was a little girl. She said: \"What is Corral?\" It is a server that runs language "
        "models, and a place for horses. The horses were happy, and everybody went home. ") * 4
CTX = 40


def corral(*args, stdin="", status=0):
    p = subprocess.run([CORRAL, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=120)
    assert p.returncode == status, f"{args}: status {p.returncode}, want {status}\n{p.stdout}\n{p.stderr}"
    return p.stdout if status == 0 else p.stderr


def eval_json(*args):
    return json.loads(corral("eval", *args, "-q", "--json"))


def plain_perplexity(model, work, n_chunk):
    """By the text of docs/eval.md, from raw logits."""
    ids = json.loads(corral("tokenize", "-m", model, stdin=TEXT))
    bos = json.loads(corral("tokenize", "-m", model, "--bos", "on", stdin=TEXT))[0]
    begins = ids[0] == bos
    out = os.path.join(work, "logits.f32")
    nll = []
    for c in range(min(n_chunk, len(ids) // CTX)):
        chunk = ids[c * CTX:(c + 1) * CTX]
        if begins:
            chunk[0] = bos
        corral("logits", "-m", model, "--tokens", ",".join(map(str, chunk)), "-o", out)
        x = array.array("f")
        with open(out, "rb") as f:
            x.frombytes(f.read())
        n_vocab = len(x) // CTX
        for i in range(CTX // 2, CTX - 1):
            row = x[i * n_vocab:(i + 1) * n_vocab]
            most = max(row)
            nll.append(most + math.log(math.fsum(math.exp(v - most) for v in row)) - row[chunk[i + 1]])
    return math.exp(math.fsum(nll) / len(nll)), len(nll)


def check(model, work, text):
    got = eval_json(model, "-f", text, "--ctx", CTX, "--chunks", 3, "--kv-type", "f32")
    want, n = plain_perplexity(model, work, 3)
    assert got["chunks"] == 3 and got["scored"] == n, got
    assert abs(got["perplexity"] / want - 1) < 1e-6, (got, want)

    same = eval_json(model, "-f", text, "--ctx", CTX, "--against", model)["against"]
    assert same["kld_max"] == 0 and same["kld_mean"] == 0 and same["perplexity_ratio"] == 1, same
    assert same["same_top"] == 1 and same["rms_probability_change"] == 0, same

    kv = [eval_json(model, "-f", text, "--ctx", CTX, "--against", model, "--against-kv-type", "f32", "-t", t)
          for t in (1, 3)]
    assert 0 < kv[0]["against"]["kld_mean"] < 1e-3, kv[0]
    assert kv[0]["against"] == kv[1]["against"], "the result depends on the number of threads"


def check_mistakes(text):
    assert "no text" in corral("eval", "demo", status=2)
    assert "needs --against" in corral("eval", "demo", "-f", text, "--against-kv-type", "f16", status=2)
    assert "smaller --ctx" in corral("eval", "demo", "-f", "-", stdin="short", status=2)
    assert "at least 4" in corral("eval", "demo", "-f", text, "--ctx", 3, status=2)
    assert "none.txt" in corral("eval", "demo", "-f", "/nowhere/none.txt", status=1)


def main():
    with tempfile.TemporaryDirectory() as work:
        text = os.path.join(work, "text.txt")
        with open(text, "w") as f:
            f.write(TEXT)
        check("demo", work, text)
        check_mistakes(text)
        if not os.path.exists(STORIES):
            print("skipped: stories260K.gguf is not there")
            return
        check(STORIES, work, text)
        assert "must be the same" in corral("eval", STORIES, "-f", text, "--against", "demo", status=2)


sys.exit(main())
