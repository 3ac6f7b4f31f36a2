"""A worker whose device fails ends, with the reason; the simulator fails on demand."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "wire"))
from server import CORRAL, Worker, run  # noqa: E402


def usable():
    doctor = subprocess.run([CORRAL, "doctor"], stdout=subprocess.PIPE, text=True).stdout
    return any(line.split()[:1] == ["sim"] and "not usable" not in line for line in doctor.splitlines())


def test_the_worker_ends_with_the_reason(monkeypatch):
    monkeypatch.setenv("CORRAL_SIM_FAIL", "4")
    w = Worker("--backend", "sim", "--ctx", "128", "--parallel", "1", "--draft-max", "0")
    try:
        code, _, answer = w.post("/v1/completions", {"prompt": "Hello", "max_tokens": 40, "temperature": 0, "ignore_eos": True}, timeout=120)
        assert code >= 500 and "illegal memory access" in str(answer), (code, answer, w.log)
        assert w.proc.wait(30) not in (0, None)
        w.reader.join(5)
        assert any("illegal memory access" in line for line in w.log), w.log
    finally:
        w.proc.kill()


if __name__ == "__main__":
    if not usable():
        print("skipped: the simulator is not built")
        sys.exit(77)
    run(__file__)
