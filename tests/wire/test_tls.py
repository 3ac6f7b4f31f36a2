"""corral serve over TLS: certificates, versions, reload, clients that dawdle or just leave."""
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time

import server as wire
from server import Server, drain, generation, request, status

try:
    import pytest
except ImportError:
    wire.run(__file__)
if not shutil.which("openssl"):
    print("skipped: there is no openssl to make certificates with")
    sys.exit(77)


def make(folder, name, issuer=None):
    """A certificate for localhost and 127.0.0.1, its own authority unless there is an issuer."""
    cert, key = (os.path.join(folder, f"{name}.{x}") for x in ("crt", "key"))
    cmd = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
           "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert]
    if issuer:
        cmd += ["-CA", issuer[0], "-CAkey", issuer[1], "-addext", "basicConstraints=critical,CA:FALSE"]
    done = subprocess.run(cmd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return cert, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def srv(folder):
    cert, key = make(folder, "one")
    with Server("--tls-cert", cert, "--tls-key", key, "--quiet", "--handshake-timeout", "1", "--max-body", "8M",
                "--head-timeout", "1.5") as s:
        s.cert = cert
        yield s


def dial(srv, context=None, cert=None, **more):
    context = context or ssl.create_default_context(cafile=cert or srv.cert)
    return context.wrap_socket(srv.connect(), server_hostname="localhost", **more)


GET = request("/health", method="GET", headers=["Connection: close"])


@pytest.mark.parametrize("version, want", [(ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
                                           (ssl.TLSVersion.TLSv1_1, None)])
def test_versions(srv, version, want):
    context = ssl.create_default_context(cafile=srv.cert)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if want is None:
        with pytest.raises(ssl.SSLError):
            dial(srv, context)
        return
    with dial(srv, context) as s:
        assert s.version() == want
        s.sendall(GET)
        assert status(drain(s)) == 200


def test_streams_and_ready_line(srv):
    assert srv.url.startswith("https://")
    with dial(srv) as s:
        s.sendall(request("/v1/completions", generation(n=200)) + request("/health", method="GET", headers=["Connection: close"]))
        answer = drain(s)  # ends with a close_notify: Python would raise otherwise
        assert b"data: [DONE]" in answer and b'"status":"healthy"' in answer


def test_a_large_body(srv):
    body = generation(False, 1, user="x" * 7_000_000)
    with dial(srv) as s:
        s.sendall(request("/v1/completions", body, headers=["Connection: close"]))
        assert status(drain(s)) == 200


def test_plain_text_on_the_port_is_closed(srv):
    assert not srv.raw(GET).startswith(b"HTTP")


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_slow_handshake_is_cut(srv, hello):
    start = time.monotonic()
    with srv.connect() as s:
        s.sendall(hello)
        drain(s)
    assert 0.7 < time.monotonic() - start < 4


def test_a_slow_head_is_cut_after_the_handshake(srv):
    start = time.monotonic()
    with dial(srv) as s:
        s.sendall(b"GET /health HT")
        assert status(drain(s)) == 408
    assert 1.2 < time.monotonic() - start < 5


@pytest.mark.parametrize("how", ["goodbye", "close", "half-close"])
def test_a_client_that_goes_frees_its_sequence(srv, how):
    def health():
        with dial(srv) as c:
            c.sendall(GET)
            return drain(c)

    s = dial(srv)
    s.sendall(request("/v1/completions", generation(n=900)))
    assert s.recv(10)
    if how == "goodbye":
        s.settimeout(0.0)
        try:
            s.unwrap()
        except (ssl.SSLError, OSError):
            pass
    elif how == "close":
        s.close()
    else:
        socket.socket.shutdown(s, socket.SHUT_WR)
    end = time.monotonic() + 3
    while b'"running":0' not in health():
        assert time.monotonic() < end
        time.sleep(0.02)
    s.close()


def test_a_new_certificate(folder):
    def subject(s, cert):
        with dial(s, cert=cert) as c:
            return dict(x[0] for x in c.getpeercert()["subject"])["commonName"]

    one, two, three = (make(folder, n) for n in ("first", "second", "third"))
    cert, key = os.path.join(folder, "live.crt"), os.path.join(folder, "live.key")

    def put(pair):
        for src, dst in zip(pair, (cert, key)):
            shutil.copy(src, dst + ".new")
            os.replace(dst + ".new", dst)

    put(one)
    with Server("--tls-cert", cert, "--tls-key", key) as s:
        assert subject(s, one[0]) == "first"
        old = dial(s, cert=one[0])
        put(two)
        s.proc.send_signal(wire.SIGHUP)
        time.sleep(0.3)
        assert subject(s, two[0]) == "second"
        old.sendall(GET)
        assert status(drain(old)) == 200  # what runs goes on
        with open(cert, "w") as f:
            f.write("no certificate")
        s.proc.send_signal(wire.SIGHUP)
        time.sleep(0.3)
        assert subject(s, two[0]) == "second" and any("stays in use" in line for line in s.log)
        put(three)  # noticed by itself
        end = time.monotonic() + 8
        while True:
            try:
                assert subject(s, three[0]) == "third"
                break
            except ssl.SSLError:
                assert time.monotonic() < end
                time.sleep(0.2)


def test_clients_with_certificates(folder):
    ca, server_pair = make(folder, "authority"), make(folder, "mutual")
    client, stranger = make(folder, "client", ca), make(folder, "stranger")
    with Server("--tls-cert", server_pair[0], "--tls-key", server_pair[1], "--tls-client-ca", ca[0], "--quiet") as s:
        for pair, good in ((client, True), (stranger, False), (None, False)):
            context = ssl.create_default_context(cafile=server_pair[0])
            if pair:
                context.load_cert_chain(*pair)
            try:
                with dial(s, context) as c:
                    c.sendall(GET)
                    answer = drain(c)
            except (ssl.SSLError, OSError):
                answer = b""
            assert (status(answer) == 200) == good, pair


def test_mistakes(folder):
    one, two = make(folder, "a"), make(folder, "b")
    for args, want in [(("--tls-cert", one[0] + ".none", "--tls-key", one[1]), "certificate"),
                       (("--tls-cert", one[0], "--tls-key", two[1]), "key"),
                       (("--tls-cert", one[0]), "key"), (("--tls-key", one[1]), "--tls-cert")]:
        p = subprocess.run([wire.CORRAL, "serve", wire.DEMO, "--port", "0", *args], capture_output=True, text=True, timeout=20)
        assert p.returncode != 0 and want in p.stderr and len(p.stderr.splitlines()) <= 3, p.stderr


if __name__ == "__main__":
    wire.run(__file__)
