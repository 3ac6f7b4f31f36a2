"""The gateway ends in the middle of pulls and streams, politely and not: pulls go on where they were, the store is whole,
streams are answered, or end so that their clients know."""
import concurrent.futures
import glob
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.environ.get("CORRAL_SOURCE", ".")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "support"))
from fake_hub import FakeHub  # noqa: E402
from server import CORRAL, DEMO, run  # noqa: E402

MIB = 1 << 20
DATA = b"GGUF" + random.Random(3).randbytes(4 * MIB)
with open(DEMO, "rb") as f:
    MODEL = f.read()


class Gateway:
    """One `corral serve`, again and again in one home."""

    def __init__(self, hub):
        self.home = tempfile.mkdtemp(prefix="corral-interrupted-")
        self.env = {**os.environ, "CORRAL_HOME": self.home, "HF_ENDPOINT": hub.url, "CORRAL_REGISTRY": hub.url, "CORRAL_AWS": "off"}
        self.proc = None

    def start(self, *args):
        self.proc = subprocess.Popen([CORRAL, "serve", "--port", "0", *args], env=self.env, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        self.log = []
        self.reader = threading.Thread(target=lambda p=self.proc: self.log.extend(p.stderr), daemon=True)
        self.reader.start()
        ready = self.proc.stdout.readline()
        assert ready.startswith("corral: ready: "), (ready, self.log)
        self.port = int(ready.split()[2].rsplit(":", 1)[1])
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request(method, path, None if body is None else json.dumps(body))
            r = c.getresponse()
            return r.status, json.loads(r.read() or b"null")
        finally:
            c.close()

    def stream(self, n, begun=None):
        """(text, how it ended): "done", "cut", or the error's code."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        text, end = "", "cut"
        try:
            c.request("POST", "/v1/completions", json.dumps({"prompt": "Once upon a time", "max_tokens": n, "stream": True,
                                                             "ignore_eos": True, "temperature": 0}))
            r = c.getresponse()
            if r.status != 200:
                return text, json.loads(r.read())["error"]["code"]
            while line := r.readline():
                if begun:
                    begun.release()
                    begun = None
                if line == b"data: [DONE]\n":
                    end = "done"
                elif line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        end = event["error"]["code"]
                    else:
                        text += "".join(c["text"] for c in event["choices"])
        except (http.client.HTTPException, OSError):
            assert end == "cut"
        finally:
            c.close()
        return text, end

    def workers(self):
        out = []
        for path in glob.glob(f"/proc/{self.proc.pid}/task/*/children"):
            with open(path) as f:
                out += [int(pid) for pid in f.read().split()]
        return out


def until(what, within_s=60):
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
    return found


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def written_down(home):
    """Bytes that the files beside partial ones say are there."""
    n = 0
    for name in glob.glob(os.path.join(home, "models", "partial", "*.parts")):
        try:
            with open(name) as f:
                n += sum(part[0] for part in json.load(f)["parts"])
        except (OSError, ValueError):  # it is just being written
            return 0
    return n


def in_the_middle(g, base, hub):
    """Two pulls and four streams under way; (the streams, what each would be undisturbed)"""
    want = g.stream(900)
    assert want[1] == "done"
    hub.fault(base + "big-Q8_0.gguf", slow=MIB)
    hub.fault(base + "m-Q4_0.gguf", slow=MIB)
    for what, name in (("org/repo:Q8_0", "big"), ("org/repo:Q4_0", "small")):
        assert g.call("POST", "/pull", {"model": "hf:" + what, "as": name})[0] == 202
    until(lambda: written_down(g.home) > 3 * MIB // 2)
    begun = threading.Semaphore(0)
    pool = concurrent.futures.ThreadPoolExecutor(4)
    streams = [pool.submit(g.stream, 900, begun) for _ in range(4)]
    for _ in streams:
        assert begun.acquire(timeout=60)
    return streams, want


def pulled_in_the_end(g, hub, base, before, slack):
    """After a start in the same home: both pulls go on by themselves, and nothing that was written down comes twice."""
    for name in ("big-Q8_0.gguf", "m-Q4_0.gguf"):
        hub.fault(base + name)
    jobs = until(lambda: (j := g.call("GET", "/jobs?kind=pull")[1]["jobs"]) and all(x["status"] == "completed" for x in j) and j)
    assert len(jobs) == 2
    sent = hub.sent(base + "big-Q8_0.gguf") + hub.sent(base + "m-Q4_0.gguf")
    assert sent <= len(DATA) + len(MODEL) + slack, (sent, before, len(DATA) + len(MODEL))
    for name, data in (("big", DATA), ("small", MODEL)):
        code, m = g.call("GET", "/models/" + name)
        assert code == 200 and m["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert g.call("POST", f"/models/{name}/verify", {})[0] == 200
    assert not glob.glob(os.path.join(g.home, "models", "partial", "*"))


def scene():
    hub = FakeHub()
    hub.__enter__()
    base = hub.hf_repo("org/repo", {"config.json": b'{"model_type": "llama"}', "big-Q8_0.gguf": DATA, "m-Q4_0.gguf": MODEL})
    return hub, base


def test_sigterm():
    hub, base = scene()
    with Gateway(hub) as g:
        g.start()
        streams, want = in_the_middle(g, base, hub)
        noted = written_down(g.home)
        g.proc.terminate()
        assert all(s.result() == want for s in streams)  # all had the time to be whole
        assert g.proc.wait(30) == 0
        partial = os.path.join(g.home, "models", "partial", "*")
        assert written_down(g.home) >= noted or not glob.glob(partial)  # a slow machine pulls all while streams finish
        g.start()
        pulled_in_the_end(g, hub, base, noted, slack=256 << 10)
        assert g.stream(900) == want
        g.proc.terminate()
        assert g.proc.wait(30) == 0
    hub.__exit__()


def test_sigterm_without_patience():
    """What is not answered in time ends with an event that says so."""
    hub, _ = scene()
    with Gateway(hub) as g:
        g.start("--parallel", "1", "--drain-timeout", "1")
        begun = threading.Semaphore(0)
        pool = concurrent.futures.ThreadPoolExecutor(40)
        streams = [pool.submit(g.stream, 1000, begun) for _ in range(40)]
        assert begun.acquire(timeout=60)
        until(lambda: g.call("GET", "/health")[1]["running"] + sum(s.done() for s in streams) >= 40)
        g.proc.terminate()
        ends = [s.result()[1] for s in streams]
        assert g.proc.wait(30) == 0
        assert set(ends) <= {"done", "shutting_down"}, ends
        assert "shutting_down" in ends, "this machine answers 40,000 tokens within a second"
    hub.__exit__()


def test_kill_9():
    hub, base = scene()
    with Gateway(hub) as g:
        g.start()
        streams, want = in_the_middle(g, base, hub)
        noted, workers = written_down(g.home), g.workers()
        assert workers
        g.proc.kill()
        g.proc.wait()
        for s in streams:  # they know that there was more to come
            text, end = s.result()
            assert end == "cut" and want[0].startswith(text)
        until(lambda: all(gone(pid) for pid in workers))  # nobody is left behind
        g.start()
        # What came after the last time that it was written down, and what was on its way, comes again.
        pulled_in_the_end(g, hub, base, noted, slack=3 * MIB)
        assert g.stream(900) == want
        g.proc.terminate()
        assert g.proc.wait(30) == 0
    hub.__exit__()


if __name__ == "__main__":
    run(__file__)
