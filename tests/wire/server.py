"""Starts `corral serve` for the tests over HTTP, and talks to it in bytes.

A test file is run by ctest as a program: run(__file__) hands it to pytest, or exits with 77 (skipped) and says
why when .venv has not been filled (make venv)."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

CORRAL = os.environ.get("CORRAL", "build/corral")
SOURCE = os.environ.get("CORRAL_SOURCE", ".")
DEMO = os.path.join(SOURCE, "models", "demo.gguf")


def run(path, *needs):
    for name in ("pytest",) + needs:
        try:
            __import__(name)
        except ImportError:
            print(f"skipped: the Python package {name} is missing (make venv)")
            sys.exit(77)
    import pytest
    with tempfile.TemporaryDirectory(prefix="corral-", ignore_cleanup_errors=True) as home:  # the user's own is no test's business
        os.environ["CORRAL_HOME"] = home
        sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", path]))


class Server:
    """One `corral serve`, or another command; use it in a with statement."""
    command = ("serve",)

    def __init__(self, *args, model=DEMO, port="0"):
        self.home = tempfile.mkdtemp(prefix="corral-")  # one server owns a home
        self.proc = subprocess.Popen([CORRAL, *self.command, model, "--port", port, *args], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, env={**os.environ, "CORRAL_HOME": self.home})
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.proc.stderr), daemon=True)
        self.reader.start()
        self.ready = self.proc.stdout.readline()
        found = re.match(r"corral: ready: (\S+) serves (\S+)", self.ready)
        if not found:
            self.proc.kill()
        assert found, f"not ready: {self.ready!r} {self.log}"
        self.url, self.name = found.groups()
        self.port = int(self.url.rsplit(":", 1)[1]) if self.url.startswith("http") else None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0]:
            self.proc.kill()
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                raise
        self.reader.join(5)
        shutil.rmtree(self.home, ignore_errors=True)
        if not exc[0]:
            assert self.proc.returncode == 0, f"exit {self.proc.returncode}: {self.log[-20:]}"

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def raw(self, data, timeout=20):
        """Send bytes, read until the server closes."""
        with self.connect(timeout) as s:
            s.sendall(data)
            return drain(s)

    def post(self, path, body, timeout=60):
        """(status, headers, JSON)"""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.open(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}), timeout)

    def get(self, path, timeout=20):
        return self.open(urllib.request.Request(self.url + path), timeout)

    def open(self, request, timeout):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return r.status, r.headers, json.load(r)
        except urllib.error.HTTPError as e:
            return e.code, e.headers, json.load(e)

    def health(self):
        return self.get("/health")[2]

    def worker_health(self):
        """What the model's own process says, straight or through the gateway."""
        h = self.health()
        return h if "kv_blocks" in h else self.get(f"/upstream/{self.name}/health")[2]

    def idle(self, within_s=5.0):
        """Nothing runs, nothing is queued, all KV blocks are free."""
        end = time.monotonic() + within_s
        while True:
            h = self.worker_health()
            if h["running"] == h["queued"] == 0 and h["kv_blocks"] == h["kv_blocks_free"]:
                return h
            assert time.monotonic() < end, h
            time.sleep(0.02)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def memory_kib(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


class Worker(Server):
    """One `corral worker`: for what is its own, and nothing that the gateway passes on."""
    command = ("worker",)


def drain(s):
    out = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := s.recv(65536):
            out += piece
    return out


def request(path, body=b"", method="POST", headers=(), version="1.1"):
    head = [f"{method} {path} HTTP/{version}", "Host: corral"]
    if body or method == "POST":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


def generation(stream=True, n=400, **more):
    return json.dumps({"prompt": "Once upon a time", "max_tokens": n, "stream": stream, "ignore_eos": True,
                       "temperature": 0, **more}).encode()


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else 0


SIGTERM, SIGHUP = signal.SIGTERM, signal.SIGHUP
