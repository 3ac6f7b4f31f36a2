"""nginx in front of the gateway, as people run it: streams, kept connections, WebSocket, large bodies, clients that go."""
import concurrent.futures
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import DEMO, Server, generation, request, run

try:
    import pytest
    from websockets.sync.client import connect
except ImportError:
    run(__file__, "websockets")

NGINX = shutil.which("nginx") or next((p for p in ("/usr/sbin/nginx", "/usr/local/sbin/nginx") if os.path.exists(p)), None)
if not NGINX:
    print("skipped: there is no nginx (tools/bootstrap.sh test installs it)")
    sys.exit(77)

# What docs/gateway.md shows, with folders of our own.
CONFIG = """
daemon off; master_process off; worker_processes 1; error_log stderr warn; pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 64m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream corral {{ server {upstream}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://corral;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    def __init__(self, folder, upstream):
        for _ in range(5):  # somebody may take the port before nginx does
            self.port = free_port()
            conf = folder / "nginx.conf"
            conf.write_text(CONFIG.format(folder=folder, upstream=upstream, port=self.port))
            self.proc = subprocess.Popen([NGINX, "-p", str(folder), "-e", "stderr", "-c", str(conf)], stderr=subprocess.PIPE)
            end = time.monotonic() + 20
            while self.proc.poll() is None and time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return
                except OSError:
                    time.sleep(0.02)
            self.stop()
        raise AssertionError("nginx does not start")

    def stop(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(20)
        self.proc.stderr.close()


@pytest.fixture(scope="module", params=["port", "Unix socket"])
def front(request, tmp_path_factory):
    """(the gateway, nginx's port)"""
    folder = tmp_path_factory.mktemp("nginx")
    path = str(folder / "corral.sock")
    own = ["--socket", path] if request.param == "Unix socket" else []
    with Server("--parallel", "8", *own) as srv:
        nginx = Nginx(folder, f"unix:{path}" if own else f"127.0.0.1:{srv.port}")
        try:
            yield srv, nginx.port
        finally:
            nginx.stop()


def ask(port, method, path, body=None, headers=(), connection=None):
    """(status, headers, bytes)"""
    c = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, body, dict(headers))
    r = c.getresponse()
    answer = r.status, r.headers, r.read()
    if not connection:
        c.close()
    return answer


def health(port):
    return json.loads(ask(port, "GET", "/health")[2])


def running(port):
    return sum(s["in_flight"] for s in json.loads(ask(port, "GET", "/servers")[2])["servers"])


def cancelled(port):
    """Sequences of the worker that nobody wanted any more."""
    lines = ask(port, "GET", "/metrics")[2].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if '"cancelled"' in line)


def test_answers_and_kept_connections(front):
    _, port = front
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    texts = set()
    for _ in range(20):
        code, _, body = ask(port, "POST", "/v1/completions", generation(stream=False, n=5), connection=c)
        assert code == 200
        texts.add(json.loads(body)["choices"][0]["text"])
    assert len(texts) == 1
    assert health(port)["connections"] <= 4  # nginx keeps its own to the gateway, and uses them again
    code, _, body = ask(port, "POST", "/v1/completions", b"{")
    assert code == 400 and "JSON" in json.loads(body)["error"]["message"]


def pieces(port, n):
    """A stream as it comes from the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(request("/v1/completions", generation(n=n), headers=["Connection: close"]))
        out = []
        while piece := s.recv(65536):
            out.append(piece)
    return out


def test_streams_come_as_they_are_made(front):
    """Events are passed on as they are made, not when a buffer of 4 KiB on their way is full."""
    _, port = front
    most = 0  # pieces with events before 4 KiB are over; the first event comes with the head in any case
    for _ in range(30):  # a fast machine may have made many events before one of them is read
        at, n = 0, 0
        for piece in pieces(port, 100):
            at += len(piece)
            n += at < 4096 and b"data: {" in piece
        assert at > 3 * 4096
        most = max(most, n)
        if most >= 2:
            break
    assert most >= 2, "events waited for 4 KiB of others"
    whole = b"".join(pieces(port, 900))
    assert whole.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in whole and whole.count(b"data: {") > 800


def test_many_streams_at_once(front):
    _, port = front
    alone = ask(port, "POST", "/v1/completions", generation(n=60))[2]

    def events(body):  # without what is another each time
        return [[c["text"] for c in json.loads(line[6:])["choices"]] for line in body.decode().splitlines()
                if line.startswith("data: {")]

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        all_of = list(pool.map(lambda _: ask(port, "POST", "/v1/completions", generation(n=60))[2], range(24)))
    assert all("".join(sum(events(a), [])) == "".join(sum(events(alone), [])) for a in all_of)


def test_websocket(front):
    _, port = front
    with connect(f"ws://127.0.0.1:{port}/v1/ws") as ws:
        ws.send(json.dumps({"id": "a", "path": "/v1/completions", "body": {"prompt": "Once", "max_tokens": 8, "temperature": 0}}))
        got = []
        while not (got and got[-1].get("done")):
            got.append(json.loads(ws.recv(timeout=60)))
    assert all(m["id"] == "a" for m in got) and sum("data" in m for m in got) >= 8


def test_large_bodies(front):
    srv, port = front
    text = "word " * (1 << 20)  # 5 MiB
    code, _, body = ask(port, "POST", "/tokenize", json.dumps({"content": text}).encode())
    assert code == 200 and len(json.loads(body)["tokens"]) > 1 << 19
    code, _, body = ask(port, "POST", "/tokenize", json.dumps({"content": text * 4}).encode())  # over --max-body
    assert code == 413
    data = b"GGUF" + os.urandom(12 << 20)
    digest = hashlib.sha256(data).hexdigest()
    assert ask(port, "POST", "/api/blobs/sha256:" + digest, data)[0] == 201
    assert ask(port, "HEAD", "/api/blobs/sha256:" + digest)[0] == 200


def test_a_client_that_goes(front):
    """nginx hangs up at the gateway, which gives up what it asked for."""
    _, port = front
    before = cancelled(port)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(request("/v1/completions", json.dumps({**json.loads(generation(n=1000)), "n": 8}).encode()))
        assert s.recv(100)
    end = time.monotonic() + 20
    while running(port) or cancelled(port) <= before:
        assert time.monotonic() < end, "it is still being answered, or was to its end"
        time.sleep(0.05)


def test_forwarded_addresses_are_not_believed(front):
    """Nobody can be somebody else by a header: the log has the address of the connection."""
    srv, port = front
    code, _, _ = ask(port, "GET", "/livez", headers={"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "forwarded"})
    assert code == 200
    end = time.monotonic() + 10
    while not (lines := [line for line in srv.log if "id=forwarded" in line]):
        assert time.monotonic() < end, srv.log[-5:]
        time.sleep(0.02)
    assert "203.0.113.9" not in lines[0]


def test_request_ids_cross(front):
    _, port = front
    code, headers, _ = ask(port, "POST", "/v1/completions", generation(stream=False, n=2), {"X-Request-Id": "abc-1"})
    assert code == 200 and headers["X-Request-Id"] == "abc-1"


if __name__ == "__main__":
    assert os.path.exists(DEMO)
    run(__file__, "websockets")
