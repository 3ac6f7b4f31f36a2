#!/usr/bin/env python3
"""corral worker: what it reports to the process that started it, and --any-model."""
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import CORRAL, DEMO, run


class Worker:
    """As the gateway starts one: on a Unix socket, with a pipe for reports."""

    def __init__(self, *args, model=DEMO):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "w.sock")
        r, w = os.pipe()
        self.proc = subprocess.Popen([CORRAL, "worker", "--socket", self.path, *args, model], pass_fds=[w],
                                     env={**os.environ, "CORRAL_REPORT_FD": str(w)}, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)
        os.close(w)
        self.reports = os.fdopen(r)

    def events(self):
        """Until the last one that loading has."""
        out = []
        for line in self.reports:
            out.append(json.loads(line))
            if out[-1]["event"] in ("ready", "error"):
                break
        return out

    def post(self, path, body):
        c = http.client.HTTPConnection("localhost")
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(30)
        c.sock.connect(self.path)
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait(20)
        self.proc.stderr.close()
        self.reports.close()
        self.dir.cleanup()


def test_reports_how_loading_goes():
    with Worker("--ctx", "256", "--parallel", "3") as w:
        events = w.events()
        ready = events[-1]
        assert ready["event"] == "ready" and ready["context"] == 256 and ready["parallel"] == 3, events
        assert ready["pid"] == w.proc.pid and ready["plan"]["kv_blocks"] >= 16
        progress = [e for e in events if e["event"] == "progress"]
        assert progress and progress[-1]["done"] == progress[-1]["total"] > 0, events
        assert all(e["done"] <= e["total"] for e in progress)
        with open(f"/proc/{w.proc.pid}/environ") as f:
            assert "CORRAL_REPORT_FD" in f.read()  # what it was started with; what it starts itself has it not
        assert w.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})[0] == 200


def test_reports_why_it_cannot():
    with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
        f.write(b"no model at all" * 10)
        f.flush()
        for model, code in ((f.name, "format error"), ("/nonexistent.gguf", "not found")):
            with Worker(model=model) as w:
                event = w.events()[-1]
                assert event["event"] == "error" and event["code"] == code, event
                assert event["message"] in w.proc.stderr.read()
                assert w.proc.wait(10) == 1


def test_serves_without_anybody_who_listens():
    with Worker() as w:
        w.reports.close()  # a pipe that breaks is no reason to end
        for _ in range(200):
            if os.path.exists(w.path):
                break
            try:
                w.proc.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
        assert w.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})[0] == 200


CHAT = [{"role": "user", "content": "Hi"}]
ANSWERS = [  # path, body without the model, where the answer has its name
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 2}, lambda a: a["model"]),
    ("/v1/completions", {"prompt": "Once", "max_tokens": 2}, lambda a: a["model"]),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 16}, lambda a: a["model"]),
    ("/v1/embeddings", {"input": "Hi"}, lambda a: a["model"]),
    ("/v1/messages", {"messages": CHAT, "max_tokens": 2}, lambda a: a["model"]),
    ("/api/chat", {"messages": CHAT, "stream": False, "options": {"num_predict": 2}}, lambda a: a["model"]),
    ("/api/generate", {"prompt": "Once", "stream": False, "options": {"num_predict": 2}}, lambda a: a["model"]),
    ("/completion", {"prompt": "Once", "n_predict": 2}, lambda a: a["model"]),
]


def test_any_model():
    with Worker("--any-model", "--name", "real") as w:
        assert w.events()[-1]["event"] == "ready"
        for path, body, name in ANSWERS:
            for asked in ("Some/Name:latest", None):
                if asked is None and path in ("/api/chat", "/api/generate"):
                    continue  # there a model is required
                status, answer = w.post(path, {**body, **({"model": asked} if asked else {})})
                assert status == 200, (path, answer)
                assert name(answer) == (asked or "real"), (path, answer)
    with Worker("--name", "real") as w:
        assert w.events()[-1]["event"] == "ready"
        assert w.post("/v1/completions", {"model": "other", "prompt": "x", "max_tokens": 1})[0] == 404


if __name__ == "__main__":
    run(__file__)
