"""Where weights lie: --mlock with and without a limit, --no-mmap, --numa, and the same as options of a model."""
import os
import resource
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import CORRAL, DEMO, Server, run

ASK = ["run", "demo", "-p", "What is Corral?", "--temp", "0", "-n", "20"]
NOBODY = 65534
UNLIMITED = os.geteuid() == 0  # root may lock what it likes


def limited(limit):
    """As a user who may lock so much, and no more."""
    def enter():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        if UNLIMITED:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    return enter


def corral(*args, **more):
    return subprocess.run([CORRAL, *args], capture_output=True, text=True, timeout=120, **more)


def test_the_same_text_whatever_is_locked_or_copied():
    want = corral(*ASK)
    assert want.returncode == 0 and "Corral" in want.stdout, want
    for flags, says in ((["--mlock"], "" if UNLIMITED else None), (["--no-mmap"], ""), (["--no-mmap", "--mlock"], None),
                        (["--numa", "off"], ""), (["--mlock", "--backend", "ref"], "ref backend")):
        got = corral(*ASK, *flags)
        assert got.returncode == 0, (flags, got)
        if "ref" not in flags:  # whose arithmetic is another one
            assert got.stdout == want.stdout, (flags, got)
        if says is not None:
            assert says in got.stderr and (says or not got.stderr), (flags, got.stderr)


def test_a_limit_that_is_too_small_is_a_warning():
    got = corral(*ASK, "--mlock", preexec_fn=limited(64 << 10), env={**os.environ, "CORRAL_HOME": "/nonexistent"})
    assert got.returncode == 0 and "Corral" in got.stdout, got
    for words in ("mlock", "not locked", "RLIMIT_MEMLOCK", "0.1 MiB", "ulimit -l", "LimitMEMLOCK=", "--ulimit memlock"):
        assert words in got.stderr, (words, got.stderr)


def test_bench_takes_them():
    got = corral("bench", "demo", "-p", "16", "-n", "4", "-r", "1", "--no-mmap", "--mlock", "--json")
    assert got.returncode == 0 and '"memory_fraction"' in got.stdout, got


def test_numa_on_one_node_says_that_it_does_nothing():
    if os.path.exists("/sys/devices/system/node/node1"):
        return print("skipped: this machine has several nodes")
    for mode in ("distribute", "isolate"):
        got = corral(*ASK, "--numa", mode)
        assert got.returncode == 0 and "--numa does nothing here" in got.stderr, got
    assert corral(*ASK, "--numa", "everywhere").returncode == 2


def flags_of(worker):
    with open(f"/proc/{worker['process']}/cmdline") as f:
        return f.read().split("\0")


def test_options_of_models():
    """The server's word holds for all, a model's own comes before it; Ollama's word is named where it has no effect."""
    with Server("--mlock", "--numa", "isolate", "--ctx", "256", "--parallel", "1") as srv:
        os.makedirs(os.path.join(srv.home, "models"), exist_ok=True)
        shutil.copy(DEMO, os.path.join(srv.home, "models", "own.gguf"))
        env = {**os.environ, "CORRAL_HOME": srv.home}
        assert corral("options", "own", "mlock=false", "mmap=false", env=env).returncode == 0
        for name, locked in (("demo", UNLIMITED), ("own", False)):
            code, head, said = srv.post("/api/generate", {"model": name, "prompt": "a", "stream": False,
                                                          "options": {"use_mlock": True, "num_predict": 1}})
            assert code == 200 and head["X-Corral-Ignored"] == (None if locked else "options.use_mlock"), (name, said, head)
            worker, = [w for w in srv.health()["servers"] if w["state"] == "ready" and w["model_id"].startswith(name)]
            flags = flags_of(worker)
            assert ("--mlock" in flags, "--no-mmap" in flags) == ((True, False) if name == "demo" else (False, True)), flags
            assert any("isolate" in f for f in flags), flags
            row, = [line for line in corral("ps", env=env).stdout.splitlines() if line.startswith(name)]
            assert (worker["locked_bytes"] > 1 << 20) == (" locked" in row) == locked, (worker, row)


if __name__ == "__main__":
    run(__file__)
