"""corral serve from below: bytes on sockets, deadlines, clients that go, signals."""
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import server as wire
from server import Worker as Server, drain, generation, request, status

try:
    import pytest
except ImportError:
    wire.run(__file__)


def until(true, within_s=5.0):
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "8", "--head-timeout", "1", "--body-timeout", "1", "--write-timeout", "2",
                "--idle-timeout", "2", "--max-body", "100k", "--quiet") as s:
        yield s


MALFORMED = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET /\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_requests_are_refused_and_cut(srv, data):
    # What follows must not be taken for a second request.
    answer = srv.raw(data + b"GET /health HTTP/1.1\r\nHost: smuggled\r\n\r\n")
    assert status(answer) == 400 and answer.count(b"HTTP/1.1 ") == 1
    body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert body["error"]["type"] == "invalid_request_error" and body["error"]["message"]


@pytest.mark.parametrize("data, code", [
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 431),
    (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: a-miracle\r\n\r\n", 417),
    (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", 413),
])
def test_limits(srv, data, code):
    assert status(srv.raw(data)) == code


def test_too_large_a_body_is_refused_at_the_header_and_while_it_comes(srv):
    with srv.connect() as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n")
        assert status(drain(s)) == 413  # and no 100 before it
    with srv.connect() as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                s.sendall(b"1000\r\n" + b"a" * 4096 + b"\r\n")
        except OSError:
            pass
        assert status(drain(s)) == 413


def test_keep_alive_and_pipelining(srv):
    one = request("/v1/completions", generation(stream=False, n=3))
    two = request("/v1/completions", generation(stream=True, n=3))
    last = request("/health", method="GET", headers=["Connection: close"])
    answer = srv.raw(request("/health", method="GET") + one + two + b"\r\n" + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    order = [answer.index(x) for x in (b'"status":"healthy"', b'"finish_reason":"length"', b"data: [DONE]")]
    assert order == sorted(order) and answer.rindex(b'"status":"healthy"') > order[-1]


def test_a_body_in_chunks(srv):
    body = generation(stream=False, n=3)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body))) + b"0\r\nTrailer: x\r\n\r\n"
    assert status(srv.raw(head + b"\r\n" + chunks)) == 200
    with srv.connect() as s:
        s.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(chunks)
        assert status(drain(s)) == 200


@pytest.mark.parametrize("first", [
    b"",
    b"GET /health HTTP/1.1\r\nX: ",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
])
def test_slow_loris(srv, first):
    start = time.monotonic()
    with srv.connect() as s:
        s.sendall(first)
        s.settimeout(0.1)
        answer = b""
        while time.monotonic() - start < 6:
            try:
                piece = s.recv(4096)
                answer += piece
                if not piece:
                    break
            except TimeoutError:
                try:
                    s.sendall(b"1" if first else b"")
                except OSError:
                    break
            except OSError:
                break
    assert 0.7 < time.monotonic() - start < 4
    assert status(answer) == (408 if first else 0)


def test_idle_connections_are_closed(srv):
    with srv.connect() as s:
        s.sendall(request("/health", method="GET"))
        start = time.monotonic()
        assert status(drain(s)) == 200
        assert 1.5 < time.monotonic() - start < 5


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_sequence(srv, how, stream):
    srv.idle()
    s = srv.connect()
    s.sendall(request("/v1/completions", generation(stream, n=900)))
    if stream:
        assert s.recv(10)
    end = time.monotonic() + 5
    while srv.health()["running"] == 0 and not stream and time.monotonic() < end:
        time.sleep(0.005)
    if how == "half-close":
        s.shutdown(socket.SHUT_WR)
    elif how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    else:
        s.close()
    srv.idle(2)
    time.sleep(0.1)  # a report may be 50 ms old
    before = srv.worker_health()["completion_tokens"]
    time.sleep(0.1)
    assert srv.worker_health()["completion_tokens"] == before
    s.close()


def test_a_hundred_clients_vanish_in_mid_stream(srv):
    def round_of_clients():
        clients = [srv.connect() for _ in range(100)]
        for c in clients:
            c.sendall(request("/v1/completions", generation(n=900)))
        for c in clients[:8]:
            assert c.recv(10)
        for c in clients:
            c.close()
        srv.idle(10)

    # Every page of the KV cache is touched once, or its first use would look like a leak.
    assert srv.post("/v1/completions", {"prompt": [[5] * 1000] * 8, "max_tokens": 1})[0] == 200
    round_of_clients()
    time.sleep(0.2)
    descriptors, memory = srv.descriptors(), srv.memory_kib()
    for _ in range(5):
        round_of_clients()
    time.sleep(0.2)
    assert srv.descriptors() <= descriptors
    assert srv.memory_kib() - memory < 4096
    assert srv.post("/v1/completions", generation(False, 3))[0] == 200


def test_a_reader_that_stops_is_cut(srv):
    srv.idle()
    memory = srv.memory_kib()
    body = json.dumps({"prompt": ["a"] * 8, "max_tokens": 1000, "ignore_eos": True, "stream": True, "n": 8,
                       "logprobs": 20}).encode()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", srv.port))
        s.sendall(request("/v1/completions", body))
        srv.idle(60)  # cut at the write deadline; its 64 sequences are not computed to their ends for nobody
        assert srv.memory_kib() - memory < 100 * 1024
        assert drain(s)  # what was sent before


def test_request_ids_and_odd_methods(srv):
    answer = srv.raw(request("/health", method="GET", headers=["X-Request-Id: mine-1", "Connection: close"]))
    assert b"\r\nX-Request-Id: mine-1\r\n" in answer
    answer = srv.raw(request("/v1/models", method="HEAD", headers=["Connection: close"]))
    assert status(answer) == 200 and answer.endswith(b"\r\n\r\n")
    answer = srv.raw(request("/v1/models", method="DELETE", headers=["Connection: close"]))
    assert status(answer) == 405 and b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer
    assert status(srv.raw(request("/nothing", method="GET", headers=["Connection: close"]))) == 404


def test_a_full_queue_is_answered_429():
    with Server("--parallel", "1", "--queue", "2", "--ctx", "30000", "--quiet") as s:
        def state():
            h = s.health()
            return h["running"], h["queued"]
        clients = [s.connect() for _ in range(3)]
        for i, c in enumerate(clients):  # one runs, two wait
            c.sendall(request("/v1/completions", generation(n=20000)))
            until(lambda i=i: state() == (1, i))
        code, headers, body = s.post("/v1/completions", generation(n=5))
        assert code == 429 and headers["Retry-After"] and body["error"]["code"] == "queue_full"
        assert s.health()["running"] == 1
        for c in clients:
            c.close()
        s.idle()
        assert s.post("/v1/completions", generation(False, 5))[0] == 200


def test_a_client_that_goes_while_it_waits_leaves_the_queue():
    with Server("--parallel", "1", "--ctx", "30000", "--quiet") as s:
        first, waiting = s.connect(), s.connect()
        first.sendall(request("/v1/completions", generation(n=20000)))
        assert first.recv(10)
        waiting.sendall(request("/v1/completions", generation(n=5)))
        until(lambda: s.health()["queued"] == 1)
        waiting.close()
        until(lambda: s.health()["queued"] == 0)
        first.close()
        s.idle()


def test_api_keys():
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("# of the team\nsecret-two\n\n")
        f.flush()
        with Server("--api-key", "secret-one", "--api-key-file", f.name, "--quiet") as s:
            for header, code in [((), 401), (["Authorization: Bearer secret-one"], 200), (["Authorization: bearer secret-two"], 200),
                                 (["X-Api-Key: secret-two"], 200), (["Authorization: Bearer secret-on"], 401),
                                 (["Authorization: Bearer secret-onf"], 401), (["Authorization: Basic secret-one"], 401)]:
                answer = s.raw(request("/v1/models", method="GET", headers=["Connection: close", *header]))
                assert status(answer) == code, header
                if code == 401:
                    assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
                    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "invalid_api_key"
            assert s.health()["status"] == "healthy"
            # A stranger's body is not waited for.
            assert status(s.raw(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")) == 401
    p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--api-key", "short"], capture_output=True, text=True, timeout=20)
    assert p.returncode != 0 and "between 8" in p.stderr


def test_a_signal_lets_streams_finish():
    with Server("--quiet") as s:
        c, idle = s.connect(), s.connect()
        c.sendall(request("/v1/completions", generation(n=300)))
        assert c.recv(10)
        s.proc.send_signal(wire.SIGTERM)
        assert idle.recv(1) == b""
        with pytest.raises(OSError):
            s.connect().close()
        assert b"data: [DONE]" in drain(c)
        assert s.proc.wait(10) == 0


def test_a_second_signal_quits():
    with Server("--quiet", "--draft-max", "0") as s:
        c = s.connect()
        c.sendall(request("/v1/completions", generation(n=900)))
        assert c.recv(10)
        s.proc.send_signal(wire.SIGTERM)
        time.sleep(0.05)
        s.proc.send_signal(wire.SIGTERM)
        assert s.proc.wait(5) == 0
        assert b"[DONE]" not in drain(c)


def test_the_drain_has_a_deadline():
    with Server("--quiet", "--drain-timeout", "0.3", "--parallel", "1") as s:
        clients = [s.connect() for _ in range(40)]
        for c in clients:
            c.sendall(request("/v1/completions", generation(n=900)))
        assert clients[0].recv(10)
        start = time.monotonic()
        s.proc.send_signal(wire.SIGTERM)
        assert s.proc.wait(10) == 0
        assert time.monotonic() - start < 3


def test_several_threads():
    with Server("--http-threads", "3", "--parallel", "8", "--quiet") as s:
        clients = [s.connect() for _ in range(24)]
        for c in clients:
            c.sendall(request("/v1/completions", generation(n=40), headers=["Connection: close"]))
        answers = [drain(c) for c in clients]
        assert all(a.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for a in answers)
        assert len({re.sub(rb'"(id|created)":("[^"]*"|\d+)|X-Request-Id.*|Date.*', b"", a.split(b"\r\n\r\n", 1)[0]) for a in answers}) == 1
        # Another server cannot join in: the port is taken although this one shares it among its own threads.
        p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--http-threads", "2", "--port", str(s.port)],
                           capture_output=True, text=True, timeout=20)
        assert p.returncode == 1 and f"port {s.port}" in p.stderr
        s.idle()


def test_a_port_in_use_is_a_clear_error(srv):
    p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--port", str(srv.port)], capture_output=True, text=True, timeout=20)
    assert p.returncode == 1 and f"port {srv.port}" in p.stderr and "--port" in p.stderr
    p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--port", "70000"], capture_output=True, text=True, timeout=20)
    assert p.returncode == 2 and "65535" in p.stderr


def test_a_unix_socket():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "s")
        with Server("--socket", path, "--quiet") as s:
            assert s.url == path and os.stat(path).st_mode & 0o077 == 0
            with socket.socket(socket.AF_UNIX) as c:
                c.connect(path)
                c.sendall(request("/health", method="GET", headers=["Connection: close"]))
                assert b'"status":"healthy"' in drain(c)
        assert not os.path.exists(path)


def zstd_frame(data):
    """Stored: one raw block."""
    block = len(data) << 3 | 1
    return b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little") + block.to_bytes(3, "little") + data


BOMB_BLOCKS = [(131072 << 3 | 1 << 1 | last).to_bytes(3, "little") + b" " for last in (0, 1)]
BOMB = b"\x28\xb5\x2f\xfd\x00\x38" + BOMB_BLOCKS[0] * 20000 + BOMB_BLOCKS[1]  # 80 kB of 2.6 GB


@pytest.mark.parametrize("coding, body, code", [
    ("gzip", gzip.compress(generation(False, 2)), 200),
    ("x-gzip", gzip.compress(generation(False, 2)), 200),
    ("zstd", zstd_frame(generation(False, 2)), 200),
    ("identity", generation(False, 2), 200),
    ("gzip", gzip.compress(generation(False, 2, user="x" * 99000)), 200),
    ("gzip", gzip.compress(b"{" + b" " * 50_000_000), 413),
    ("zstd", BOMB, 413),
    ("gzip", gzip.compress(generation(False, 2))[:-6], 400),
    ("gzip", gzip.compress(generation(False, 2)) + b"more", 400),
    ("gzip", b"no gzip at all", 400),
    ("zstd", zstd_frame(generation(False, 2))[:-3], 400),
    ("zstd", zstd_frame(b"{}") + b"more", 400),
    ("zstd", b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\0\0\0", 400),
    ("br", b"{}", 415),
    ("gzip, gzip", b"{}", 415),
])
def test_packed_requests(srv, coding, body, code):
    memory = srv.memory_kib()
    answer = srv.raw(request("/v1/completions", body, headers=[f"Content-Encoding: {coding}", "Connection: close"]))
    assert status(answer) == code and srv.memory_kib() - memory < 4096


def test_packed_answers():
    with Server("--quiet", *(x for i in range(30) for x in ("--alias", f"name-{i}"))) as s:
        def get(accept, path="/v1/models"):
            headers = ["Connection: close"] + ([f"Accept-Encoding: {accept}"] if accept else [])
            head, body = s.raw(request(path, method="GET", headers=headers)).split(b"\r\n\r\n", 1)
            assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
            return head, body
        head, plain = get(None)
        assert b"Vary: Accept-Encoding" in head and b"Content-Encoding" not in head and len(json.loads(plain)["data"]) == 31
        for accept in ("gzip", "br, gzip;q=0.5", "deflate , GZIP ; q=1.0"):
            head, body = get(accept)
            assert b"\r\nContent-Encoding: gzip" in head and gzip.decompress(body) == plain and len(body) < len(plain) / 3
        head, body = get("gzip, zstd")
        assert b"\r\nContent-Encoding: zstd" in head and body.startswith(b"\x28\xb5\x2f\xfd")
        for accept in ("gzip;q=0", "gzip; q=0.000", "br", "gzippy", "identity"):
            assert get(accept)[1] == plain
        assert b"Content-Encoding" not in get("gzip", "/health")[0]  # too small to gain


def test_a_passed_socket_and_notifications(tmp_path):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    listener = socket.create_server(("127.0.0.1", 0))
    early = socket.create_connection(listener.getsockname())  # before the server is there
    early.sendall(request("/livez", method="GET", headers=["Connection: close"]))
    start = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
             "os.execv(sys.argv[2], sys.argv[2:])")
    p = subprocess.Popen([sys.executable, "-c", start, str(listener.fileno()), wire.CORRAL, "serve", wire.DEMO, "--quiet"],
                         pass_fds=[listener.fileno()], env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
                         stdout=subprocess.PIPE, text=True)
    try:
        assert notify.recv(100) == b"READY=1"
        assert f":{listener.getsockname()[1]} serves" in p.stdout.readline()
        assert status(drain(early)) == 200
        p.terminate()
        assert notify.recv(100) == b"STOPPING=1" and p.wait(10) == 0
    finally:
        p.kill()
        p.wait()


def test_the_log_in_json():
    with Server("--log-json") as s:
        s.raw(request("/health?secret", method="GET", headers=["Connection: close", "X-Request-Id: id-7"]))
        s.post("/v1/completions", generation(False, 3))
    lines = [json.loads(line) for line in s.log]
    access = [x for x in lines if x["event"] == "access"]
    assert access[0]["id"] == "id-7" and access[0]["status"] == 200 and access[0]["path"] == "/health"
    assert access[1]["method"] == "POST" and access[1]["bytes_out"] > 100 and access[1]["complete"] is True
    assert "secret" not in "".join(s.log)


def test_whom_a_proxy_names():
    """How the headers are read: tests/unit/http_forwarded.c. Here: which one is, of whom, and what the log says."""
    both = ["X-Forwarded-For: 1.1.1.1, 203.0.113.7", "Forwarded: for=1.1.1.1, for=\"[2001:db8::1]:443\";proto=https"]
    cases = [  # header lines; who it is by each of them, None: nobody is named
        ([], None, None),
        (both, "203.0.113.7", "2001:db8::1"),
        (both[:1], "203.0.113.7", None),
        (both[1:], None, "2001:db8::1"),
        (["x-forwarded-for: 203.0.113.7", "x-forwarded-for: 10.1.2.3", "forwarded: for=203.0.113.8", "forwarded: for=10.1.2.3"],
         "203.0.113.7", "203.0.113.8"),
        (["X-Forwarded-For: nonsense", "Forwarded: for=_hidden"], None, None),
    ]

    def ask(*flags):
        with Server("--log-json", *flags) as s:
            for lines, *_ in cases:
                s.raw(request("/livez", method="GET", headers=["Connection: close", *lines]))
            s.proc.terminate()
            s.proc.wait(20)
            s.reader.join(5)
            return [x for x in map(json.loads, s.log) if x["event"] == "access"]

    ours = ["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8"]
    for which, flags in ((1, ours), (2, [*ours, "--proxy-header", "forwarded"]), (0, ours[2:])):  # 0: we are no proxy
        for case, line in zip(cases, ask(*flags), strict=True):
            named = which and case[which]
            assert line["peer"] == named if named else line["peer"].startswith("127.0.0.1:"), (case, flags, line)
            assert line.get("via", "").startswith("127.0.0.1:") == bool(named), (case, flags, line)


def test_clients_of_a_proxy_are_counted_one_by_one():
    with Server("--quiet", "--max-per-address", "1", "--trusted-proxy", "127.0.0.1") as s:
        def ask(who, n):
            c = s.connect()
            c.sendall(request("/v1/completions", generation(n=n), headers=["Connection: close", f"X-Forwarded-For: {who}"]))
            return c
        first = ask("203.0.113.7", 1000)
        assert first.recv(1000)
        assert status(drain(ask("203.0.113.7", 2))) == 503
        assert status(drain(ask("203.0.113.8", 2))) == 200
        first.close()
        end = time.monotonic() + 20
        while status(drain(ask("203.0.113.7", 2))) != 200:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_options_that_would_have_no_effect():
    cases = [
        (["--trusted-proxy", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--proxy-header", "forwarded"], "--trusted-proxy"),
        (["--hsts", "60"], "--tls-cert"),
    ]
    for flags, why in cases:
        p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--port", "0", *flags], capture_output=True, text=True, timeout=60)
        assert p.returncode == 2 and why in p.stderr, (flags, p)


def test_health_answers_while_streams_run(srv):
    stop, worst = threading.Event(), [0.0]

    def poll():
        while not stop.is_set():
            start = time.monotonic()
            assert srv.health()["status"] == "healthy"
            worst[0] = max(worst[0], time.monotonic() - start)
            time.sleep(0.01)

    t = threading.Thread(target=poll)
    t.start()
    clients = [srv.connect() for _ in range(16)]
    for c in clients:
        c.sendall(request("/v1/completions", generation(n=60), headers=["Connection: close"]))
    for c in clients:
        assert b"[DONE]" in drain(c)
    stop.set()
    t.join()
    assert worst[0] < 1.0


if __name__ == "__main__":
    wire.run(__file__)
