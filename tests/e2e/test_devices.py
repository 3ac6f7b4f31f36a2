"""Cards that come, go, are divided and hang, and machines without any, as clients of `corral serve` see them."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import CORRAL, Server, run

LIBRARY = os.environ.get("CORRAL_FAKE_NVML", "")
A = "GPU-aaaa|Fake A|24576|1024|37|51|120000|8.9|"
B = "GPU-bbbb|Fake B|81920|1024|-|-|-|9.0|"


def until(test, what, within_s=40.0):
    end = time.monotonic() + within_s
    while not (found := test()):
        assert time.monotonic() < end, f"it does not happen: {what}"
        time.sleep(0.05)
    return found


def cards(srv):
    """{UUID: card}"""
    return {g["uuid"]: g for g in srv.get("/gpus")[2]["gpu_pool_status"]["gpu_list"]}


def answers(srv):
    code, _, said = srv.post("/v1/completions", {"prompt": "Once", "max_tokens": 4, "temperature": 0})
    return code == 200 and said["usage"]["completion_tokens"] == 4


def shown(home, *args):
    env = {**os.environ, "CORRAL_HOME": str(home)}
    return subprocess.run([CORRAL, "gpus", *args], env=env, capture_output=True, text=True, timeout=60, check=True).stdout


def test_no_driver(monkeypatch):
    monkeypatch.setenv("CORRAL_NVML", "/nonexistent/libnvidia-ml.so.1")
    with Server() as srv:
        health = srv.health()
        pool = health["gpu_pool_status"]
        assert health["status"] == "healthy" and not health["cuda_available"]
        assert (pool["total_gpus"], pool["gpu_available"], pool["gpu_list"]) == (0, False, [])
        assert "no NVML" in pool["monitoring_error"]
        assert answers(srv)
        assert "No GPU" in shown(srv.home)
        until(lambda: [line for line in srv.log if "no NVML" in line], "a warning in the log")


def test_cards_come_and_go(monkeypatch, tmp_path):
    file = tmp_path / "cards"

    def say(*lines):
        (tmp_path / "new").write_text("".join(line + "\n" for line in lines))
        os.rename(tmp_path / "new", file)

    if not os.path.exists(LIBRARY):
        import pytest
        pytest.skip("there is no fake NVML")
    monkeypatch.setenv("CORRAL_NVML", LIBRARY)
    monkeypatch.setenv("FAKE_NVML", str(file))
    say(A, B, "link GPU-aaaa GPU-bbbb nvlink", "hang 500")
    assert "Fake B" in shown(tmp_path / "home")  # nobody serves: the command waits for the driver itself
    say(A, B, "link GPU-aaaa GPU-bbbb nvlink")
    with Server() as srv:
        seen = cards(srv)
        assert {u: g["state"] for u, g in seen.items()} == {"GPU-aaaa": "available", "GPU-bbbb": "available"}
        assert seen["GPU-aaaa"]["links"] == [{"id": 1, "type": "nvlink"}]
        assert "Links: 0-1 nvlink" in shown(srv.home) and "Fake B" in shown(srv.home)
        assert srv.health()["status"] == "healthy"

        say(A, B, "lost GPU-aaaa")  # it falls off the bus
        health = until(lambda: (h := srv.health())["status"] == "degraded" and h, "a GPU that is missed")
        assert "GPU" in health["reason"] and answers(srv)
        seen = cards(srv)
        assert (seen["GPU-aaaa"]["state"], seen["GPU-bbbb"]["state"]) == ("error", "available")
        assert seen["GPU-aaaa"]["total_bytes"] == 24576 << 20  # its last figures
        until(lambda: [d for d in srv.get("/gpus")[2]["ledger"] if d["uuid"] == "GPU-aaaa" and d["lost"]], "the ledger knows")
        say(A, B)
        until(lambda: cards(srv)["GPU-aaaa"]["state"] == "available", "it is back")
        assert srv.health()["status"] == "healthy"

        say(A, B, "fail 9")  # the driver is unloaded under us
        until(lambda: "not loaded" in (srv.health()["gpu_pool_status"]["monitoring_error"] or ""), "the driver is missed")
        assert answers(srv)
        say(A, B)
        until(lambda: srv.health()["gpu_pool_status"]["monitoring_error"] is None, "the driver is back")

        say(A, B, "mig GPU-aaaa MIG-1111|Fake A MIG 1g.5gb|4864|0|-|-|-|-|")  # divided
        seen = until(lambda: "MIG-1111" in (c := cards(srv)) and c, "an instance")
        assert seen["MIG-1111"]["instance_of"] == "GPU-aaaa" and seen["MIG-1111"]["total_bytes"] == 4864 << 20
        assert seen["GPU-aaaa"]["state"] == "divided" and seen["GPU-bbbb"]["instance_of"] is None
        assert srv.health()["status"] == "healthy"

        say(A, B, "hang 4000")  # nobody waits for a driver
        until(lambda: srv.health()["gpu_pool_status"]["sample_age_ms"] > 2500, "a sample that grows old")
        began = time.monotonic()
        assert srv.health()["gpu_pool_status"]["gpu_list"] and answers(srv)
        assert time.monotonic() - began < 3
        say(A, B)


if __name__ == "__main__":
    run(__file__)
