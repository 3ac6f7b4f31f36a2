"""Pulls from a hub that misbehaves: what comes is bit for bit what was there, and nothing is fetched twice in vain."""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import server as wire

try:
    import pytest
except ImportError:
    wire.run(__file__)

sys.path.insert(0, os.path.join(wire.SOURCE, "tests", "support"))
from fake_hub import FakeHub  # noqa: E402

TOOL = os.environ.get("CORRAL_PULL_TOOL", "build/tests/pull_tool")
MIB = 1 << 20
if not os.access(TOOL, os.X_OK):
    print("skipped: there is no pull_tool")
    sys.exit(77)


def noise(n, seed=1):
    return b"GGUF" + random.Random(seed).randbytes(n - 4)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Pull:
    """One pull_tool; lines of JSON."""

    def __init__(self, home, *args, env=()):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "AWS_", "CORRAL_REGISTRY", "HUGGING"))}
        clean["HOME"] = str(home)
        self.proc = subprocess.Popen([TOOL, str(home), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env={**clean, **dict(env)})

    def wait(self, timeout=60):
        out, err = self.proc.communicate(timeout=timeout)
        self.log = err.decode()
        lines = [json.loads(line) for line in out.decode().splitlines()]
        self.views = [v for v in lines if "status" in v]
        self.refused = [v["refused"] for v in lines if "refused" in v]
        self.models = {v["store"]: v for v in lines if "store" in v}
        assert "Sanitizer" not in self.log, self.log
        assert self.proc.returncode >= 0, (self.proc.returncode, self.log)
        return self

    def last(self):
        return self.views[-1]


def pull(home, *args, env=(), fails=False, timeout=60):
    p = Pull(home, *args, env=env).wait(timeout)
    assert (p.proc.returncode != 0) == fails, (p.views[-1:], p.refused, p.log)
    return p


def content(model):
    with open(model["path"], "rb") as f:
        return f.read()


def leftovers(home):
    return sorted(os.listdir(os.path.join(home, "models", "partial")))


@pytest.fixture
def hub():
    with FakeHub() as h:
        yield h


DATA = noise(5 * MIB + 123)
FAULTS = {
    "nothing": {},
    "cut": {"cut": [100000, 1, 500000, 0, 300000]},
    "5xx": {"status": [500, 502, 503, 504]},
    "429": {"status": [429, 429], "retry_after": 1},
    "stall": {"stall": [200000]},
    "corrupt once": {"corrupt": [3 * MIB + 17]},
    "no ranges": {"ranges": False},
    "no ranges, cut": {"ranges": False, "cut": [2 * MIB, 3 * MIB]},
    "weak etag": {"etag": 'W/"abc"', "cut": [1000]},
    "no etag": {"etag": None, "cut": [1000]},
    "short ranges": {"short": [1000, 2000]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_http_with_faults(hub, tmp_path, fault):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", **FAULTS[fault])
    p = pull(tmp_path, "stall=500", hub.url + "/files/a.gguf")
    view = p.last()
    assert view["status"] == "completed" and view["progress"] == 1 and view["downloaded_bytes"] == len(DATA)
    model = p.models["a:latest"]
    if fault == "corrupt once":  # nobody knew what it should have been
        assert len(content(model)) == len(DATA)
    else:
        assert content(model) == DATA and model["digest"] == "sha256:" + sha(DATA)
    assert leftovers(tmp_path) == []
    if "ranges" not in FAULTS[fault] and fault != "stall":
        assert hub.sent("/files/a.gguf") <= len(DATA) + 1, "bytes came twice"


def test_parts_come_over_several_connections(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=2 * MIB)
    began = time.monotonic()
    pull(tmp_path, "connections=4", hub.url + "/files/a.gguf")
    assert time.monotonic() - began < 5 / 2 * 0.8, "no faster than one connection"
    assert len(hub.asked("/files/a.gguf")) == 6
    assert all(r["status"] == 206 for r in hub.asked("/files/a.gguf"))


@pytest.mark.parametrize("ranges", [True, False])
def test_killed_and_resumed(hub, tmp_path, ranges):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=MIB, ranges=ranges)
    first = Pull(tmp_path, "connections=2", hub.url + "/files/a.gguf")
    end = time.monotonic() + 20
    while hub.sent("/files/a.gguf") < 3 * MIB and time.monotonic() < end:
        time.sleep(0.02)
    first.proc.send_signal(signal.SIGKILL)
    first.proc.wait()
    first.proc.stdout.close()
    first.proc.stderr.close()
    time.sleep(0.1)
    before = hub.sent("/files/a.gguf")
    assert before < len(DATA)
    hub.fault("/files/a.gguf", ranges=ranges)
    p = pull(tmp_path)  # no reference: the job is still there
    assert content(p.models["a:latest"]) == DATA
    assert leftovers(tmp_path) == []
    if ranges:
        # What was written down is at most a second old: two connections with 1 MiB/s each, and what was on its way.
        again = hub.sent("/files/a.gguf") - (len(DATA) - before) - before
        assert again <= 3 * MIB, again
        assert hub.sent("/files/a.gguf") - before < len(DATA), "nothing was kept"


def test_damaged_on_disk_while_it_was_down(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=2 * MIB)
    p = pull(tmp_path, "connections=1", f"cancel={3 * MIB}", hub.url + "/files/a.gguf", fails=True)
    assert p.last()["status"] == "cancelled"
    part = [f for f in leftovers(tmp_path) if not f.endswith(".parts")][0]
    with open(tmp_path / "models" / "partial" / part, "r+b") as f:
        f.seek(MIB + 5)
        f.write(b"damaged")
    before = hub.sent("/files/a.gguf")
    hub.fault("/files/a.gguf")
    p = pull(tmp_path, hub.url + "/files/a.gguf")
    assert content(p.models["a:latest"]) == DATA
    again = hub.sent("/files/a.gguf") - before
    assert again < 4 * MIB, "only that part is fetched again, and what was missing"


def test_changed_in_between(hub, tmp_path):
    other = noise(4 * MIB, seed=2)
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", change=(3, other))
    p = pull(tmp_path, hub.url + "/files/a.gguf")
    assert content(p.models["a:latest"]) == other


def test_redirected_to_another_host(hub, tmp_path):
    with FakeHub() as cdn:
        cdn.put("/blob", DATA)
        hub.put("/files/a.gguf", b"")
        hub.fault("/files/a.gguf", redirect=cdn.url + "/blob?signature=1", status=[500])
        cdn.fault("/blob", status=[403], cut=[1000])  # a link that expired
        p = pull(tmp_path, hub.url + "/files/a.gguf")
        assert content(p.models["a:latest"]) == DATA


@pytest.mark.parametrize("fault, why", [({"status": [404] * 9}, "not there"), ({"status": [500] * 99}, "given up after 3"),
                                        ({"no_length": True, "ranges": False}, "how large"), ({"status": [401] * 9}, "login")])
def test_failures_say_why(hub, tmp_path, fault, why):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", **fault)
    p = pull(tmp_path, "tries=3", hub.url + "/files/a.gguf", fails=True)
    assert p.last()["status"] == "failed" and why in p.last()["error"], p.last()
    assert not p.models


def test_only_public_addresses(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    p = pull(tmp_path, "public=1", "tries=2", hub.url + "/files/a.gguf", fails=True)
    assert "not one to connect to" in p.last()["error"]
    assert not hub.log


def test_same_reference_is_one_job(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    url = hub.url + "/files/a.gguf"
    p = pull(tmp_path, url, url, hub.url + "/files/a.gguf?b")
    assert {v["id"] for v in p.views} == {1, 2}
    assert len(p.models) == 1


def test_local_files(tmp_path):
    path, home = tmp_path / "My Model.gguf", tmp_path / "home"
    path.write_bytes(DATA)
    p = pull(home, path)
    assert p.models["my-model:latest"]["path"] == str(path) and not p.models["my-model:latest"]["owned"]
    p = pull(home, "copy=1", "name=copied:v1", path)
    path.unlink()
    assert content(p.models["copied:v1"]) == DATA and p.models["copied:v1"]["digest"] == "sha256:" + sha(DATA)
    p = pull(home, path, fails=True)
    assert "No such file" in p.last()["error"]
    assert pull(home, "local=0", path, fails=True).refused


if __name__ == "__main__":
    wire.run(__file__)
