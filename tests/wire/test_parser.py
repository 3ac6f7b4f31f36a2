"""The HTTP/1.1 parser against llhttp (Node's, by way of httptools): random and mutated requests.

What both accept they must read alike. What llhttp accepts and we refuse must be for a reason that is on the list
below. What we accept and llhttp refuses is a defect of ours, unless it stands on the other list."""
import os
import random
import struct
import subprocess
import sys

import server as wire

try:
    import httptools
except ImportError:
    wire.run(__file__, "httptools")

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(wire.CORRAL)), "tests", "test_http_parser")
if not os.path.exists(PROGRAM):
    print("skipped: test_http_parser was not built")
    sys.exit(77)

# Where we are stricter: the reason we give, and why.
STRICTER = {
    "no Host": "RFC 9112, 3.2: must be answered 400; llhttp leaves Host to its user",
    "more than one Host": "the same",
    "a malformed Host": "the same",
    "an illegal character in the target": "RFC 9112, 3.2: only what a URI may hold; no '#', no bytes above 0x7f",
    "the target is neither a path nor an http URL": "no authority form, and the asterisk is for OPTIONS",
    "the target's URL has no host or no path": "an absolute form that names nothing",
    "only HTTP/1.1 and HTTP/1.0 are spoken here": "llhttp takes 0.9 and 2.0 as well",
    "a request line without a target or a version": "HTTP/0.9's requests",
    "a malformed HTTP version": "two spaces before it",
    "a line that ends without a carriage return": "line breaks before the request",
    "a carriage return without a line feed": "the same",
    "Transfer-Encoding in HTTP/1.0": "RFC 9112, 6.1: such framing is faulty",
    "a Transfer-Encoding other than chunked": "codings that nobody undoes here, chunked coming last or not",
}
# Where llhttp is: its words, and why we do not follow.
LLHTTP_STRICTER = {
    "Invalid method encountered": "a list of methods; ours takes any token and answers 404 or 405",
    "Expected space after method": "the same",
    "Invalid `Transfer-Encoding` header value": "in a trailer: ours are dropped unread (RFC 9110, 6.5.1)",
    "Content-Length can't be present with Transfer-Encoding": "the same",
    "Invalid character in chunk extensions": "ours are skipped unread, up to a limit",
}

METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"]
TARGETS = [b"/", b"/v1/models", b"/a?b=c&d", b"/a%20b", b"*", b"http://a/b?c", b"/?", b"//x", b"/a;b=c", b"/~!$'()+,"]
NAMES = [b"Host", b"host", b"X-A", b"Accept", b"Content-Type", b"User-Agent", b"X_b", b"Cookie"]
VALUES = [b"a", b"", b"text/plain; q=1", b" padded \t", b"\"quoted\"", b"\xc3\xa9", b"a, b", b"x" * 300]
SCRAPS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Host: b\r\n", b"Content-Length: 3\r\n", b"Content-Length: +3\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
          b" folded\r\n", b"0\r\n\r\n", b"0x3\r\n", b"HTTP/1.1", b"HTTP/1.2", b"HTTP/2.0", b"\x7f", b"\x80", b"#", b"%",
          b"ffffffffffffffff\r\n", b"-1", b"Connection: close\r\n", b"Content-Length: 3, 3\r\n", b";", b"\x0b", b"X : y\r\n"]


def request(r):
    method = r.choice(METHODS)
    lines = [b"%s %s HTTP/1.%d" % (method, r.choice(TARGETS), r.random() > 0.1), b"Host: a"]
    for _ in range(r.randrange(4)):
        lines.append(r.choice(NAMES[2:]) + r.choice([b":", b": ", b":  "]) + r.choice(VALUES))
    body = b""
    if method in (b"POST", b"PUT", b"PATCH"):
        pieces = [bytes(r.randrange(256) for _ in range(r.randrange(1, 20))) for _ in range(r.randrange(3))]
        if r.random() < 0.5:
            body = b"".join(b"%x%s\r\n%s\r\n" % (len(p), r.choice([b"", b"", b";a=b"]), p) for p in pieces) + b"0\r\n"
            body += r.choice([b"", b"", b"X-Trailer: 1\r\n"]) + b"\r\n"
            lines.append(b"Transfer-Encoding: chunked")
        else:
            body = b"".join(pieces)
            lines.append(b"Content-Length: %d" % len(body))
    r.shuffle(lines[1:])
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def mutate(r, m):
    for _ in range(r.choice([0, 1, 1, 1, 2, 3])):
        at = r.randrange(len(m) + 1)
        kind = r.randrange(5)
        if kind == 0:
            m = m[:at] + r.choice(SCRAPS) + m[at:]
        elif kind == 1:
            m = m[:at] + bytes([r.randrange(256)]) + m[at + 1:]
        elif kind == 2:
            m = m[:at] + m[at + r.randrange(1, 4):]
        elif kind == 3:  # a scrap as a line of its own
            ends = [i + 2 for i in range(len(m)) if m[i:i + 2] == b"\r\n"] or [0]
            at = r.choice(ends)
            m = m[:at] + r.choice(SCRAPS) + m[at:]
        else:  # a line twice
            lines = m.split(b"\r\n")
            at = r.randrange(len(lines))
            m = b"\r\n".join(lines[:at + 1] + lines[at:])
        if not m:
            m = b"G"
    return m


class Other:
    """llhttp's verdict on the first message: ("ok", method, target, fields, body), ("more",) or ("bad", why)."""

    def __init__(self):
        self.url, self.fields, self.body, self.done = b"", [], b"", False

    def on_url(self, b):
        if not self.done:
            self.url += b

    def on_header(self, name, value):
        if not self.done and not self.headers_done:
            self.fields.append((name, value))

    headers_done = False

    def on_headers_complete(self):
        if not self.done:
            self.headers_done = True
            self.method = self.parser.get_method()

    def on_body(self, b):
        if not self.done:
            self.body += b

    def on_message_complete(self):
        self.done = True

    @classmethod
    def judge(cls, message):
        self = cls()
        self.parser = httptools.HttpRequestParser(self)
        why = None
        try:
            self.parser.feed_data(message)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as e:
            why = str(e)
        if self.done:  # what follows it is another message
            return "ok", self.method, self.url, self.fields, self.body
        return ("bad", why) if why else ("more",)


def ours(messages):
    out = subprocess.run([PROGRAM, "judge"], input=b"".join(struct.pack(">I", len(m)) + m for m in messages),
                         stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    assert len(out) == len(messages)
    return out


def unhex(s):
    return b"" if s == "-" else bytes.fromhex(s)


def disagreement(message, mine, theirs):
    """None, or what is wrong."""
    if mine.startswith("bad "):
        why = mine.split(" ", 2)[2]
        if theirs[0] == "ok" and why not in STRICTER:
            return "we refuse: " + why
        return None
    if mine == "more":
        return "we wait for more" if theirs[0] == "ok" else None
    method, path, query, body, *fields = map(unhex, mine.split(" ")[1:])
    if theirs[0] == "more":
        return "llhttp waits for more"
    if theirs[0] == "bad":
        return None if any(w in theirs[1] for w in LLHTTP_STRICTER) else "llhttp refuses: " + theirs[1]
    if method != theirs[1]:
        return f"method {method!r}"
    target = theirs[2]
    if target.lower().startswith((b"http://", b"https://")):
        rest = target.split(b"//", 1)[1]
        target = rest[rest.index(b"/"):]
    if target != path + (b"?" + query if query or target.endswith(b"?") else b""):
        return f"target {path!r} {query!r}"
    if body != theirs[4]:
        return f"body {body!r}"
    if [(n.lower(), v) for n, v in zip(fields[::2], fields[1::2])] != [(n.lower(), v.rstrip(b" \t")) for n, v in theirs[3]]:
        return f"fields {fields!r}"
    return None


def test_twenty_thousand_requests():
    r = random.Random(5)
    messages = [mutate(r, request(r)) for _ in range(20000)]
    counts = {}
    for message, mine in zip(messages, ours(messages)):
        theirs = Other.judge(message)
        wrong = disagreement(message, mine, theirs)
        assert wrong is None, (wrong, message, mine, theirs)
        key = (mine.split(" ")[0], theirs[0])
        counts[key] = counts.get(key, 0) + 1
    print(counts)
    assert counts["ok", "ok"] > 4000 and counts["bad", "bad"] > 2000  # it did compare something


if __name__ == "__main__":
    wire.run(__file__, "httptools")
