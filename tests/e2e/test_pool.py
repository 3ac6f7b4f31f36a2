#!/usr/bin/env python3
"""corral serve with several models: worker processes come, go, crash and are replaced while clients are answered."""
import concurrent.futures
import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import CORRAL, DEMO, run

STORIES = os.path.join(os.environ.get("CORRAL_SHARED", ""), "models", "stories260K.gguf")


class Gateway:
    """`corral serve` of a home of its own, with models a, b (the demo model) and, where it is there, stories."""

    def __init__(self, *args):
        self.home = tempfile.mkdtemp(prefix="corral-pool-")
        models = os.path.join(self.home, "models")
        os.makedirs(models)
        shutil.copy(DEMO, os.path.join(models, "a.gguf"))
        shutil.copy(DEMO, os.path.join(models, "b.gguf"))
        third = STORIES if os.path.exists(STORIES) else DEMO
        shutil.copy(third, os.path.join(models, "c.gguf"))
        with open(os.path.join(models, "bad.gguf"), "wb") as f:
            f.write(b"GGUF" + bytes(range(256)) * 8)
        env = {**os.environ, "CORRAL_HOME": self.home, "CORRAL_CTX": "512", "CORRAL_PARALLEL": "4"}
        self.proc = subprocess.Popen([CORRAL, "serve", "--port", "0", "--drain-timeout", "5", *args], env=env,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.proc.stderr), daemon=True).start()
        ready = self.proc.stdout.readline()
        found = re.match(r"corral: ready: (\S+)", ready)
        assert found, (ready, self.log)
        self.url = found[1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        workers = self.workers()
        self.proc.terminate()
        try:
            self.proc.wait(30)
        finally:
            self.proc.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        if not exc[0]:
            assert self.proc.returncode == 0, self.log[-20:]
            assert not [w for w in workers if os.path.exists(f"/proc/{w}/exe")], "a worker outlived the gateway"

    def workers(self):
        """{pid: name of its model}"""
        out = {}
        for path in glob.glob(f"/proc/{self.proc.pid}/task/*/children"):
            try:
                with open(path) as f:
                    pids = f.read().split()
                for pid in pids:
                    with open(f"/proc/{pid}/cmdline") as f:
                        words = f.read().split("\0")
                    if "worker" in words:
                        out[int(pid)] = words[words.index("--name") + 1].removesuffix(":latest")
            except (OSError, ValueError):
                pass
        return out

    def ready(self):
        """Process ids of workers that answer: one that is killed three times while it loads is given up."""
        with urllib.request.urlopen(self.url + "/servers", timeout=20) as r:
            return sorted(s["process"] for s in json.load(r)["servers"] if s["state"] == "ready" and s["process"])

    def post(self, path, body, timeout=60):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return r.status, json.loads(r.read() or b"null")
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read() or b"null")

    def text(self, model, prompt="Once upon a time", n=8):
        status, answer = self.post("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": n, "temperature": 0})
        assert status == 200, (model, status, answer)
        assert answer["model"] == model, answer
        return answer["choices"][0]["text"]

    def stream(self, model, prompt, n, seed):
        body = {"model": model, "prompt": prompt, "max_tokens": n, "seed": seed, "temperature": 0.8, "stream": True,
                "ignore_eos": True}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        text, done, ids = "", False, set()
        with urllib.request.urlopen(request, timeout=120) as r:
            for line in r:
                if line.strip() == b"data: [DONE]":
                    done = True
                elif line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    assert "error" not in event, event
                    ids.add(event["id"])
                    text += "".join(c["text"] for c in event["choices"])
        assert len(ids) == 1, ids
        return text, done


def wait_until(what, within_s=20):
    end = time.monotonic() + within_s
    while not (value := what()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


def test_models_are_loaded_on_demand():
    with Gateway() as g:
        assert not set(g.workers().values()) & {"a", "b", "c"}
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            texts = list(pool.map(g.text, ["a", "b", "c", "a", "b", "c"]))
        assert texts[:3] == texts[3:] and texts[0] == texts[1] and all(texts)
        assert sorted(set(g.workers().values()) & {"a", "b", "c"}) == ["a", "b", "c"]
        status, answer = g.post("/v1/completions", {"model": "nobody", "prompt": "x"})
        assert status == 404 and "nobody" in json.dumps(answer), answer
        status, answer = g.post("/v1/completions", {"model": "bad", "prompt": "x"})
        assert status >= 500 and "bad" in json.dumps(answer), answer
        assert g.text("a") == texts[0]


def test_idle_models_make_room_and_leave():
    with Gateway("--max-models", "1") as g:
        for model in ("a", "b", "c", "a"):
            assert g.text(model)
            wait_until(lambda: list(g.workers().values()) == [model])
        status, _ = g.post("/api/generate", {"model": "a", "prompt": "Once", "stream": False, "keep_alive": 0,
                                             "options": {"num_predict": 2}})
        assert status == 200
        wait_until(lambda: not g.workers())


def test_a_worker_that_wants_too_much_memory():
    """What --worker-memory does not allow fails alone, says why, and is not tried again and again."""
    with Gateway("--worker-memory", "160M") as g:
        request = urllib.request.Request(g.url + "/models/b/options", b'{"kv_bytes": 1073741824}', method="PATCH")
        with urllib.request.urlopen(request, timeout=20) as r:
            assert r.status == 200
        before = g.text("a")
        code, answer = g.post("/v1/completions", {"model": "b", "prompt": "Once", "max_tokens": 2})
        assert code == 500, answer
        assert "no memory" in answer["error"]["message"] and "160.0 MiB (--worker-memory)" in answer["error"]["message"], answer
        assert g.text("a") == before
        assert sum("pool: load model=b:latest" in line for line in g.log) == 1, g.log
        limits = {}
        for pid, name in g.workers().items():
            with open(f"/proc/{pid}/limits") as f:
                limits[name] = [line.split()[3:5] for line in f if line.startswith("Max data size")][0]
        assert limits["a"] == [str(160 << 20)] * 2, limits


def test_workers_die_and_no_stream_notices():
    jobs = [(random.Random(i).choice("ab"), f"Once upon a time {i}", 600, i) for i in range(24)]
    with Gateway() as g:
        whole = [g.stream(*job) for job in jobs[:6]]  # undisturbed
        assert all(done for _, done in whole)
        stop, killed = threading.Event(), []

        def kill():
            rng = random.Random(4)
            while not stop.wait(0.15) and len(killed) < 5:
                for pid in rng.sample(there := g.ready(), k=min(1, len(there))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            texts = list(pool.map(lambda job: g.stream(*job), jobs))
        stop.set()
        killer.join()
        assert len(killed) >= 2, "the streams were over too soon"
        assert all(done for _, done in texts)
        assert texts[:6] == whole  # byte for byte what nobody disturbed
        again = [g.stream(*job) for job in jobs[6:10]]
        assert texts[6:10] == again


def test_a_new_generation_takes_over():
    with Gateway() as g:
        first = g.text("a")
        old = [pid for pid, name in g.workers().items() if name == "a"]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            slow = pool.submit(g.stream, "a", "Once", 200, 1)
            status, answer = g.post("/models/a/reload", {})
            assert status < 300, answer
            for _ in range(50):  # answered all the time
                assert g.text("a", n=2)
                if not set(old) & set(g.workers()):
                    break
                time.sleep(0.1)
            assert slow.result()[1]
        wait_until(lambda: not set(old) & set(g.workers()))
        assert g.text("a") == first
        assert os.path.exists(os.path.join(g.home, "logs", "a_latest.log"))


if __name__ == "__main__":
    if "--max-models" not in subprocess.run([CORRAL, "serve", "--help"], capture_output=True, text=True).stdout:
        print("skipped: this corral serve runs one model, without a gateway")
        sys.exit(77)
    run(__file__)
