"""Models, jobs, devices, health and metrics of a gateway, asked over HTTP and with the official ollama client."""
import concurrent.futures
import hashlib
import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request

import server as wire
from server import DEMO, Server

try:
    import ollama
    import pytest
except ImportError:
    wire.run(__file__, "ollama")

sys.path.insert(0, os.path.join(wire.SOURCE, "tests", "support"))
from fake_hub import FakeHub  # noqa: E402

with open(DEMO, "rb") as f:
    MODEL = f.read()
REPO = {"config.json": b'{"model_type": "llama"}', "m-Q8_0.gguf": MODEL}


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as h:
        h.base = h.hf_repo("org/repo", REPO)
        yield h


@pytest.fixture(scope="module")
def srv(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    os.environ.update(CORRAL_HOME=str(home), HF_ENDPOINT=hub.url, CORRAL_REGISTRY=hub.url, CORRAL_AWS="off")
    with Server("--quiet", "--allow-private-hosts") as s:  # the hub's own files come from this machine
        if s.get("/jobs")[0] == 404:
            pytest.skip("corral serve is no gateway")
        s.home = getattr(s, "home", str(home))
        yield s


@pytest.fixture(scope="module")
def client(srv):
    return ollama.Client(host=srv.url, timeout=60)


def call(srv, method, path, body=None):
    """(status, JSON or text)"""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(srv.url + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as r:
            code, text = r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        code, text = e.code, e.read().decode()
    try:
        return code, json.loads(text)
    except ValueError:
        return code, text


def until(test, within_s=30.0):
    end = time.monotonic() + within_s
    while not (found := test()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
    return found


def lines(srv, path, body=None, accept="application/x-ndjson", method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(srv.url + path, data, {"Accept": accept}, method=method)
    with urllib.request.urlopen(request, timeout=60) as r:
        assert r.headers["Content-Type"].startswith(accept), r.headers["Content-Type"]
        for line in r:
            yield line.decode().rstrip("\n")


# ---- pulls and jobs


def test_pull_with_progress(srv, hub, client):
    hub.fault(hub.base + "m-Q8_0.gguf", slow=2 << 20)
    seen = list(client.pull("hf.co/org/repo", stream=True))
    assert seen[0].status == "pulling manifest" and seen[-1].status == "success"
    moved = [p for p in seen if p.completed]
    assert moved and all(p.total == len(MODEL) and p.completed <= p.total for p in moved)
    assert [p.completed for p in moved] == sorted(p.completed for p in moved)
    assert client.pull("hf.co/org/repo").status == "success"  # again: nothing to fetch
    assert client.list().models[0].model
    with pytest.raises(ollama.ResponseError):
        client.pull("hf.co/org/nothing")


def test_pull_in_our_words(srv, hub):
    code, job = call(srv, "POST", "/pull", {"model": "hf:org/repo:q8_0", "as": "second"})
    assert code == 202 and job["job_id"] == job["id"] and job["status"] in ("queued", "running", "completed")
    done = until(lambda: (j := call(srv, "GET", f"/jobs/{job['id']}")[1])["status"] == "completed" and j)
    assert done["progress"] == 1 and done["name"] == "second:latest" and done["files"][0]["done"]
    code, waited = call(srv, "POST", "/pull", {"model": "hf:org/repo:q8_0", "as": "third", "wait": True})
    assert code == 200 and waited["status"] == "completed"
    code, head, _ = srv.post("/pull", {"model": "hf:org/repo:q8_0", "as": "third", "wait": True, "sa": "fourth", "insecure": True})
    assert code == 200 and head["X-Corral-Ignored"] == "sa, insecure"
    code, head, body = srv.post("/pull", {"model": "", "a\r\nX-Evil: 1": 1, "b": 2})
    assert (code, head["X-Corral-Ignored"]) == (400, "a__X-Evil:_1, b") and "X-Evil" not in head, head
    told = [json.loads(x) for x in lines(srv, "/pull", {"model": "hf:org/repo:q8_0", "as": "third", "stream": True})]
    assert told[-1]["status"] == "completed"
    events = list(lines(srv, f"/jobs/{job['id']}", accept="text/event-stream"))
    assert "event: end" in events and any(x.startswith("data: ") and '"completed"' in x for x in events)
    for body, why in ((b"[]", "object"), (b"{}", "model"), (b'{"model": 3}', "model"), (b'{"model": "hf:"}', "")):
        code, _, answer = srv.post("/pull", body)
        assert code == 400 and why in answer["error"]["message"], answer


def test_cancel_and_filters(srv, hub):
    hub.put("/files/slow.gguf", MODEL)
    hub.fault("/files/slow.gguf", slow=100000)
    code, job = call(srv, "POST", "/pull", {"model": hub.url + "/files/slow.gguf"})
    assert code == 202
    until(lambda: call(srv, "GET", f"/jobs/{job['id']}")[1]["downloaded_bytes"] > 0)
    running = call(srv, "GET", "/jobs?status=running,queued")[1]["jobs"]
    assert [j["id"] for j in running] == [job["id"]] and running[0]["total_bytes"] in (0, len(MODEL))
    health = call(srv, "GET", "/health")[1]
    assert health["downloads_active"] == 1 and health["downloads_queued"] == 0
    assert call(srv, "DELETE", f"/jobs/{job['id']}")[0] == 200
    until(lambda: call(srv, "GET", f"/jobs/{job['id']}")[1]["status"] == "cancelled")
    assert call(srv, "DELETE", f"/jobs/{job['id']}")[0] == 409
    every = call(srv, "GET", "/jobs")[1]["jobs"]
    assert [j["id"] for j in every] == sorted((j["id"] for j in every), reverse=True)
    assert {j["status"] for j in call(srv, "GET", "/jobs?status=failed")[1]["jobs"]} == {"failed"}
    assert len(call(srv, "GET", "/jobs?limit=2")[1]["jobs"]) == 2
    older = call(srv, "GET", f"/jobs?before={job['id']}")[1]["jobs"]
    assert older and all(j["id"] < job["id"] for j in older)
    assert len(call(srv, "GET", f"/jobs?model={hub.url}/files/slow.gguf")[1]["jobs"]) == 1
    assert call(srv, "GET", "/jobs?since=99999999999999")[1]["jobs"] == []
    assert call(srv, "GET", "/jobs?status=nonsense")[0] == 400
    assert call(srv, "GET", "/jobs/x")[0] == call(srv, "GET", "/jobs/999999")[0] == 404


# ---- models


def test_lists(srv, client):
    openai = call(srv, "GET", "/v1/models")[1]["data"]
    ours = call(srv, "GET", "/models")[1]["models"]
    tags = client.list().models
    assert [m["id"] for m in openai] == [m["name"] for m in ours] and openai[0]["id"] == srv.name
    stored = [m["name"] for m in ours if m["in_store"]]
    assert stored == sorted(stored)
    assert {"hf.co/org/repo", "second", "third"} <= {m["name"] for m in ours}
    assert {t.model for t in tags} >= {"hf.co/org/repo:latest", "second:latest"}
    second = next(m for m in ours if m["name"] == "second")
    assert second["bytes"] == len(MODEL) and second["in_store"] and second["source"] == "hf:org/repo:q8_0"
    assert second["facts"]["architecture"] == "llama" and second["digest"] == "sha256:" + hashlib.sha256(MODEL).hexdigest()
    tag = next(t for t in tags if t.model == "second:latest")
    assert tag.size == len(MODEL) and tag.digest == hashlib.sha256(MODEL).hexdigest() and tag.details.format == "gguf"
    assert call(srv, "GET", "/v1/models/second")[1]["id"] == "second"
    assert call(srv, "GET", "/v1/models/hf.co/org/repo")[1]["id"] == "hf.co/org/repo"
    for path in ("/v1/models/nothing", "/models/nothing"):
        code, answer = call(srv, "GET", path)
        assert code == 404 and "nothing" in json.dumps(answer)


def test_show(srv, client):
    shown = client.show("second")
    assert shown.modelinfo["general.architecture"] == "llama" and "completion" in shown.capabilities
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    long = call(srv, "POST", "/api/show", {"model": "second", "verbose": True})[1]
    assert len(long["model_info"]["tokenizer.ggml.tokens"]) > 1000
    with pytest.raises(ollama.ResponseError) as e:
        client.show("nothing")
    assert e.value.status_code == 404
    plan = call(srv, "GET", "/models/second/plan")[1]
    assert plan["backend"] == "cpu" and plan["rungs"]


def test_copy_create_delete(srv, client):
    assert client.copy("second", "copied").status == "success"
    made = client.create("shaped", from_="second", system="Be brief.", parameters={"temperature": 0.25})
    assert made.status == "success"
    shown = client.show("shaped")
    assert "temperature" in shown.parameters and "0.25" in shown.parameters
    assert client.delete("copied").status == "success"
    with pytest.raises(ollama.ResponseError) as e:
        client.delete("copied")
    assert e.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as e:
        client.copy("nothing", "x")
    assert e.value.status_code == 404
    code, answer = call(srv, "POST", "/api/create", {"model": "x", "from": "second", "quantize": "q4_0"})
    assert code == 501 and "corral quantize" in answer["error"]
    assert call(srv, "POST", "/api/create", {"model": "x"})[0] == 400


def test_upload(srv, client, tmp_path):
    data = MODEL + b"\0" * 32  # a file that nobody has seen yet
    (tmp_path / "m.gguf").write_bytes(data)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert call(srv, "HEAD", "/api/blobs/" + digest)[0] == 404
    assert client.create_blob(tmp_path / "m.gguf") == digest
    assert call(srv, "HEAD", "/api/blobs/" + digest)[0] == 200
    assert client.create("uploaded", files={"m.gguf": digest}).status == "success"
    assert next(m for m in client.list().models if m.model == "uploaded:latest").size == len(data)
    wrong = urllib.request.Request(srv.url + "/api/blobs/sha256:" + "0" * 64, b"GGUF", method="POST")
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(wrong, timeout=20)
    assert e.value.code == 400
    assert call(srv, "POST", "/api/blobs/nonsense", {})[0] == 400
    assert client.create("lost", files={"m.gguf": digest}, stream=False).status == "success"
    for name in ("lost", "uploaded"):
        client.delete(name)
    assert not os.path.exists(os.path.join(srv.home, "models", "blobs", digest.replace(":", "-")))


def blob(srv, digest, data, sent=None):
    """The answer's status; with sent, the client goes after so many bytes."""
    with socket.create_connection(("127.0.0.1", srv.port), timeout=20) as s:
        s.sendall(f"POST /api/blobs/sha256:{digest} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        s.sendall(data[:sent])
        if sent is not None:
            return None
        got = b""
        while b"\r\n" not in got and (piece := s.recv(4096)):
            got += piece
        return wire.status(got)


def test_uploads_that_go_wrong(srv):
    folder = os.path.join(srv.home, "models", "blobs")
    data = os.urandom(3 << 20)
    digest = hashlib.sha256(data).hexdigest()

    def there():
        return [f for f in os.listdir(folder) if digest in f]

    blob(srv, digest, data, sent=1 << 20)  # cut
    until(lambda: not there())
    for wrong in (data[:-1], data + b"x", b""):
        assert blob(srv, digest, wrong) == 400 and not there()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:  # the same from several
        codes = list(pool.map(lambda _: blob(srv, digest, data), range(6)))
    assert set(codes) <= {200, 201} and 201 in codes, codes
    until(lambda: there() == ["sha256-" + digest])
    with open(os.path.join(folder, "sha256-" + digest), "rb") as f:
        assert f.read() == data
    assert blob(srv, digest, b"anything") == 200  # it is there: nothing is read into it
    with open(os.path.join(folder, "sha256-" + digest), "rb") as f:
        assert f.read() == data


def test_uploads_have_a_limit():
    with Server("--quiet", "--max-upload", "1M") as s:
        data = os.urandom(1 << 20)
        assert blob(s, hashlib.sha256(data).hexdigest(), data) == 201
        with s.connect() as c:
            c.sendall(b"POST /api/blobs/sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n")
            assert wire.status(c.recv(4096)) == 413


def test_versions_options_aliases(srv, hub):
    hub.put("/files/v.gguf", MODEL)
    for data in (MODEL, MODEL + b"\0" * 32):
        hub.put("/files/v.gguf", data)
        assert call(srv, "POST", "/pull", {"model": hub.url + "/files/v.gguf", "wait": True})[1]["status"] == "completed"
    versions = call(srv, "GET", "/models/v")[1]["versions"]
    assert [(v["version"], v["current"]) for v in versions] == [(2, True), (1, False)]
    assert call(srv, "POST", "/models/v/rollback", {})[0] == 200
    assert call(srv, "GET", "/models/v")[1]["version"] == 1
    assert call(srv, "POST", "/models/v/rollback", {"version": 2})[0] == 200
    assert call(srv, "POST", "/models/v/rollback", {"version": 9})[0] == 404
    assert call(srv, "POST", "/models/v/verify", {})[0] == 200
    assert call(srv, "DELETE", "/models/v?version=1")[0] == 200
    assert len(call(srv, "GET", "/models/v")[1]["versions"]) == 1

    assert call(srv, "PATCH", "/models/v/options", {"context": 256, "parallel": 2})[0] == 200
    assert call(srv, "PATCH", "/models/v/options", {"parallel": None})[0] == 200
    assert call(srv, "GET", "/models/v")[1]["options"] == {"context": 256}
    assert call(srv, "PUT", "/models/v/options", {"keep_alive": "10m"})[0] == 200
    assert call(srv, "GET", "/models/v")[1]["options"] == {"keep_alive": "10m"}
    code, answer = call(srv, "PATCH", "/models/v/options", {"contxt": 1})
    assert code == 400 and "context" in answer["error"]["message"]

    assert call(srv, "PUT", "/aliases/best", {"target": "v"})[0] == 200
    assert {"name": "best", "target": "v", "layer": "set"} in call(srv, "GET", "/aliases")[1]["aliases"]
    assert next(m for m in call(srv, "GET", "/models")[1]["models"] if m["name"] == "best")["alias_of"] == "v"
    assert call(srv, "DELETE", "/aliases/best")[0] == 200
    assert call(srv, "DELETE", "/aliases/best")[0] == 404
    assert call(srv, "DELETE", "/models/v")[0] == 200


def test_copies_by_query(srv):
    """Two texts of one query are two texts."""
    assert call(srv, "POST", "/models/copy?source=second&destination=by%20query", {})[0] == 400  # no name for a model
    code, answer = call(srv, "POST", "/models/copy?source=second&destination=queried", {})
    assert code == 200, answer
    assert call(srv, "GET", "/models/queried")[1]["digest"] == call(srv, "GET", "/models/second")[1]["digest"]
    assert call(srv, "DELETE", "/models/queried")[0] == 200
    for method, path in (("POST", "/models/load?model=%ff"), ("GET", "/models/%ff"), ("POST", "/models/%c3/load"), ("DELETE", "/models?model=a%00b")):
        code, answer = call(srv, method, path, {} if method == "POST" else None)
        assert code == 400 and "UTF-8" in json.dumps(answer), (path, code, answer)


# ---- what clients may name


def test_clients_may_not_name_everything(hub, tmp_path, monkeypatch):
    """By default clients of the network reach no file of the server's machine and no host of its networks through it."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.put("/files/inside.gguf", MODEL)
    secret = tmp_path / "secret.gguf"
    secret.write_bytes(MODEL)
    port = hub.url.rsplit(":", 1)[1]
    before = len(hub.asked("/files/inside.gguf"))
    with Server("--quiet") as s:
        for reference, flag in ((str(secret), "local-files"), (f"file:{secret}", "local-files"), ("x.gguf", "local-files"),
                                (f"{hub.url}/files/inside.gguf", "private-hosts"), (f"http://localhost:{port}/x.gguf", "private-hosts"),
                                ("http://169.254.169.254/latest/x.gguf", "private-hosts"), (f"localhost:{port}/ns/name", "private-hosts"),
                                (f"http://[::1]:{port}/x.gguf", "private-hosts"), (f"http://2130706433:{port}/x.gguf", "private-hosts")):
            for path in ("/pull", "/api/pull"):
                code, answer = call(s, "POST", path, {"model": reference})
                assert code == 403 and f"--allow-{flag}" in json.dumps(answer), (reference, code, answer)
        # An alias is what it stands for.
        assert call(s, "PUT", "/aliases/innocent", {"target": f"file:{secret}"})[0] == 200
        assert call(s, "POST", "/pull", {"model": "innocent"})[0] == 403
        # The hub that the operator chose may be anywhere.
        assert call(s, "POST", "/pull", {"model": "hf:org/repo:q8_0", "as": "m", "wait": True})[1]["status"] == "completed"
        for options, flag in (({"upstreams": [hub.url]}, "private-hosts"), ({"draft": str(secret)}, "local-files"),
                              ({"chat_template": str(secret)}, "local-files")):
            code, answer = call(s, "PATCH", "/models/m/options", options)
            assert code == 403 and flag in json.dumps(answer)
            assert call(s, "PUT", "/models/m/options", options)[0] == 403
        assert call(s, "PATCH", "/models/m/options", {"draft": "m"})[0] == 200  # a model of the store
        # A name that turns out to be of this machine is found out when the pull connects, and nothing was asked for.
        try:
            own = socket.gethostbyname(socket.gethostname())
        except OSError:
            own = ""
        if own.startswith(("10.", "127.", "192.168.")) or re.match(r"172\.(1[6-9]|2\d|3[01])\.", own):
            job = call(s, "POST", "/pull", {"model": f"http://{socket.gethostname()}:{port}/files/inside.gguf", "wait": True})[1]
            assert job["status"] == "failed" and "--allow-private-hosts" in job["error"], job
        assert len(hub.asked("/files/inside.gguf")) == before
        # Who owns the home may: the commands of corral go through a socket that only that user can open.
        import subprocess
        env = {**os.environ, "CORRAL_HOME": s.home}
        for reference in (str(secret), f"{hub.url}/files/inside.gguf"):
            done = subprocess.run([wire.CORRAL, "pull", reference, "--quiet"], env=env, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
    with Server("--quiet", "--allow-local-files", "--allow-private-hosts") as s:
        for reference in (str(secret), f"{hub.url}/files/inside.gguf"):
            assert call(s, "POST", "/pull", {"model": reference, "wait": True})[1]["status"] == "completed"


def test_keys_of_other_servers_stay_here(srv):
    assert call(srv, "PATCH", "/models/third/options", {"upstream_key": "sesame-open"})[0] == 200
    for path in ("/models/third", "/models"):
        assert "sesame-open" not in json.dumps(call(srv, "GET", path)[1])
    assert call(srv, "PATCH", "/models/third/options", {"upstream_key": None})[0] == 200


# ---- loading


def state(srv, name):
    return call(srv, "GET", "/models/" + name)[1]["state"]


def test_load_reload_unload(srv, client):
    assert call(srv, "POST", "/models/second/load", {})[0] == 200
    until(lambda: state(srv, "second") == "ready")
    one = call(srv, "GET", "/models/second")[1]
    (worker,) = one["worker"]
    assert worker["state"] == "ready" and worker["pid"] > 1 and "host" in worker["devices"] and one["memory_bytes"] > 0
    assert any(m.model == "second:latest" for m in client.ps().models)
    assert {"model": "second:latest", "state": "ready", "workers": 1} in call(srv, "GET", "/running")[1]["running"]
    assert call(srv, "POST", "/models/second/reload", {})[0] == 200
    newer = until(lambda: (w := [x for x in call(srv, "GET", "/models/second")[1]["worker"] if x["state"] == "ready"])
                  and w[0]["pid"] != worker["pid"] and w[0])
    assert newer["generation"] > worker["generation"]
    code, text = call(srv, "GET", "/logs/second?lines=5")
    assert code == 200 and 0 < len(text.splitlines()) <= 5
    assert call(srv, "GET", "/logs/nothing")[0] == 404
    assert call(srv, "POST", "/models/unload", {"model": "second"})[0] == 200
    until(lambda: state(srv, "second") == "cold")
    assert call(srv, "POST", "/models/load", {"model": "nothing"})[0] == 404
    assert call(srv, "POST", "/models/load", {})[0] == 400
    decisions = call(srv, "GET", "/placement")[1]
    assert decisions["placements"] > 0 and any(d["model"] == "second:latest" for d in decisions["decisions"])


def test_removed_while_loaded(srv, client):
    client.copy("second", "leaves")
    call(srv, "POST", "/models/leaves/load", {})
    until(lambda: state(srv, "leaves") == "ready")
    assert call(srv, "DELETE", "/models/leaves")[0] == 200
    until(lambda: not any(s["model_id"].startswith("leaves") for s in call(srv, "GET", "/servers")[1]["servers"]))


def test_events(srv, hub):
    """GET /models/sse in the words of llama.cpp's router."""
    heard = []

    def hear(test, within_s=60.0):
        end = time.monotonic() + within_s
        while not any(test(e) for e in heard):
            assert time.monotonic() < end, heard
            line = stream.readline()
            if line.startswith(b"data: "):
                heard.append(json.loads(line[6:]))
        del heard[:next(i for i, e in enumerate(heard) if test(e)) + 1]

    def status(model, value):
        return lambda e: e["model"] == model and e["event"] == "model_status" and e["data"]["status"] == value

    call(srv, "POST", "/models/unload", {"model": "third"})
    until(lambda: state(srv, "third") == "cold")
    request = urllib.request.Request(srv.url + "/models/sse")
    with urllib.request.urlopen(request, timeout=60) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        call(srv, "POST", "/models/load", {"model": "third"})
        hear(status("third", "loading"))
        hear(status("third", "loaded"))
        with urllib.request.urlopen(srv.url + "/models/sse", timeout=60) as second:  # who comes later hears what is
            line = second.readline()
            while not line.startswith(b"data: ") or b'"third"' not in line:
                line = second.readline()
            assert json.loads(line[6:])["data"]["status"] == "loaded"
        call(srv, "POST", "/models/unload", {"model": "third"})
        hear(status("third", "unloaded"))
        hub.put("/files/heard.gguf", MODEL)
        hub.fault("/files/heard.gguf", slow=1 << 20)
        code, job = call(srv, "POST", "/pull", {"model": hub.url + "/files/heard.gguf"})
        assert code == 202
        def moved(e):
            files = e["data"].get("progress", {})
            return e["model"] == "heard" and e["event"] == "download_progress" and any(0 < f["done"] < len(MODEL) for f in files.values())
        hear(moved)
        hear(lambda e: e["model"] == "heard" and e["event"] == "download_finished" and e["data"]["job_id"] == job["id"])
        call(srv, "POST", "/pull", {"model": hub.url + "/files/nothing.gguf"})
        hear(lambda e: e["model"] == "nothing" and e["event"] == "download_failed" and e["data"]["error"])
        call(srv, "POST", "/models/third/reload", {})
        hear(lambda e: e["event"] == "models_reload" and e["model"] == "third")
        call(srv, "DELETE", "/models/heard")
        hear(lambda e: e["event"] == "model_remove" and e["model"] == "heard")


def test_logs_follow(srv):
    call(srv, "POST", "/models/second/load", {})
    until(lambda: state(srv, "second") == "ready")
    with socket.create_connection(("127.0.0.1", srv.port), timeout=20) as s:
        s.sendall(wire.request("/logs/second?lines=1&follow=1", method="GET"))
        got = b""
        while b"\r\n\r\n" not in got:
            got += s.recv(65536)
        call(srv, "POST", "/models/second/unload", {})
        before = len(got)
        while len(got) < before + 20:  # what the worker says at its end, and each second before it
            piece = s.recv(65536)
            assert piece
            got += piece
    assert got.startswith(b"HTTP/1.1 200")


# ---- state


HEALTH = {  # R2's and R3's names
    "status": str, "uptime_seconds": int, "models_cached": int, "downloads_active": int, "downloads_queued": int,
    "cache_limit": int, "torch_version": type(None), "cuda_available": bool, "gpu_memory_allocated_mb": (float, type(None)),
    "gpu_memory_reserved_mb": (float, type(None)), "servers": list, "gpu_pool_status": dict, "host": dict, "version": str,
}


def test_health(srv):
    code, health = call(srv, "GET", "/health")
    assert code == 200
    for name, kind in HEALTH.items():
        assert isinstance(health[name], kind), (name, health[name])
    assert health["status"] in ("healthy", "degraded") and health["last_decision"]
    assert {"total_gpus", "available_gpus", "total_vram", "available_vram", "gpu_list", "allocation_strategy"} <= \
        set(health["gpu_pool_status"])
    for s in health["servers"]:  # R3's Server; one on the CPU has no GPUs
        assert isinstance(s["id"], int) and isinstance(s["model_id"], str) and s["status"] in ("stopped", "running", "error")
        assert isinstance(s["process"], int) and s["gpu_assignment"] is None and s["devices"][0]["uuid"] == "host"
    listed = call(srv, "GET", "/v1/models")[1]
    assert listed["object"] == "list"
    for m in listed["data"]:  # OpenAI's schema
        assert m["object"] == "model" and isinstance(m["id"], str) and isinstance(m["created"], int) and m["owned_by"] == "corral"
    assert call(srv, "GET", "/livez") == call(srv, "GET", "/readyz") == (200, "ok\n")


METRIC = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_]\w*="(\\.|[^"\\])*",?)*\})? (\S+)$')


def test_metrics(srv):
    call(srv, "POST", f"/models/{srv.name}/load", {})
    until(lambda: state(srv, srv.name) == "ready")
    text = call(srv, "GET", "/metrics")[1]
    kinds, told, seen, family = {}, set(), set(), None
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            if what == "TYPE":
                assert name not in kinds, f"{name} is there twice"
                kinds[name] = rest
            else:
                assert name not in told
                told.add(name)
            family = name
            continue
        found = METRIC.match(line)
        assert found, line
        base = re.sub(r"_(bucket|sum|count)$", "", found[1]) if kinds.get(family) in ("histogram", "summary") else found[1]
        assert base == family, (line, family)
        assert (found[1], found[2]) not in seen, line
        seen.add((found[1], found[2]))
        float(found[5])
    assert set(kinds) == told
    assert "corral_pool_loads_total" in kinds and kinds["corral_pool_loads_total"] == "counter"
    assert any(labels and f'model="{srv.name}' in labels for _, labels in seen)
    host = dict(re.findall(r'corral_ledger_bytes\{device="host",part="(\w+)"\} (\d+)', text))
    planned = re.findall(r'corral_worker_predicted_bytes\{model="\S+",worker="\d+",device="host"\} (\d+)', text)
    assert planned and sum(map(int, planned)) <= int(host["committed"]) + int(host["reserved"]), (planned, host)
    assert set(host) == {"external", "committed", "reserved", "kept_free", "available"}


def test_gpus(tmp_path):
    library = os.environ.get("CORRAL_FAKE_NVML")
    if not library or not os.path.exists(library):
        pytest.skip("there is no fake NVML")
    cards = tmp_path / "cards"
    cards.write_text("GPU-aaaa|Fake A|24576|20480|37|51|120000|8.9|\nGPU-bbbb|Fake B|81920|1024|-|-|-|9.0|\n")
    os.environ.update(CORRAL_NVML=library, FAKE_NVML=str(cards), CORRAL_HOME=str(tmp_path))
    try:
        with Server("--quiet") as s:
            code, shown = call(s, "GET", "/gpus")
            if code == 404:
                pytest.skip("corral serve is no gateway")
            pool = shown["gpu_pool_status"]
            a, b = pool["gpu_list"]
            assert (a["name"], a["uuid"], a["total_memory"], a["used_memory"], a["utilization"]) == \
                   ("Fake A", "GPU-aaaa", 24, 20, 37)
            assert a["memory_warning"] and not b["memory_warning"]  # over 80 %
            assert b["temperature"] is None and b["compute_capability"] == "9.0" and a["assigned_models"] == []
            for name in ("id", "free_memory", "power_usage", "processes", "sample_age_ms", "committed_bytes", "external_bytes"):
                assert name in a
            health = call(s, "GET", "/health")[1]
            assert health["cuda_available"] and health["gpu_pool_status"]["total_gpus"] == 2
            shown = call(s, "GET", "/metrics/gpu?span=60&step=1")[1]
            assert [g["gpu_index"] for g in shown["gpus"]] == [0, 1] and shown["gpus"][0]["memory_total_mb"] == 24576
            assert {h["uuid"] for h in shown["history"]} == {"host", "GPU-aaaa", "GPU-bbbb"}
            text = call(s, "GET", "/metrics")[1]
            assert 'corral_gpu_memory_used_bytes{' in text and 'uuid="GPU-aaaa"' in text
    finally:
        del os.environ["CORRAL_NVML"]


if __name__ == "__main__":
    wire.run(__file__, "ollama")
