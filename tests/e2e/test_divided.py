"""Models that one card does not hold, served by `corral serve`: real workers on two cards, or on one and the CPU. The
cards are a fake NVML's, and what computes on them is the simulator by the name of CUDA (tests/support/fake_cuda.c)."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import CORRAL, DEMO, Server, Worker, run

NVML, CUDA = os.environ.get("CORRAL_FAKE_NVML", ""), os.environ.get("CORRAL_FAKE_CUDA", "")
MIB = 1 << 20
KV = 64 * MIB
SIZE = ["--ctx", "512", "--parallel", "2"]
ASK = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "ignore_eos": True}


def text(srv):
    code, _, said = srv.post("/v1/completions", ASK, timeout=120)
    assert code == 200, said
    return said["choices"][0]["text"]


def plan_of(backend):
    said = subprocess.run([CORRAL, "plan", DEMO, "--backend", backend, "--json", *SIZE], capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def serve(monkeypatch, tmp_path, n_card):
    """On cards that hold what every one of them needs, and three quarters of the layers with their KV cache."""
    monkeypatch.setenv("CORRAL_PLUGINS", os.path.dirname(CUDA))
    monkeypatch.setenv("CORRAL_NVML", NVML)
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "cards"))
    plan = plan_of("cuda")
    assert plan["max_devices"] > 1 and plan["partial_cpu"], plan
    card = (plan["overhead_bytes"] + plan["rungs"][0]["scratch_bytes"]) // MIB + 48
    (tmp_path / "cards").write_text("".join(f"GPU-{x * 4}|Card {x}|{card}|0|0|30|50000|8.0|-\n" for x in "ab"[:n_card]))
    return Server("--backend", "cuda", *SIZE, "--kv-bytes", str(KV), "--gpu-reserve", "1")


def devices(srv):
    worker, = srv.health()["servers"]
    with open(f"/proc/{worker['process']}/cmdline") as f:
        words = f.read().split("\0")
    shares = ",".join(f"{d['uuid']}={d['layers']}" for d in worker["devices"])
    return worker, shares, words[words.index("--devices") + 1]


def test_two_cards(monkeypatch, tmp_path):
    n_layer = len(plan_of("cpu")["layers"])
    with Worker("--backend", "sim", *SIZE) as w:
        alone = text(w)
    with serve(monkeypatch, tmp_path, 2) as srv:
        assert text(srv) == alone
        worker, shares, flag = devices(srv)
        a, b = (d["layers"] for d in worker["devices"])
        assert shares == f"GPU-aaaa={a},GPU-bbbb={b}" and flag == f"cuda:0={a},cuda:1={b}" and a + b == n_layer, (shares, flag)
        given = worker["gpu_assignment"]
        assert given["gpu_ids"] == [0, 1] and given["n_gpu_layers"] == n_layer
        assert given["tensor_splits"] == [round(n / n_layer, 4) for n in (a, b)]
        assert sum(d["predicted_bytes"] for d in worker["devices"]) == worker["predicted_bytes"] > KV
        gpus = srv.get("/gpus")[2]
        assert [g["assigned_models"] for g in gpus["gpu_pool_status"]["gpu_list"]] == [["demo"], ["demo"]]
        ledger = {d["uuid"]: d["committed_bytes"] for d in gpus["ledger"]}
        assert all(ledger[d["uuid"]] == d["bytes"] > 0 for d in worker["devices"]), ledger
        env = {**os.environ, "CORRAL_HOME": srv.home}
        ps = subprocess.run([CORRAL, "ps"], env=env, capture_output=True, text=True, timeout=60, check=True).stdout
        assert f"GPU-aaaa={a} GPU-bbbb={b}" in ps, ps


def test_a_card_and_the_cpu(monkeypatch, tmp_path):
    n_layer = len(plan_of("cpu")["layers"])
    with serve(monkeypatch, tmp_path, 1) as srv:
        assert len(text(srv)) > 0
        worker, shares, flag = devices(srv)
        n = worker["gpu_assignment"]["n_gpu_layers"]
        assert 0 < n < n_layer and shares == f"GPU-aaaa={n},host={n_layer - n}" and flag == f"cuda:0={n},cpu={n_layer - n}", (shares, flag)
        assert worker["gpu_assignment"]["gpu_ids"] == [0] and worker["gpu_assignment"]["tensor_splits"] == [1.0]
        assert srv.health()["last_decision"]["way"] == "partly on the CPU"


if __name__ == "__main__":
    if not os.path.exists(CUDA) or not os.path.exists(NVML):
        print("skipped: the simulator or the fake NVML is not built")
        sys.exit(77)
    run(__file__)
