"""WebSocket against `test_http_ws serve`: a client library, frames by hand, and RFC 8441 over HTTP/2."""
import os
import re
import socket
import struct
import subprocess
import sys
import time

import server as wire

try:
    import pytest
    from hyperframe import frame as hf
    from test_h2 import CALM, CANCEL, H2
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
except ImportError:
    wire.run(__file__, "h2", "websockets")

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(wire.CORRAL)), "tests", "test_http_ws")
if not os.path.exists(PROGRAM):
    print("skipped: test_http_ws was not built")
    sys.exit(77)


class Echo:
    def __init__(self):
        self.proc = subprocess.Popen([PROGRAM, "serve"], stdout=subprocess.PIPE, text=True)
        self.port = int(re.match(r"ready (\d+)", self.proc.stdout.readline()).group(1))
        self.url = f"ws://127.0.0.1:{self.port}/ws"

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def upgraded(self):
        s = self.connect()
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        return s

    def ended(self):
        return self.proc.stdout.readline().strip()

    def memory_kib(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


@pytest.fixture
def echo():
    e = Echo()
    yield e
    e.proc.terminate()
    assert e.proc.wait(10) == 0


def frame(opcode, payload, fin=True, mask=b"\1\2\3\4", rsv=0, length=None):
    n = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    m = 0x80 if mask else 0
    head += bytes([m | n]) if n < 126 else bytes([m | 126]) + struct.pack(">H", n) if n < 65536 else bytes([m | 127]) + struct.pack(">Q", n)
    return head + (mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if mask else payload)


def read_frame(s):
    def exactly(n):
        out = b""
        while len(out) < n:
            piece = s.recv(n - len(out))
            if not piece:
                raise EOFError
            out += piece
        return out
    a, b = exactly(2)
    n = b & 127
    if n == 126:
        n, = struct.unpack(">H", exactly(2))
    elif n == 127:
        n, = struct.unpack(">Q", exactly(8))
    assert not b & 0x80
    return a & 15, exactly(n)


def close_code(s):
    """Of the close frame that the server sends before it closes; 1006: none came."""
    try:
        while True:
            opcode, payload = read_frame(s)
            if opcode == 8:
                return struct.unpack(">H", payload[:2])[0] if payload else 1005
    except (EOFError, OSError):
        return 1006


def test_a_client_library(echo):
    with connect(echo.url, compression=None, max_size=None) as c:
        for message in ("hello", "h\u00e9llo \U0001f600", b"\x00\xff" * 100, "x" * 126, "y" * 70000, "z" * 299000, b"", ""):
            c.send(message)
            assert c.recv(timeout=5) == message
        c.send(iter(["in ", "several ", "frames"]))
        assert c.recv(timeout=5) == "in several frames"
        assert c.ping().wait(5)
    assert echo.ended() == "end 1000"


def test_compression_is_not_agreed_to(echo):
    with connect(echo.url) as c:
        c.send("plain")
        assert c.recv(timeout=5) == "plain" and c.protocol.extensions == []
    assert echo.ended() == "end 1000"


def test_the_server_closes(echo):
    with connect(echo.url) as c:
        c.send("close")
        with pytest.raises(ConnectionClosed):
            c.recv(timeout=5)
        assert (c.close_code, c.close_reason) == (4000, "as you wish")
    assert echo.ended() == "end 4000"


@pytest.mark.parametrize("data, code", [
    (frame(1, b"\xff\xfe"), 1007),  # text that is no UTF-8
    (frame(1, b"\xc3", fin=False) + frame(0, b"\x28"), 1007),
    (frame(1, b"a", mask=b""), 1002),  # not masked
    (frame(1, b"a", rsv=4), 1002),  # compressed, which was not agreed to
    (frame(3, b"a"), 1002),  # an unknown opcode
    (frame(0, b"a"), 1002),  # a continuation of nothing
    (frame(1, b"a", fin=False) + frame(1, b"b"), 1002),  # a message within a message
    (frame(9, b"a", fin=False), 1002),  # a ping in pieces
    (frame(9, b"a" * 126), 1002),  # a ping that is too long
    (frame(8, b"\x03"), 1002),  # half a close code
    (frame(8, struct.pack(">H", 999)), 1002),
    (frame(8, struct.pack(">H", 1005)), 1002),
    (frame(2, b"a", length=400000), 1009),  # too large, seen at the head
    (frame(2, b"a", length=1 << 62), 1009),
    (frame(2, b"a" * 200000, fin=False) + frame(0, b"a" * 200000), 1009),
    (frame(8, struct.pack(">H", 1001) + b"bye"), 1001),
    (frame(8, b""), 1005),
])
def test_frames(echo, data, code):
    with echo.upgraded() as s:
        try:
            s.sendall(data)
        except OSError:
            pass
        assert close_code(s) in (code, 1005)  # a close frame need not say why
    assert echo.ended().startswith("end ")


def test_every_cut_of_a_conversation(echo):
    data = frame(1, b"abc", fin=False) + frame(9, b"p") + frame(0, b"def") + frame(2, b"x" * 200)
    for at in range(1, len(data), 7):
        with echo.upgraded() as s:
            s.sendall(data[:at])
            time.sleep(0.002)
            s.sendall(data[at:])
            assert [read_frame(s) for _ in range(3)] == [(10, b"p"), (1, b"abcdef"), (2, b"x" * 200)]
            s.sendall(frame(8, struct.pack(">H", 1000)))
            assert read_frame(s) == (8, struct.pack(">H", 1000)) and s.recv(1) == b""
        assert echo.ended() == "end 1000"


def test_a_slow_message_and_silence_are_cut(echo):
    start = time.monotonic()
    with echo.upgraded() as s:
        try:
            for byte in frame(1, b"a" * 100):
                s.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert close_code(s) in (1008, 1006)
    assert 0.8 < time.monotonic() - start < 6
    echo.ended()
    start = time.monotonic()
    with echo.upgraded() as s:  # pings are not answered
        assert close_code(s) == 1006
    assert 0.8 < time.monotonic() - start < 4
    assert echo.ended() == "end 1006"


def test_a_client_that_answers_pings_stays(echo):
    with connect(echo.url, ping_interval=None) as c:
        time.sleep(3)
        c.send("still here")
        assert c.recv(timeout=5) == "still here"
    assert echo.ended() == "end 1000"


def test_a_reader_that_stops(echo):
    memory = echo.memory_kib()
    with echo.upgraded() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(frame(1, b"flood 1000000"))
        assert echo.ended() == "end 1006"  # cut at the write deadline
    assert echo.memory_kib() - memory < 6144
    with echo.upgraded() as s:
        s.sendall(frame(1, b"flood 3000"))
        assert [int(read_frame(s)[1].split()[0]) for _ in range(3000)] == list(range(3000, 0, -1))
        s.sendall(frame(8, b""))
        close_code(s)
    assert echo.ended() == "end 1005"


def test_a_flood_of_pings(echo):
    memory = echo.memory_kib()
    with echo.upgraded() as s:
        s.settimeout(6)
        try:
            for _ in range(3000):
                s.sendall(frame(9, b"p" * 100) * 100)
        except OSError:
            pass
        assert echo.memory_kib() - memory < 4096
    assert echo.ended() == "end 1006"


def test_over_http2(echo):
    with H2(echo) as c:
        def open_stream():
            return c.ask([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"),
                          (":authority", "a"), ("sec-websocket-version", "13")], end=False)
        one, two = open_stream(), open_stream()
        assert c.until(lambda: c.stream(one)["headers"] and c.stream(two)["headers"])
        assert c.stream(one)["headers"][":status"] == "200" and "sec-websocket-accept" not in c.stream(one)["headers"]
        c.send(hf.DataFrame(one, frame(1, b"first")[:4]), hf.DataFrame(two, frame(2, b"second")), hf.DataFrame(one, frame(1, b"first")[4:]))
        assert c.until(lambda: c.stream(one)["data"] and c.stream(two)["data"])
        assert c.stream(one)["data"] == b"\x81\x05first" and c.stream(two)["data"] == b"\x82\x06second"
        c.send(hf.DataFrame(one, frame(8, struct.pack(">H", 1000))))
        assert c.answer(one)["data"].endswith(b"\x88\x02\x03\xe8") and echo.ended() == "end 1000"
        c.send(hf.RstStreamFrame(two, error_code=8))
        assert echo.ended() == "end 1006"
        three = open_stream()
        c.send(hf.DataFrame(three, b"", flags=["END_STREAM"]))
        assert c.answer(three)["reset"] is not None and echo.ended() == "end 1006"
        four = open_stream()
        assert c.until(lambda: c.stream(four)["headers"])
        c.send(*(hf.DataFrame(four, frame(9, b"p" * 100)) for _ in range(700)))
        assert c.answer(four)["reset"] in (CALM, CANCEL)
        plain = c.ask(c.head("CONNECT", "/ws"), end=False)
        assert c.answer(plain)["reset"] is not None or c.stream(plain)["headers"][":status"] == "400"


def test_draining_says_goodbye():
    e = Echo()
    with connect(e.url) as c:
        c.send("hello")
        assert c.recv(timeout=5) == "hello"
        e.proc.terminate()
        with pytest.raises(ConnectionClosed):
            c.recv(timeout=5)
        assert c.close_code == 1001
    assert e.proc.wait(5) == 0


if __name__ == "__main__":
    wire.run(__file__, "h2", "websockets")
