"""A restart on SIGUSR2: another process takes the sockets over, and no connection is refused meanwhile."""
import os
import re
import shutil
import signal
import socket
import threading
import time

import server as wire
from server import DEMO, Server, drain, generation, request, status

try:
    import pytest
except ImportError:
    wire.run(__file__)


class Knocker(threading.Thread):
    """A new connection and a request, again and again."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.stop, self.good, self.bad = address, False, 0, []

    def run(self):
        while not self.stop:
            try:
                with socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET) as s:
                    s.settimeout(20)
                    s.connect(self.address)
                    s.sendall(request("/health", method="GET", headers=["Connection: close"]))
                    answer = drain(s)
                if status(answer) in (200, 503):  # 503: the old one, while it drains
                    self.good += 1
                else:
                    self.bad.append(answer)
            except OSError as e:
                self.bad.append(e)
            time.sleep(0.002)


def new_process(srv):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = [m for m in (re.search(r"as process (\d+)", line) for line in srv.log) if m]
        if found:
            return int(found[-1].group(1))
        time.sleep(0.02)
    raise AssertionError(srv.log)


def gone(pid, within_s=20):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("where", ["port", "three threads", "Unix socket"])
def test_nobody_is_refused(where, tmp_path):
    path = str(tmp_path / "corral.sock")
    more = {"port": [], "three threads": ["--http-threads", "3"], "Unix socket": ["--socket", path]}[where]
    with Server(*more) as srv:
        address = path if where == "Unix socket" else ("127.0.0.1", srv.port)
        with socket.socket(socket.AF_UNIX if where == "Unix socket" else socket.AF_INET) as stream:
            stream.settimeout(30)
            stream.connect(address)
            stream.sendall(request("/v1/completions", generation(n=300), headers=["Connection: close"]))
            first = stream.recv(100)
            knockers = [Knocker(address) for _ in range(3)]
            for k in knockers:
                k.start()
            srv.proc.send_signal(signal.SIGUSR2)
            pid = new_process(srv)
            try:
                while not srv.proc.stdout.readline().startswith("corral: ready: "):  # the new one
                    pass
                whole = first + drain(stream)  # the old one finishes what it began
                assert whole.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
                assert srv.proc.wait(30) == 0
                time.sleep(0.2)
                for k in knockers:
                    k.stop = True
                    k.join(20)
                assert not any(k.bad for k in knockers), [k.bad[:3] for k in knockers]
                assert min(k.good for k in knockers) > 3
                if where == "Unix socket":
                    assert os.path.exists(path)
            finally:
                os.kill(pid, signal.SIGTERM)
                assert gone(pid)
        assert not os.path.exists(path)


def test_a_new_process_that_cannot_start(tmp_path):
    model = str(tmp_path / "model.gguf")
    shutil.copy(DEMO, model)
    with Server(model=model) as srv:
        os.rename(model, model + ".away")
        srv.proc.send_signal(signal.SIGUSR2)
        pid = new_process(srv)
        assert gone(pid)
        end = time.monotonic() + 10
        while not any("before it was ready" in line for line in srv.log):
            assert time.monotonic() < end, srv.log
            time.sleep(0.02)
        assert srv.health()["status"] and srv.proc.poll() is None
        os.rename(model + ".away", model)  # and then it can
        before = len(srv.log)
        srv.proc.send_signal(signal.SIGUSR2)
        while not any("as process" in line for line in srv.log[before:]):
            assert time.monotonic() < end + 20, srv.log
            time.sleep(0.02)
        pid = new_process(srv)
        assert srv.proc.wait(30) == 0
        assert srv.health()["status"]  # of the new one, on the same port
        os.kill(pid, signal.SIGTERM)
        assert gone(pid)


def test_stopping_in_the_middle_stops_both():
    with Server() as srv:
        srv.proc.send_signal(signal.SIGUSR2)
        pid = new_process(srv)
        os.kill(pid, signal.SIGSTOP)  # so that it does not become ready before the other is told to stop
        srv.proc.terminate()
        assert srv.proc.wait(20) == 0
        os.kill(pid, signal.SIGCONT)
        if any("serves from now on" in line for line in srv.log):  # it was ready already
            os.kill(pid, signal.SIGTERM)
        assert gone(pid)


if __name__ == "__main__":
    wire.run(__file__)
