"""corral serve over HTTP/2, in frames: many requests on one connection, windows, and what the ill-meaning send."""
import json
import socket
import ssl
import time

import server as wire
from server import Worker as Server, generation

try:
    import pytest
    from hpack import Decoder, Encoder
    from hyperframe import frame as hf
except ImportError:
    wire.run(__file__, "h2")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, CONNECT, CALM = range(12)


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "8", "--head-timeout", "1", "--body-timeout", "1", "--write-timeout", "1.5", "--idle-timeout", "2",
                "--max-body", "300k", "--queue", "400", "--max-streams", "100", "--quiet") as s:
        yield s


class H2:
    """One connection; frames go in and out as they are."""

    def __init__(self, srv, settings=None, sock=None, preface=True):
        self.sock = sock or srv.connect()
        self.enc, self.dec, self.buf, self.next_id = Encoder(), Decoder(), b"", 1
        self.got, self.closed, self.goaway = {}, False, None
        if preface:
            self.sock.sendall(PREFACE)
            self.send(hf.SettingsFrame(0, settings=settings or {}))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, *frames):
        self.sock.sendall(b"".join(f.serialize() for f in frames))

    def head(self, method="GET", path="/health", more=(), authority="corral"):
        return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *more]

    def ask(self, head=None, body=None, end=True, raw=None):
        """Returns the stream's number."""
        sid, self.next_id = self.next_id, self.next_id + 2
        f = hf.HeadersFrame(sid, raw if raw is not None else self.enc.encode(head or self.head()))
        f.flags.add("END_HEADERS")
        if body is None and end:
            f.flags.add("END_STREAM")
        out = [f]
        if body is not None:
            for at in range(0, len(body), 16384):
                d = hf.DataFrame(sid, body[at:at + 16384])
                if end and at + 16384 >= len(body):
                    d.flags.add("END_STREAM")
                out.append(d)
        self.send(*out)
        return sid

    def post(self, body, path="/v1/completions", **more):
        return self.ask(self.head("POST", path), body, **more)

    def stream(self, sid):
        return self.got.setdefault(sid, {"headers": None, "data": b"", "end": False, "reset": None})

    def take(self, f):
        s = self.stream(f.stream_id)
        if isinstance(f, hf.HeadersFrame):
            s["headers"] = {str(k): str(v) for k, v in self.dec.decode(f.data)}
        elif isinstance(f, hf.DataFrame):
            s["data"] += f.data
        elif isinstance(f, hf.RstStreamFrame):
            s["reset"] = f.error_code
        elif isinstance(f, hf.GoAwayFrame):
            self.goaway = f.error_code
        elif isinstance(f, hf.SettingsFrame) and "ACK" not in f.flags:
            try:
                self.send(hf.SettingsFrame(0, flags=["ACK"]))
            except OSError:
                pass
        if "END_STREAM" in getattr(f, "flags", ()):
            s["end"] = True
        return f

    def until(self, done, within_s=10.0):
        """Read frames until done() or the connection ends; False when time ran out."""
        end = time.monotonic() + within_s
        while not done() and not self.closed:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                piece = b""
            self.closed = not piece
            self.buf += piece
            while len(self.buf) >= 9:
                f, n = hf.Frame.parse_frame_header(memoryview(self.buf[:9]))
                if len(self.buf) < 9 + n:
                    break
                f.parse_body(memoryview(self.buf[9:9 + n]))
                self.buf = self.buf[9 + n:]
                self.take(f)
        return done()

    def answer(self, sid, within_s=10.0):
        s = self.stream(sid)
        assert self.until(lambda: s["end"] or s["reset"] is not None, within_s), (s, self.goaway, self.closed)
        return s

    def status(self, sid, **more):
        return int(self.answer(sid, **more)["headers"][":status"])

    def end(self, within_s=10.0):
        """Read to the connection's end: the code of its GOAWAY."""
        assert self.until(lambda: self.closed, within_s), self.got
        return self.goaway


def test_requests_of_all_kinds(srv):
    with H2(srv) as c:
        s = c.answer(c.ask())
        assert s["headers"][":status"] == "200" and json.loads(s["data"])["status"] == "healthy"
        assert s["headers"]["content-length"] == str(len(s["data"])) and "connection" not in s["headers"]
        s = c.answer(c.ask(c.head("HEAD", "/v1/models")))
        assert s["headers"][":status"] == "200" and s["data"] == b"" and int(s["headers"]["content-length"]) > 0
        s = c.answer(c.ask(c.head("DELETE", "/v1/models")))
        assert s["headers"][":status"] == "405" and s["headers"]["allow"] == "GET, HEAD, OPTIONS"
        s = c.answer(c.ask(c.head("GET", "/health?x=1", [("x-request-id", "mine")])))
        assert s["headers"]["x-request-id"] == "mine"
        s = c.answer(c.post(generation(False, 3)))
        assert s["headers"][":status"] == "200" and json.loads(s["data"])["usage"]["completion_tokens"] == 3
        s = c.answer(c.post(generation(True, 3)))
        assert s["headers"]["content-type"] == "text/event-stream" and s["data"].endswith(b"data: [DONE]\n\n")


def test_a_hundred_streams_on_one_connection(srv):
    with H2(srv, {hf.SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}) as c:
        c.send(hf.WindowUpdateFrame(0, window_increment=1 << 24))
        ids = [c.post(generation(True, 12, prompt=f"Number {i}", logprobs=0)) for i in range(100)]
        for sid in ids:
            s = c.answer(sid, within_s=40)
            events = [e for e in s["data"].split(b"\n\n") if e != b": waiting"]
            assert events[-2:] == [b"data: [DONE]", b""]
            tokens = sum(len(x["logprobs"]["tokens"]) for e in events[:-2] for x in json.loads(e[6:])["choices"] if x["logprobs"])
            assert tokens == 12
    srv.idle()


def test_more_streams_than_allowed_end_the_connection(srv):
    with H2(srv) as c:
        assert c.status(c.ask()) == 200  # the limit has been acknowledged
        for _ in range(101):
            c.post(b"", end=False)
        assert c.end() == PROTOCOL
    with H2(srv) as c:
        assert c.status(c.ask()) == 200


def test_bodies(srv):
    with H2(srv) as c:
        big = generation(False, 1, user="x" * 250_000)
        sid = c.next_id  # within the windows the server gave: 256 KiB a stream, 1 MiB a connection
        assert c.status(c.post(big)) == 200
        assert c.status(c.post(big)) == 200 and c.status(c.post(big)) == 200 and c.status(c.post(big)) == 200
        assert c.status(c.post(big)) == 200 and c.next_id == sid + 10  # more than 1 MiB: windows were opened again
        s = c.answer(c.ask(c.head("POST", "/v1/completions", [("content-length", "400000")]), b"{", end=False))
        assert s["headers"][":status"] == "413"
        c.until(lambda: s["reset"] is not None, 2)
        assert s["reset"] == NO_ERROR  # the rest need not be sent
        sid = c.ask(c.head("POST", "/v1/completions"), end=False)
        for _ in range(20):
            c.send(hf.DataFrame(sid, b"x" * 16000))
        assert c.status(sid) == 413
        sid = c.ask(c.head("POST", "/v1/completions", [("expect", "100-continue")]), end=False)
        s = c.stream(sid)
        assert c.until(lambda: s["headers"]) and s["headers"][":status"] == "100"
        c.send(hf.DataFrame(sid, generation(False, 2), flags=["END_STREAM"]))
        assert c.status(sid) == 200
        assert c.status(c.ask(c.head("POST", "/nothing"), b"x", end=False)) == 404


def test_padding_and_trailers(srv):
    with H2(srv) as c:
        body = generation(False, 2)
        sid = c.ask(c.head("POST", "/v1/completions"), end=False)
        c.send(hf.DataFrame(sid, body[:10], flags=["PADDED"], pad_length=200), hf.DataFrame(sid, body[10:]),
               hf.HeadersFrame(sid, c.enc.encode([("x-trailer", "1")]), flags=["END_HEADERS", "END_STREAM"]))
        assert c.status(sid) == 200


@pytest.mark.parametrize("head, want", [
    ([(":method", "GET"), (":scheme", "http"), (":authority", "a")], PROTOCOL),  # no path
    ([(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":path", "/v1/models"), (":authority", "a")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a"), ("Upper", "1")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a"), ("connection", "close")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a"), ("transfer-encoding", "chunked")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a"), ("x", "a\r\nInjected: 1")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health HTTP/1.1\r\nHost: b"), (":authority", "a")], PROTOCOL),
    ([(":method", "GE T"), (":scheme", "http"), (":path", "/health"), (":authority", "a")], PROTOCOL),
    ([(":method", "GET"), ("x", "1"), (":scheme", "http"), (":path", "/health"), (":authority", "a")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a b")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health")], PROTOCOL),
    ([(":method", "GET"), (":scheme", "ftp"), (":path", "health"), (":authority", "a")], 400),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/hea#lth"), (":authority", "a")], 400),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/%zz"), (":authority", "a")], 404),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/v1/models/%zz"), (":authority", "a")], 400),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/%zz/" + "a" * 9000), (":authority", "a")], 414),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a")] + [("x", "1")] * 70, 431),
    ([(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a"), ("x", "y" * 14000), ("z", "y" * 14000), ("w", "y" * 14000)], 431),
])
def test_malformed_heads(srv, head, want):
    with H2(srv) as c:
        block = c.enc.encode(head, huffman=True)
        sid, c.next_id = c.next_id, 3
        first = hf.HeadersFrame(sid, block[:16000], flags=["END_STREAM"])
        rest = [hf.ContinuationFrame(sid, block[i:i + 16000]) for i in range(16000, len(block), 16000)]
        (rest or [first])[-1].flags.add("END_HEADERS")
        c.send(first, *rest)
        s = c.answer(sid)
        got = s["reset"] if s["headers"] is None else int(s["headers"][":status"])
        assert got == want
        assert c.status(c.ask()) == 200  # the connection lives


def frame(kind, flags, sid, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + sid.to_bytes(4, "big") + payload


BAD_FRAMES = {
    "data on stream 0": (frame(0, 0, 0, b"x"), PROTOCOL),
    "data on an idle stream": (frame(0, 0, 77, b"x"), PROTOCOL),
    "headers on an even stream": (frame(1, 5, 2, b"\x82\x86\x84\x41\x01a"), PROTOCOL),
    "padding longer than the frame": (frame(1, 0x0d, 1, b"\xff\x82\x86\x84"), PROTOCOL),
    "headers that HPACK cannot read": (frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    "a huge HPACK integer": (frame(1, 5, 1, b"\x7f" + b"\xff" * 12), COMPRESSION),
    "a frame that is too long": (frame(1, 5, 1, b"\x00" * 16385), FRAME_SIZE),
    "a short ping": (frame(6, 0, 0, b"1234"), FRAME_SIZE),
    "a ping on a stream": (frame(6, 0, 1, b"12345678"), PROTOCOL),
    "settings of odd length": (frame(4, 0, 0, b"12345"), FRAME_SIZE),
    "an impossible window": (frame(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"), FLOW),
    "a window of nothing more": (frame(8, 0, 0, b"\x00\x00\x00\x00"), PROTOCOL),
    "a window that overflows": (frame(8, 0, 0, b"\x7f\xff\xff\xff"), FLOW),
    "a continuation of nothing": (frame(9, 4, 1, b"\x82"), PROTOCOL),
    "a frame within a header block": (frame(1, 1, 1, b"\x82") + frame(6, 0, 0, b"12345678"), PROTOCOL),
    "a push from a client": (frame(5, 4, 1, b"\x00\x00\x00\x02\x82"), PROTOCOL),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
def test_frames_that_end_a_connection(srv, what):
    data, code = BAD_FRAMES[what]
    with H2(srv) as c:
        c.sock.sendall(data)
        assert c.end(5) == code


def test_garbage_after_the_preface(srv):
    with H2(srv, preface=False) as c:
        c.sock.sendall(PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
        assert c.end(5) is not None or c.closed


def test_a_window_too_small_stops_one_stream_and_not_the_others(srv):
    with H2(srv) as c:
        c.send(hf.SettingsFrame(0, settings={hf.SettingsFrame.INITIAL_WINDOW_SIZE: 100}))
        slow = c.post(generation(True, 200))
        assert c.until(lambda: len(c.stream(slow)["data"]) == 100)
        quick = c.ask()
        c.send(hf.WindowUpdateFrame(quick, window_increment=10000))
        assert c.status(quick) == 200 and len(c.stream(slow)["data"]) == 100
        for _ in range(3):  # a slow reader goes on as long as it reads
            time.sleep(0.7)
            before = len(c.stream(slow)["data"])
            c.send(hf.WindowUpdateFrame(slow, window_increment=500))
            assert c.until(lambda before=before: len(c.stream(slow)["data"]) == before + 500)
        assert c.answer(slow, 4)["reset"] == CANCEL  # and is cut at the write deadline when it stops
        assert not c.closed
    srv.idle()


def test_a_reset_cancels(srv):
    srv.idle()
    with H2(srv) as c:
        sid = c.post(generation(True, 900))
        assert c.until(lambda: c.stream(sid)["data"])
        c.send(hf.RstStreamFrame(sid, error_code=CANCEL))
        srv.idle(2)
        sid = c.post(generation(False, 900))
        end = time.monotonic() + 3
        while srv.health()["running"] == 0 and time.monotonic() < end:
            pass
        c.send(hf.RstStreamFrame(sid, error_code=CANCEL))
        srv.idle(2)
        assert c.status(c.ask()) == 200


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_client_that_goes_ends_all_its_streams(srv, how):
    srv.idle()
    c = H2(srv)
    ids = [c.post(generation(True, 900)) for _ in range(12)]
    assert c.until(lambda: c.stream(ids[0])["data"])
    if how == "reset":
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "half-close":
        c.sock.shutdown(socket.SHUT_WR)
    else:
        c.sock.close()
    srv.idle(2)
    c.sock.close()


def test_rapid_reset(srv):
    before = srv.health()["prompt_tokens"]
    with H2(srv) as c:
        try:
            for _ in range(2000):
                sid = c.post(generation(True, 50))
                c.send(hf.RstStreamFrame(sid, error_code=CANCEL))
        except OSError:
            pass
        assert c.until(lambda: c.closed, 5) or c.goaway
    srv.idle()
    assert srv.health()["prompt_tokens"] - before < 1500


@pytest.mark.parametrize("what", ["ping", "settings", "empty data", "window"])
def test_floods(srv, what):
    memory = srv.memory_kib()
    with H2(srv) as c:
        sid = c.post(b"", end=False)
        one = {"ping": hf.PingFrame(0, b"12345678"), "settings": hf.SettingsFrame(0), "empty data": hf.DataFrame(sid, b""),
               "window": hf.WindowUpdateFrame(0, window_increment=1)}[what].serialize()
        c.sock.settimeout(5)
        try:
            for _ in range(400):
                c.sock.sendall(one * 250)
        except OSError:
            pass
        assert c.until(lambda: c.closed, 5)
    assert srv.memory_kib() - memory < 8192


def test_a_flood_of_continuations(srv):
    with H2(srv) as c:
        c.send(hf.HeadersFrame(1, c.enc.encode(c.head())))
        try:
            for _ in range(2000):
                c.send(hf.ContinuationFrame(1, b"\x00\x01a\x01b" * 100))
        except OSError:
            pass
        assert c.until(lambda: c.closed, 5)


def test_dawdlers_are_cut(srv):
    start = time.monotonic()
    with H2(srv, preface=False) as c:  # half a preface
        c.sock.sendall(PREFACE[:10])
        c.end(5)
        assert 0.7 < time.monotonic() - start < 3
    start = time.monotonic()
    with H2(srv) as c:  # half a head
        assert c.status(c.ask()) == 200
        start = time.monotonic()
        c.send(hf.HeadersFrame(3, c.enc.encode(c.head())[:3]))
        assert c.end(5) == CALM and 0.7 < time.monotonic() - start < 3
    start = time.monotonic()
    with H2(srv) as c:  # half a body
        assert c.status(c.post(b"{", end=False)) == 408
        assert 0.7 < time.monotonic() - start < 3
    start = time.monotonic()
    with H2(srv) as c:  # nothing
        assert c.end(6) == NO_ERROR and 1.5 < time.monotonic() - start < 5


def test_draining_lets_streams_finish():
    with Server("--quiet") as s:
        with H2(s) as c, H2(s) as idle:
            sid = c.post(generation(True, 200))
            assert c.until(lambda: c.stream(sid)["data"])
            s.proc.send_signal(wire.SIGTERM)
            assert idle.end(5) == NO_ERROR
            c.send(hf.WindowUpdateFrame(sid, window_increment=1 << 20), hf.WindowUpdateFrame(0, window_increment=1 << 20))
            assert c.answer(sid, 25)["data"].endswith(b"data: [DONE]\n\n") and c.goaway == NO_ERROR
            assert c.end(5) == NO_ERROR
        assert s.proc.wait(10) == 0


def test_over_tls(tmp_path):
    import test_tls
    cert, key = test_tls.make(str(tmp_path), "h2")
    with Server("--tls-cert", cert, "--tls-key", key, "--quiet") as s:
        context = ssl.create_default_context(cafile=cert)
        context.set_alpn_protocols(["h2", "http/1.1"])
        sock = context.wrap_socket(s.connect(), server_hostname="localhost")
        assert sock.selected_alpn_protocol() == "h2"
        with H2(s, sock=sock) as c:
            ids = [c.post(generation(True, 30)) for _ in range(8)]
            assert all(c.answer(i)["data"].endswith(b"data: [DONE]\n\n") for i in ids)


if __name__ == "__main__":
    wire.run(__file__, "h2")
