"""One model on several devices: the same answers from run and from a worker, where its layers are, what is refused."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "wire"))
from server import CORRAL, Worker, run  # noqa: E402

ASKED = ("run", "demo", "-p", "What is Corral?", "--temp", "0", "-n", "12")


def corral(*args, status=0):
    p = subprocess.run([CORRAL, *args], capture_output=True, text=True, timeout=120)
    assert p.returncode == status, (args, p.returncode, p.stdout, p.stderr)
    return p.stderr if status else p.stdout


def layers():
    return len(json.loads(corral("plan", "demo", "--backend", "cpu", "--json"))["layers"])


def simulated():
    doctor = corral("doctor")
    return any(line.split()[:1] == ["sim"] and "not usable" not in line for line in doctor.splitlines())


def completion(w):
    code, _, answer = w.post("/v1/completions", {"prompt": "Corral is", "max_tokens": 12, "temperature": 0}, timeout=120)
    assert code == 200, (code, answer, w.log)
    return answer["choices"][0]["text"]


def test_run(monkeypatch):
    n, alone = layers(), corral(*ASKED)
    for devices in (f"cpu=1,cpu={n - 1}", f"cpu={n - 2},cpu=1,cpu", "cpu,cpu", "cpu"):
        assert corral(*ASKED, "--devices", devices) == alone, devices
    monkeypatch.setenv("CORRAL_SIM_DEVICES", "2")
    if simulated():
        assert "sim:1 " in corral("doctor")
        assert len(corral(*ASKED[:-1], "3", "--devices", "sim:0=1,sim:1=1,cpu")) > 3
        refused = corral(*ASKED, "--devices", "sim:0=1,sim:2", status=2)
        assert "sim:2: sim: there is no device 2: 2 of them" in refused, refused


def test_other_commands():
    n = layers()
    on = ("--devices", f"cpu=1,cpu={n - 1}")
    bench = json.loads(corral("bench", "demo", "-p", "20", "-n", "4", "-b", "2", "-r", "1", "--json", *on))
    assert bench["device"] == f"cpu=1,cpu={n - 1}" and bench["decode_tok_s"]["median"] > 0, bench
    tokens = ("logits", "-m", "demo", "--tokens", "1,2,3,4,5", "-o", "-")
    as_bytes = [subprocess.run([CORRAL, *tokens, *args], capture_output=True, check=True).stdout for args in ((), on)]
    assert as_bytes[0] == as_bytes[1] and len(as_bytes[0]) > 1000
    parts = json.loads(corral("inspect", "demo", "--json", *on))["plan"]["parts"]
    assert [(p["device"], p["layer"], p["layers"]) for p in parts] == [("cpu", 0, 1), ("cpu", 1, n - 1)], parts


def test_worker():
    n = layers()
    with Worker("--backend", "cpu") as w:
        alone, props = completion(w), w.get("/props")[2]
        assert props["devices"] == "cpu", props
    with Worker("--devices", f"cpu=2,cpu={n - 2}") as w:
        assert f"(cpu=2,cpu={n - 2}, context" in w.ready, w.ready
        assert w.get("/props")[2]["devices"] == f"cpu=2,cpu={n - 2}"
        assert completion(w) == alone
        assert any(f"layers=2..{n - 1}" in line for line in w.log), w.log


def test_refused():
    n = layers()
    for devices, says, status in ((f"cpu=1,cpu={n}", f"given {n + 1} layers, the model has {n}", 2),
                                  (f"cpu={n},cpu", "none is left", 2), ("cpu:1", "cpu is one device", 2),
                                  ("cpu=0", "at least 1", 2), ("gpu:0,cpu", "no backend named gpu", 1), ("", "BACKEND", 2)):
        assert says in corral(*ASKED, "--devices", devices, status=status), devices
    assert "give one of them" in corral(*ASKED, "--devices", "cpu,cpu", "--backend", "cpu", status=2)


if __name__ == "__main__":
    run(__file__)
