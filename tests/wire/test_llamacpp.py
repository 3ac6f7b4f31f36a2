"""What clients of llama.cpp's server rely on, in our own words (shared/design API_SURFACE 5.1, class A), and POST /chat."""
import json
import time
import threading

import server as wire
from server import Server

try:
    import pytest
except ImportError:
    wire.run(__file__)

PROMPT = "Once upon a time"
CALM = {"temperature": 0, "n_predict": 24}
SLOTS = 4


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", str(SLOTS), "--alias", "gpt-test", "--quiet") as s:
        yield s


def complete(srv, prompt=PROMPT, **more):
    code, _, answer = srv.post("/completion", {"prompt": prompt, **CALM, **more})
    assert code == 200, answer
    return answer


def events(srv, path, body):
    """The events of a stream, until the server closes it."""
    data = json.dumps({**body, "stream": True}).encode()
    answer = srv.raw(wire.request(path, data, version="1.0"), timeout=60)
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head and b"text/event-stream" in head, answer
    assert b"[DONE]" not in text
    return [json.loads(e[6:]) for e in text.decode().split("\n\n") if e.startswith("data: ")]


def tokens(srv, text, **more):
    return srv.post("/tokenize", {"content": text, **more})[2]["tokens"]


# ---- about the server


def test_pages(srv):
    assert srv.get("/health")[0] == 200 and srv.get("/v1/health")[2] == {"status": "ok"}
    props = srv.get("/props")[2]
    assert props["total_slots"] == SLOTS and props["default_generation_settings"]["n_ctx"] == 1024
    assert props["model_path"].endswith(".gguf") and "im_start" in props["chat_template"] and props["eos_token"] == "<|im_end|>"
    assert props["default_generation_settings"]["params"]["temperature"] == pytest.approx(0.8)
    slots = srv.get("/slots")[2]
    assert [s["id"] for s in slots] == list(range(SLOTS)) and not any(s["is_processing"] for s in slots)
    assert srv.get("/lora-adapters")[2] == []
    assert srv.get("/nothing")[0] == 404
    assert [srv.post(p, {})[0] for p in ("/props", "/slots/0", "/lora-adapters")] == [501] * 3


# ---- tokens


def test_tokens_and_back(srv):
    for text in (PROMPT, "Grüße, 世界! 🦙", "a\n\n  b\t", ""):
        ids = tokens(srv, text)
        assert srv.post("/detokenize", {"tokens": ids})[2]["content"] == text
    assert tokens(srv, "<|im_end|>") != tokens(srv, "<|im_end|>", parse_special=False)
    pieces = tokens(srv, "🦙 a", with_pieces=True)
    assert [p["id"] for p in pieces] == tokens(srv, "🦙 a")
    raw = b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode() for p in pieces)
    assert raw.decode() == "🦙 a"


def test_the_template(srv):
    def prompt(**more):
        return srv.post("/apply-template", {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
                                            **more})[2]["prompt"]
    assert prompt() == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    assert prompt(add_generation_prompt=False) + "<|im_start|>assistant\n" == prompt()
    assert "weather" in prompt(tools=[{"type": "function", "function": {"name": "weather", "parameters": {}}}])
    assert srv.post("/apply-template", {"messages": "x"})[0] == 400


# ---- completion


def test_completion(srv):
    r = complete(srv)
    assert r["tokens_predicted"] == r["timings"]["predicted_n"] == 24 and r["tokens_evaluated"] == len(tokens(srv, PROMPT))
    assert r["content"] and r["stop"] is True and r["stop_type"] == "limit" and r["truncated"] is False and r["model"] == "demo"
    assert r["prompt"] == PROMPT and r["generation_settings"]["n_predict"] == 24 and r["has_new_line"] is ("\n" in r["content"])
    assert complete(srv, n_predict=3)["tokens_predicted"] == 3
    nothing = complete(srv, n_predict=0, n_probs=2)
    assert nothing["content"] == "" and nothing["tokens_predicted"] == 0 and "completion_probabilities" not in nothing
    end = complete(srv, prompt="<|im_start|>user\nWhat is Corral?<|im_end|>\n<|im_start|>assistant\n", n_predict=-1)
    assert end["stop_type"] == "eos"
    word = r["content"].split()[1]
    cut = complete(srv, stop=[word])
    assert cut["stop_type"] == "word" and cut["stopping_word"] == word and r["content"].startswith(cut["content"])


def test_a_stream_says_the_same(srv):
    whole, parts = complete(srv), events(srv, "/completion", {"prompt": PROMPT, **CALM})
    assert "".join(p["content"] for p in parts) == whole["content"]
    assert all(not p["stop"] and "generation_settings" not in p for p in parts[:-1])
    assert parts[-1]["stop"] and parts[-1]["content"] == "" and parts[-1]["tokens_predicted"] == 24
    assert [t for p in parts for t in p["tokens"]] == complete(srv, return_tokens=True)["tokens"]


def test_seeds(srv):
    def say(seed):
        return complete(srv, temperature=1.2, seed=seed)["content"]
    assert say(42) == say(42) and len({say(i) for i in range(4)}) > 1


def test_prompts_of_every_kind(srv):
    ids, text = tokens(srv, PROMPT), complete(srv)["content"]
    assert complete(srv, prompt=ids)["content"] == text
    assert complete(srv, prompt=[*ids[:2], srv.post("/detokenize", {"tokens": ids[2:]})[2]["content"]])["prompt"] == PROMPT
    several = complete(srv, prompt=[PROMPT, ids, "Tell me"])
    assert [r["index"] for r in several] == [0, 1, 2] and several[0]["content"] == several[1]["content"] == text
    assert complete(srv, prompt={"prompt_string": PROMPT})["content"] == text
    assert srv.post("/completion", {"prompt": {"prompt_string": PROMPT, "multimodal_data": ["aGk="]}})[0] == 400


def test_the_cache_changes_nothing(srv):
    long = PROMPT + " there was a sheep" * 30
    cold = complete(srv, prompt=long, cache_prompt=False)
    complete(srv, prompt=long)
    warm = complete(srv, prompt=long)
    assert warm["content"] == cold["content"]
    assert cold["timings"]["cache_n"] == 0 and warm["timings"]["cache_n"] > 0
    assert warm["timings"]["cache_n"] + warm["timings"]["prompt_n"] == warm["tokens_evaluated"]


def test_only_some_fields(srv):
    r = complete(srv, response_fields=["content", "generation_settings/n_predict", "stop"])
    assert set(r) == {"content", "generation_settings/n_predict", "stop"} and r["generation_settings/n_predict"] == 24


def test_probabilities(srv):
    r = complete(srv, n_probs=5, n_predict=8)["completion_probabilities"]
    assert len(r) == 8
    for t in r:
        tops = [x["logprob"] for x in t["top_logprobs"]]
        assert len(tops) == 5 and tops == sorted(tops, reverse=True) and t["logprob"] == tops[0] <= 0
        assert bytes(t["bytes"]).decode("utf-8", "replace") == t["token"] and isinstance(t["id"], int)
    parts = events(srv, "/completion", {"prompt": PROMPT, **CALM, "n_predict": 8, "n_probs": 5})
    assert [t["id"] for p in parts for t in p.get("completion_probabilities", [])] == [t["id"] for t in r]
    after = complete(srv, n_probs=5, n_predict=4, post_sampling_probs=True, temperature=0.8, top_k=2)["completion_probabilities"]
    assert all(0 <= x["prob"] <= 1 for t in after for x in t["top_probs"]) and all("top_logprobs" not in t for t in after)


def test_biases(srv):
    first = complete(srv, n_predict=1, return_tokens=True)["tokens"][0]
    assert complete(srv, n_predict=1, return_tokens=True, logit_bias=[[first, False]])["tokens"] != [first]
    (other,) = tokens(srv, "!")
    assert set(complete(srv, n_predict=6, return_tokens=True, logit_bias=[[other, 100]])["tokens"]) == {other}
    assert complete(srv, ignore_eos=True, n_predict=1)["generation_settings"]["ignore_eos"] is True


def test_constraints(srv):
    assert complete(srv, grammar='root ::= ("a" | "b"){5}')["content"].strip("ab") == ""
    made = json.loads(complete(srv, json_schema={"const": {"a": [1, 2]}}, n_predict=60)["content"])
    assert made == {"a": [1, 2]}
    assert srv.post("/completion", {"prompt": "x", "grammar": "root ::= ("})[0] == 400
    assert srv.post("/completion", {"prompt": "x", "json_schema": {"type": 123}})[0] == 400


def test_too_long(srv):
    code, _, r = srv.post("/completion", {"prompt": "word " * 3000})
    e = r["error"]
    assert code == 400 and e["type"] == "exceed_context_size_error" and e["n_prompt_tokens"] > e["n_ctx"] == 1024
    # An answer ends where the context does.
    full = complete(srv, prompt=tokens(srv, "word") * 900, n_predict=-1, ignore_eos=True)
    assert full["stop_type"] == "limit" and full["tokens_evaluated"] + full["tokens_predicted"] <= 1025


def test_many_at_once(srv):
    want = complete(srv)["content"]
    got = []
    threads = [threading.Thread(target=lambda: got.append(complete(srv)["content"])) for _ in range(3 * SLOTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [want] * (3 * SLOTS)


def soon(what, within_s=2):
    end = time.monotonic() + within_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_leaving_frees_the_slot(srv):
    body = json.dumps({"prompt": PROMPT, "n_predict": -1, "n": 128, "ignore_eos": True, "stream": True}).encode()
    with srv.connect() as s:
        s.sendall(wire.request("/completion", body))
        s.recv(1000)
        assert soon(lambda: any(slot["is_processing"] for slot in srv.get("/slots")[2]))
    srv.idle()


def test_infill_needs_its_tokens(srv):
    code, _, r = srv.post("/infill", {"input_prefix": "a", "input_suffix": "b"})
    assert code == 501 and r["error"]["type"] == "not_supported_error"


# ---- POST /chat


def test_chat(srv):
    body = {"message": "What is Corral?", "temperature": 0, "max_tokens": 20}
    code, _, whole = srv.post("/chat", body)
    assert code == 200 and whole["done"] and "Corral" in whole["message"]["content"]
    assert whole["usage"]["completion_tokens"] <= 20
    parts = events(srv, "/chat", body)
    assert "".join(p["delta"]["content"] for p in parts) == whole["message"]["content"]
    assert [p["done"] for p in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_sessions(srv):
    def say(text, session="8f14e45f-ceea-467f-9575-1a2b3c4d5e6f", **more):
        code, _, r = srv.post("/chat", {"message": text, "session_id": session, "temperature": 0, "max_tokens": 8, **more})
        assert code == 200, r
        return r
    assert [say(t)["history"] for t in ("One", "Two", "Three")] == [1, 3, 5]
    assert say("Four", max_history=2)["history"] == 1 and say("Five", session="other")["history"] == 1
    assert say("Six")["usage"]["prompt_tokens"] > say("Six", session="new")["usage"]["prompt_tokens"]
    request = wire.request("/chat/other", method="DELETE", version="1.0")
    assert b" 200 " in srv.raw(request) and b" 404 " in srv.raw(request)
    assert say("Seven", session="other")["history"] == 1


def test_timeout(srv):
    code, _, r = srv.post("/chat", {"message": "Tell me a story", "timeout": 0.02, "max_tokens": 900, "ignore_eos": True})
    assert code == 408 and "time" in r["error"]["message"]
    srv.idle()


if __name__ == "__main__":
    wire.run(__file__)
