"""GET /metrics and /debug/sequences of a real server: numbers that agree with what was asked of it."""
import json
import re
import time
import urllib.request

import server as wire
from server import Worker as Server

try:
    import pytest
except ImportError:
    wire.run(__file__)

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')


@pytest.fixture(scope="module")
def srv():
    with Server("--quiet", "--parallel", "4") as s:
        yield s


def scrape(srv):
    with urllib.request.urlopen(srv.url + "/metrics", timeout=20) as r:
        assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        values = {}
        for line in r.read().decode().splitlines():
            if line.startswith("#"):
                continue
            found = LINE.match(line)
            assert found, line
            values[found[1] + (found[2] or "")] = float(found[3])
        return values


def settled(srv, test):
    """Counters show what a step has done when the next one begins."""
    for _ in range(100):
        m = scrape(srv)
        if test(m):
            return m
        time.sleep(0.05)
    raise AssertionError(m)


def test_counters(srv):
    label = 'model="demo"'
    before = scrape(srv)
    prompt, n = "Once upon a time there was a cat", 0
    for i in range(5):
        usage = srv.post("/v1/completions", {"prompt": prompt, "max_tokens": 12, "seed": i, "ignore_eos": True})[2]["usage"]
        n += usage["prompt_tokens"]
    m = settled(srv, lambda m: m["corral_requests_ended_total" + label + ',reason="length"'] == 5)
    gain = lambda name: m[name + label] - before[name + label]
    assert gain("corral_requests_total") == 5
    assert gain("corral_generated_tokens_total") == 60
    assert gain("corral_prompt_tokens_computed_total") + gain("corral_prompt_tokens_cached_total") == n
    assert gain("corral_prompt_tokens_cached_total") >= 4 * (n // 5 - 1)
    assert m["llamacpp:tokens_predicted_total"] == m['vllm:generation_tokens_totalengine="0",model_name="demo"'] == 60
    assert m["corral_time_to_first_token_seconds_count" + label] == 5
    assert m["corral_inter_token_seconds_count" + label] == 55
    assert m["corral_requests_running" + label] == 0


def test_sequences(srv):
    assert srv.get("/debug/sequences")[2] == []
    body = json.dumps({"prompt": "A long story:", "max_tokens": 900, "stream": True, "ignore_eos": True}).encode()
    request = urllib.request.Request(srv.url + "/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as r:
        r.readline()
        for _ in range(50):
            seen = srv.get("/debug/sequences")[2]
            if seen:
                break
        assert len(seen) == 1 and seen[0]["state"] in ("prompt", "answer") and seen[0]["most"] > 900
        assert seen[0]["tokens"] >= seen[0]["prompt_tokens"] and seen[0]["kv_blocks"] > 0


if __name__ == "__main__":
    wire.run(__file__)
