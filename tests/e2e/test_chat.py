"""The conversation at a terminal: corral run under a pseudo-terminal."""
import json
import os
import pty
import re
import select
import sys
import tempfile
import termios
import time

CORRAL = os.environ["CORRAL"]
DEMO = "demo"
PATIENCE_S = 60


class Terminal:
    def __init__(self, home, *args):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(CORRAL_HOME=home, TERM="xterm")
            os.execv(CORRAL, [CORRAL, "run", *args])
        self.expect("> $")

    def expect(self, pattern):
        """Read until the text since the last call matches; returns it."""
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.seen):
            if time.monotonic() > end:
                sys.exit(f"no {pattern!r} within {PATIENCE_S} s in:\n{self.seen}")
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    sys.exit(f"it ended before {pattern!r}:\n{self.seen}")
        text, self.seen = self.seen, ""
        return text

    def type(self, keys):
        """As soon as the prompt reads keys one by one: of what comes before, the terminal may drop some."""
        end = time.monotonic() + PATIENCE_S
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < end, "the prompt does not read keys"
            time.sleep(0.002)
        os.write(self.fd, keys)

    def say(self, line, pattern="\n> $"):
        self.type((line + "\n").encode())
        return self.expect(pattern)

    def end(self, how=b"\x04"):
        """Ctrl-D or /exit; what is still printed is read, so that the program cannot block on it."""
        self.type(how)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                if select.select([self.fd], [], [], 0.2)[0] and not os.read(self.fd, 65536):
                    break
            except OSError:
                break
            if time.monotonic() > end:
                sys.exit(f"it did not end within {PATIENCE_S} s of {how!r}")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main(folder):
    home = os.path.join(folder, "a", "b")  # made by the program
    t = Terminal(home, DEMO, "--temp", "0", "-n", "60", "-c", "30000")  # room for an answer that must be stopped
    assert "Corral" in t.say("What is Corral?").split("\n", 1)[1]
    assert "/regen" in t.say("/help")
    assert "did you mean 'temp'" in t.say("/set tmep 1")
    assert "0 to 100" in t.say("/set temp 1000")
    t.say("/set max-tokens 4")
    assert re.search(r"max-tokens +4\r", t.say("/show"))
    assert "did you mean /clear" in t.say("/claer")
    assert "tok/s" in t.say("/stats") or "tok/s" in t.say("Hello")
    t.say("Say \\", r"\.\.\. $")
    t.say("hello")
    t.say('"""one', r"\.\.\. $")
    t.say('two"""')
    t.say("/system Be kind.")
    t.say("/regen")
    saved = os.path.join(folder, "saved")
    t.say("/save " + saved)
    messages = [json.loads(line) for line in open(saved)]
    assert messages[0] == {"role": "system", "content": "Be kind."}, messages
    assert messages[-2] == {"role": "user", "content": "one\ntwo"}, messages
    assert messages[-1]["role"] == "assistant", messages
    assert any(m["content"] == "Say \nhello" for m in messages), messages
    t.say("/clear")
    t.say("/save " + saved)
    assert len(open(saved).readlines()) == 1  # the system message stays

    # Ctrl-C drops a line that was begun, and ends an answer that would go on. It may come while either is written,
    # which must not be missed nor make the write fail: then the program would not end with 0.
    for _ in range(5):
        t.type(b"half a line")
        t.expect("half a line")
        t.type(b"\x03")
        t.expect("\n> $")
    t.say("/set ignore-eos true")
    t.say("/set max-tokens 0")
    for _ in range(5):
        t.type(b"Tell a story\n")
        t.expect(r"story\r\n[^>]")
        os.write(t.fd, b"\x03")
        assert "stopped" in t.expect("\n> $")
    assert t.end() == 0

    # The history is there the next time.
    t = Terminal(home, DEMO, "--temp", "0", "-n", "4")
    os.write(t.fd, b"\x1b[A")
    t.expect("Tell a story")
    os.write(t.fd, b"\x15")
    assert t.end(b"/exit\n") == 0
    assert os.stat(os.path.join(home, "history")).st_mode & 0o077 == 0


with tempfile.TemporaryDirectory() as folder_name:
    main(folder_name)
