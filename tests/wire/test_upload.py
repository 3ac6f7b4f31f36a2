"""Bodies that stream, against `test_http_ws serve`: large ones in flat memory, handlers that pause or do not wait."""
import time

import server as wire
from server import drain, request, status

try:
    import pytest
    from hyperframe import frame as hf
    from test_h2 import H2, NO_ERROR
    from test_ws import echo  # noqa: F401  the fixture
except ImportError:
    wire.run(__file__, "h2", "websockets")

MB = 1 << 20
PIECE = bytes(range(256)) * 256  # 64 KiB


def total(n):
    """What the server answers to n pieces; the sum has a period, so this is quick."""
    s = 0
    for _ in range(n):
        for b in PIECE:
            s = (s * 31 + b) & (1 << 64) - 1
    return f"{n * len(PIECE)} {s}\n".encode()


def head(n, query="", more=""):
    return f"POST /upload{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}Content-Length: {n}\r\n\r\n".encode()


@pytest.mark.parametrize("query", ["", "?pause"])
@pytest.mark.parametrize("chunked", [False, True])
def test_http1(echo, query, chunked):
    with echo.connect() as s:
        if chunked:
            s.sendall(f"POST /upload{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(8):
                s.sendall(b"10000\r\n" + PIECE + b"\r\n")
            s.sendall(b"0\r\n\r\n")
        else:
            s.sendall(head(8 * len(PIECE), query))
            for _ in range(8):
                s.sendall(PIECE)
        assert drain(s).endswith(total(8)) and echo.ended() == "upload 1"


def test_a_hundred_megabytes_in_flat_memory(echo):
    with echo.connect() as s:
        s.sendall(head(100 * MB))
        s.sendall(PIECE)
        memory = echo.memory_kib()
        for _ in range(100 * MB // len(PIECE) - 1):
            s.sendall(PIECE)
        assert status(drain(s)) == 200 and echo.memory_kib() - memory < 1024
    assert echo.ended() == "upload 1"


def test_no_body_and_too_much(echo):
    with echo.connect() as s:
        s.sendall(head(0))
        assert drain(s).endswith(b"0 0\n") and echo.ended() == "upload 1"
    with echo.connect() as s:
        s.sendall(head(151 * MB))
        assert status(drain(s)) == 413


def test_an_early_answer_ends_the_connection(echo):
    with echo.connect() as s:
        s.sendall(head(100 * MB, "?early") + PIECE)
        answer = drain(s)
        assert answer.endswith(b"early\n") and b"Connection: close" in answer
    assert echo.ended() == "upload 1"


def test_deadlines_and_departures(echo):
    start = time.monotonic()
    with echo.connect() as s:  # a dawdler
        s.sendall(head(MB) + PIECE)
        assert status(drain(s)) == 408 and 0.8 < time.monotonic() - start < 4
    assert echo.ended() == "upload 1"
    with echo.connect() as s:  # slow for longer than the deadline, yet steadily enough
        s.sendall(head(6 * len(PIECE)))
        for _ in range(6):
            s.sendall(PIECE)
            time.sleep(0.3)
        assert status(drain(s)) == 200 and echo.ended() == "upload 1"
    with echo.connect() as s:
        s.sendall(head(MB) + PIECE)
    assert echo.ended() == "upload 0"
    with echo.connect() as s:
        s.sendall(request("/health", method="GET", headers=["Connection: close"]))
        assert status(drain(s)) == 200


class Uploader(H2):
    """Keeps to the server's windows."""

    def __init__(self, srv):
        super().__init__(srv)
        self.window, self.initial, self.all = {}, 65535, 65535
        assert self.status(self.ask()) == 200

    def take(self, f):
        if isinstance(f, hf.WindowUpdateFrame) and f.stream_id == 0:
            self.all += f.window_increment
        elif isinstance(f, hf.WindowUpdateFrame):
            self.window[f.stream_id] = self.window.get(f.stream_id, self.initial) + f.window_increment
        elif isinstance(f, hf.SettingsFrame) and hf.SettingsFrame.INITIAL_WINDOW_SIZE in f.settings:
            self.initial = f.settings[hf.SettingsFrame.INITIAL_WINDOW_SIZE]
        return super().take(f)

    def upload(self, sid, n):
        self.window.setdefault(sid, self.initial)
        data = PIECE[:16384]
        while n:
            assert self.until(lambda: min(self.window[sid], self.all) >= len(data)), "the windows stay closed"
            n -= len(data)
            self.window[sid] -= len(data)
            self.all -= len(data)
            self.send(hf.DataFrame(sid, data, flags=[] if n else ["END_STREAM"]))


def test_http2(echo):
    with Uploader(echo) as c:
        sid = c.ask(c.head("POST", "/upload"), end=False)
        c.upload(sid, 20 * MB)
        assert c.answer(sid)["data"].startswith(b"20971520 ") and echo.ended() == "upload 1"


def test_http2_pauses_one_stream_and_not_the_others(echo):
    with Uploader(echo) as c:
        slow, quick = c.ask(c.head("POST", "/upload?pause"), end=False), c.ask(c.head("POST", "/upload"), end=False)
        c.upload(slow, 2 * MB)
        c.upload(quick, 2 * MB)
        assert c.answer(slow)["data"] == c.answer(quick)["data"]
        early = c.ask(c.head("POST", "/upload?early"), end=False)
        s = c.answer(early)
        assert s["data"] == b"early\n" and c.until(lambda: s["reset"] == NO_ERROR, 2)
        gone = c.ask(c.head("POST", "/upload"), b"x" * 100, end=False)
        c.send(hf.RstStreamFrame(gone, error_code=8))
        assert [echo.ended() for _ in range(4)] == ["upload 1"] * 3 + ["upload 0"]
        start = time.monotonic()
        late = c.ask(c.head("POST", "/upload"), b"x" * 100, end=False)
        assert c.status(late) == 408 and 0.8 < time.monotonic() - start < 4


if __name__ == "__main__":
    wire.run(__file__, "h2", "websockets")
