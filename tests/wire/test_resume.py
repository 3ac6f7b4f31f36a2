"""Streams that another worker goes on with: cut at any line of the journal, replayed elsewhere, they are the stream that
nobody disturbed, byte for byte but for times and what the cache had."""
import http.client
import json
import random
import re

import server as wire

try:
    import pytest

    @pytest.fixture(scope="module")
    def workers():
        with Worker() as a, Worker() as b:
            yield a, b
except ImportError:
    pass


class Worker(wire.Server):
    command = ("worker", "--journal", "--ctx", "512", "--parallel", "6", "--threads", "1")


QUESTION = [{"role": "user", "content": "What is Corral, and who may use it?"}]
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Look a word up", "parameters": {
    "type": "object", "properties": {"word": {"type": "string", "maxLength": 12}, "depth": {"enum": [1, 2]}}, "required": ["word", "depth"]}}}
SCHEMA = {"type": "object", "properties": {"name": {"enum": ["Grüße, 世界", "日本"]}, "list": {
    "type": "array", "items": {"enum": ["é", "😀", "x"]}, "minItems": 3, "maxItems": 6}}, "required": ["name", "list"], "additionalProperties": False}
WIDE = "([äöüß€世界😀🚀] ?){12,20}"
WARM = {"temperature": 0.9, "stream": True}

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
CASES = {
    "chat": (CHAT, {"messages": QUESTION, "max_tokens": 40, "stream_options": {"include_usage": True}, **WARM}),
    "chat, seeded": (CHAT, {"messages": QUESTION, "max_tokens": 30, "seed": 7, **WARM}),
    "two choices": (CHAT, {"messages": QUESTION, "max_tokens": 24, "n": 2, **WARM}),
    "three choices, one ends early": (CHAT, {"messages": QUESTION, "max_tokens": 60, "n": 3, "stop": [" the", "."], **WARM}),
    "stop": (CHAT, {"messages": QUESTION, "max_tokens": 60, "stop": ["program in", "zzz", "Corral is one program in C"], "temperature": 0, "stream": True}),
    "min_tokens": (CHAT, {"messages": QUESTION, "max_tokens": 40, "min_tokens": 20, "stop": ["a"], **WARM}),
    "tools": (CHAT, {"messages": QUESTION, "max_tokens": 80, "tools": [TOOL], "tool_choice": "required", **WARM}),
    "tools, maybe": (CHAT, {"messages": QUESTION, "max_tokens": 40, "tools": [TOOL], **WARM}),
    "schema": (CHAT, {"messages": QUESTION, "max_tokens": 90, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, **WARM}),
    "cut characters": (CHAT, {"messages": QUESTION, "max_tokens": 90, "guided_regex": WIDE, **WARM}),
    "cut characters, log-probabilities": (CHAT, {"messages": QUESTION, "max_tokens": 60, "guided_regex": WIDE, "logprobs": True,
                                                 "top_logprobs": 2, "stop": ["äö€x"], **WARM}),
    "log-probabilities": (CHAT, {"messages": QUESTION, "max_tokens": 24, "logprobs": True, "top_logprobs": 3, "stop": ["is the"], **WARM}),
    "mirostat": (CHAT, {"messages": QUESTION, "max_tokens": 40, "mirostat": 2, **WARM}),
    "adaptive": (CHAT, {"messages": QUESTION, "max_tokens": 40, "adaptive_target": 0.4, **WARM}),
    "penalties": (CHAT, {"messages": QUESTION, "max_tokens": 40, "frequency_penalty": 1, "dry_multiplier": 0.8, "xtc_probability": 0.5, **WARM}),
    "reasoning": (CHAT, {"messages": QUESTION, "max_tokens": 60, "enable_thinking": True, "reasoning_budget_tokens": 12, **WARM}),
    "completion": (TEXT, {"prompt": "Once upon a time", "max_tokens": 30, "echo": True, **WARM}),
    "completion of two prompts": (TEXT, {"prompt": ["Once upon", "A program is"], "n": 2, "max_tokens": 16, "logprobs": 2, **WARM}),
    "responses": ("/v1/responses", {"input": "What is Corral?", "max_output_tokens": 40, **WARM}),
    "responses with tools": ("/v1/responses", {"input": "What is Corral?", "max_output_tokens": 80, "tool_choice": "required", "tools": [
        {"type": "function", **TOOL["function"]}], **WARM}),
    "messages": ("/v1/messages", {"messages": QUESTION, "max_tokens": 40, **WARM}),
    "messages with tools": ("/v1/messages", {"messages": QUESTION, "max_tokens": 80, "tool_choice": {"type": "any"}, "tools": [
        {"name": "look_up", "description": "", "input_schema": TOOL["function"]["parameters"]}], **WARM}),
    "ollama chat": ("/api/chat", {"model": "demo", "messages": QUESTION, "options": {"num_predict": 30, "temperature": 0.9}}),
    "ollama generate": ("/api/generate", {"model": "demo", "prompt": "What is it?", "options": {"num_predict": 30, "temperature": 0.9}}),
    "llama.cpp": ("/completion", {"prompt": "Once upon a time", "n_predict": 30, "n_probs": 2, "return_tokens": True, **WARM}),
    "llama.cpp, grammar": ("/completion", {"prompt": "Once", "n_predict": 60, "grammar": 'root ::= ("é" | "😀" | "ab "){10,30}', **WARM}),
    "native": ("/chat", {"messages": QUESTION, "max_tokens": 40, **WARM}),
}


def stream(worker, path, body, replay=None):
    """[(frames, journal line)]: what stands before each line, then what stands behind the last (with None)."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "X-Corral-Journal": "1"}
    if replay is not None:
        front = json.dumps(replay).encode()
        data = front + data
        headers["X-Corral-Replay"] = str(len(front))
    c = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=60)
    c.request("POST", path, data, headers)
    r = c.getresponse()
    text = r.read().decode()
    assert r.status == 200, text
    c.close()
    parts = re.split(r"^: corral (\{.*\})\n\n?" if not path.startswith("/api/") else r"^: corral (\{.*\})\n", text, flags=re.M)
    parts.append(None)
    return [(parts[i], parts[i + 1] and json.loads(parts[i + 1])) for i in range(0, len(parts), 2)]


def merge(journal, line):
    out = {**journal, **{k: v for k, v in line.items() if k != "t"}}
    tokens = {c: ids for c, ids in journal.get("t", [])}
    for c, ids in line.get("t", []):
        tokens[c] = tokens.get(c, []) + ids
    out["t"] = [[c, ids] for c, ids in sorted(tokens.items())]
    return out


NOISE = [(r'"timings":\{[^}]*\}', '"timings":{}'), (r'"cached_tokens":\d+', '"cached_tokens":0'), (r'"cache_miss":"[^"]*"', '"cache_miss":""'),
         (r'"(created_at)":"[^"]*"', r'"\1":""'), (r'"(\w+_duration|completed_at)":\d+', r'"\1":0'),
         (r'"input_tokens":\d+,"cache_creation_input_tokens":0,"cache_read_input_tokens":\d+', '"input_tokens":0'),
         (r'"(accepted|rejected)_prediction_tokens":\d+', '')]


def plain(text):
    for pattern, by in NOISE:
        text = re.sub(pattern, by, text)
    return text


def per_choice(text):
    """Choices run side by side: the frames of each in their order."""
    out = {}
    for frame in text.split("\n\n"):
        index = re.search(r'"choices":\[\{"index":(\d+)', frame)
        out.setdefault(index and index.group(1), []).append(frame)
    return out


def check(workers, path, body, rounds, rng):
    parts = stream(workers[0], path, body)
    whole = plain("".join(p[0] for p in parts))
    assert parts[-1][1] is None and not parts[-1][0] and parts[-2][1].get("end"), parts[-2:]
    assert {"id", "created", "seed"} <= parts[0][1].keys() and parts[0][0] == ""
    cuts = sorted(rng.sample(range(len(parts) - 2), min(rounds, len(parts) - 2)))
    for cut in cuts:
        journal, text = {}, ""
        for frames, line in parts[:cut + 1]:
            journal, text = merge(journal, line), text + frames
        rest = stream(workers[1], path, body, journal)
        again = rng.randrange(len(rest) - 1)  # and cut once more, back to the first
        for frames, line in rest[:again + 1]:
            journal, text = merge(journal, line), text + frames
        full = text + "".join(p[0] for p in rest[again + 1:])
        assert per_choice(plain(full)) == per_choice(whole), f"cut at {cut}"
        if not journal.get("end"):
            text += "".join(p[0] for p in stream(workers[0], path, body, journal))
            assert per_choice(plain(text)) == per_choice(whole), f"cut at {cut}, then at {again}"
    return whole


def test_streams_go_on(workers):
    for seed, (name, (path, body)) in enumerate(CASES.items()):
        print(name)
        whole = check(workers, path, body, 6, random.Random(seed))
        if "tools" in name and "maybe" not in name:
            assert "look_up" in whole


def test_every_line(workers):
    for name in ("cut characters, log-probabilities", "tools", "three choices, one ends early"):
        check(workers, *CASES[name], 1000, random.Random(1))


def test_what_a_worker_remembers_goes_along(workers):
    a, b = workers
    turn = {"session_id": "s1", "message": "What is Corral?", "max_tokens": 12, "temperature": 0, "stream": True}
    stream(a, "/chat", turn)
    rng = random.Random(3)
    check((a, b), "/chat", {**turn, "message": "And who may use it?", "max_tokens": 20}, 1, rng)
    status, _, body = b.post("/chat", {"session_id": "s1", "message": "Why?", "max_tokens": 4})
    assert status == 200 and body["history"] >= 5, body
    first = [json.loads(e[6:]) for e in "".join(p[0] for p in stream(a, "/v1/responses", {
        "input": "What is Corral?", "max_output_tokens": 12, "stream": True})).split("\n") if e.startswith("data: ")][-1]
    check((a, b), "/v1/responses", {"input": "And who may use it?", "previous_response_id": first["response"]["id"],
                                    "max_output_tokens": 20, **WARM}, 2, rng)


def test_malformed(workers):
    a, body = workers[0], {"messages": QUESTION, "stream": True}
    good = {"id": "ab", "created": 1, "seed": "1", "t": [[0, [3]]]}
    for more, status in [({}, 200), ({"id": "<"}, 400), ({"id": ""}, 400), ({"id": 3}, 400), ({"id": "a" * 60}, 400), ({"seed": 1}, 400),
                         ({"created": "x"}, 400), ({"t": [[9, [1]]]}, 400), ({"t": [[0, [-1]]]}, 400), ({"t": [[0, [10 ** 9]]]}, 400),
                         ({"t": [["0", [1]]]}, 400), ({"t": 3}, 200), ({"t": [3]}, 400), ({"e": [[0, 77, 0]]}, 400), ({"e": [[0, 0, 0], [0, 0, 0]]}, 400),
                         ({"p": [[0, [[1, []]]]]}, 400), ({"s": [[5, 1]]}, 400), ({"history": 5}, 200)]:
        front = json.dumps({**good, **more}).encode()
        c = http.client.HTTPConnection("127.0.0.1", a.port, timeout=60)
        c.request("POST", CHAT, front + json.dumps(body).encode(), {"X-Corral-Replay": str(len(front))})
        r = c.getresponse()
        text = r.read()
        assert r.status == status, (more, text)
        c.close()
    for length in ("-1", "x", "999999", "18446744073709551616", "3"):
        c = http.client.HTTPConnection("127.0.0.1", a.port, timeout=60)
        c.request("POST", CHAT, json.dumps(body).encode(), {"X-Corral-Replay": length})
        assert c.getresponse().status == 400, length
        c.close()


def test_not_for_everyone():
    with wire.Server("--ctx", "256", "--parallel", "1") as s:
        status, headers, text = s.post(CHAT, {"messages": QUESTION, "max_tokens": 2})
        assert status == 200
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        c.request("POST", CHAT, json.dumps({"messages": QUESTION, "max_tokens": 4, "stream": True}), {"X-Corral-Journal": "1"})
        assert b": corral" not in c.getresponse().read()
        c.close()


if __name__ == "__main__":
    wire.run(__file__)
