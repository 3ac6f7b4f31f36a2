"""/v1/ws of corral serve: several requests over one WebSocket, of several families, with cancelling."""
import json

import server as wire
from server import Server

try:
    import pytest
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
except ImportError:
    wire.run(__file__, "websockets")

CHAT = {"messages": [{"role": "user", "content": "What is Corral?"}], "temperature": 0, "max_tokens": 30}
LONG = {"prompt": "Once upon a time", "n_predict": 900, "ignore_eos": True}


class Worker(Server):
    command = ("worker",)


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "8", "--quiet") as s:
        yield s


@pytest.fixture
def ws(srv):
    with connect(srv.url.replace("http", "ws") + "/v1/ws") as w:
        yield w


def ask(ws, id, path, body):
    ws.send(json.dumps({"id": id, "path": path, "body": body}))


def hear(ws, *ids):
    """All messages until each of ids has ended: {id: [message]}"""
    got, open_ = {i: [] for i in ids}, set(ids)
    while open_:
        m = json.loads(ws.recv(timeout=60))
        got[m["id"]].append(m)
        if m.get("done") or m.get("error"):
            open_.discard(m["id"])
    return got


def chat_text(messages):
    return "".join(c["delta"].get("content") or "" for m in messages if "data" in m for c in m["data"]["choices"])


def test_the_same_as_over_http(srv, ws):
    _, _, http = srv.post("/v1/chat/completions", CHAT)
    ask(ws, "a", "/v1/chat/completions", CHAT)
    got = hear(ws, "a")["a"]
    assert chat_text(got) == http["choices"][0]["message"]["content"] and got[-1] == {"id": "a", "done": True}
    ask(ws, "b", "/v1/chat/completions", {**CHAT, "stream": False})
    whole, end = hear(ws, "b")["b"]
    assert whole["data"]["choices"][0]["message"]["content"] == chat_text(got) and end["done"]


def test_families(ws):
    ask(ws, "claude", "/v1/messages", CHAT)
    ask(ws, "ollama", "/api/chat", {"model": "demo", "messages": CHAT["messages"], "options": {"temperature": 0, "num_predict": 30}})
    ask(ws, "llama", "/completion", {"prompt": "Once upon", "n_predict": 5})
    ask(ws, "native", "/chat", {"message": "What is Corral?", "temperature": 0, "max_tokens": 30})
    ask(ws, "generate", "/api/generate", {"model": "demo", "prompt": "What is Corral?", "options": {"temperature": 0, "num_predict": 30}})
    ask(ws, "responses", "/v1/responses", {"input": "What is Corral?", "temperature": 0, "max_output_tokens": 30})
    got = hear(ws, "claude", "ollama", "llama", "native", "generate", "responses")
    assert [m.get("event") for m in got["claude"]][0] == "message_start" and got["claude"][-2]["event"] == "message_stop"
    text = "".join(m["data"]["message"]["content"] for m in got["ollama"] if "data" in m)
    assert text == "".join(m["data"]["delta"]["content"] for m in got["native"] if "data" in m)
    assert text == "".join(m["data"]["delta"].get("text", "") for m in got["claude"] if m.get("event") == "content_block_delta")
    assert text == "".join(m["data"]["response"] for m in got["generate"] if "data" in m)
    assert text == "".join(m["data"]["delta"] for m in got["responses"] if m.get("event") == "response.output_text.delta")
    assert got["responses"][-2]["event"] in ("response.completed", "response.incomplete")
    assert got["llama"][-2]["data"]["stop"] is True


def test_several_at_once(ws):
    ids = [str(i) for i in range(12)]
    for i in ids:
        ask(ws, i, "/v1/chat/completions", CHAT)
    texts = {chat_text(m) for m in hear(ws, *ids).values()}
    assert len(texts) == 1 and texts != {""}


def test_cancel(srv, ws):
    ask(ws, "long", "/completion", LONG)
    first = json.loads(ws.recv(timeout=60))
    assert first["id"] == "long" and not first["data"]["stop"]
    ws.send(json.dumps({"id": "long", "cancel": True}))
    while (m := json.loads(ws.recv(timeout=20))) and not m.get("done"):
        pass
    assert m == {"id": "long", "done": True, "cancelled": True}
    srv.idle()
    ask(ws, "long", "/completion", {**LONG, "n_predict": 2})  # the id is free again
    assert hear(ws, "long")["long"][-1]["done"]


def test_going_away_cancels(srv):
    with connect(srv.url.replace("http", "ws") + "/v1/ws") as w:
        for i in range(4):
            ask(w, str(i), "/completion", LONG)
        w.recv(timeout=60)
    srv.idle()


@pytest.mark.parametrize("message, status, says", [
    ("nonsense", 400, "not valid JSON"),
    ('{"path":"/completion","body":{}}', 400, "'id'"),
    ('{"id":"x","path":"/nothing","body":{}}', 404, "/v1/chat/completions"),
    ('{"id":"x","path":"/completion"}', 400, "'body'"),
    ('{"id":"x","path":"/completion","body":{}}', 400, "'prompt' is missing"),
    ('{"id":"x","path":"/v1/messages","body":{"max_tokens":1,"messages":[]}}', 400, "messages"),
    ('{"id":"x","path":"/api/chat","body":{"model":"demo"}}', 400, "nothing to answer"),
    ('{"id":"x","path":"/v1/chat/completions","body":{"model":"gpt","messages":[]}}', 404, "'gpt'"),
])
def test_refused(ws, message, status, says):
    ws.send(message)
    m = json.loads(ws.recv(timeout=20))
    assert m["status"] == status and says in json.dumps(m["error"])
    ask(ws, "still", "/completion", {"prompt": "x", "n_predict": 1})  # the connection lives on
    assert hear(ws, "still")["still"][-1]["done"]


def test_what_has_no_effect_is_named(ws):
    ask(ws, "x", "/completion", {"prompt": "x", "n_predict": 1, "warp": 9})
    assert hear(ws, "x")["x"][-1] == {"id": "x", "done": True, "ignored": "warp"}


def test_an_id_that_is_in_use(ws):
    ask(ws, "x", "/completion", {**LONG, "n_predict": 100})
    ask(ws, "x", "/completion", {"prompt": "y", "n_predict": 1})
    refused = next(m for m in iter(lambda: json.loads(ws.recv(timeout=60)), None) if "error" in m)
    assert refused["status"] == 400 and "still running" in json.dumps(refused["error"])


def test_too_many(ws):
    for i in range(40):
        ask(ws, str(i), "/completion", {**LONG, "n_predict": 60})
    got = hear(ws, *map(str, range(40)))
    assert sum(m[-1].get("status") == 429 for m in got.values()) >= 1
    assert sum(bool(m[-1].get("done")) for m in got.values()) >= 32


def test_what_runs_is_answered_before_the_server_stops():
    with Worker("--parallel", "4", "--quiet") as s, connect(s.url.replace("http", "ws") + "/v1/ws") as w, \
            connect(s.url.replace("http", "ws") + "/v1/ws") as idle:
        ask(w, "a", "/completion", {**LONG, "n_predict": 100})
        got = [json.loads(w.recv(timeout=60))]
        s.proc.terminate()
        with pytest.raises(ConnectionClosed) as e:
            idle.recv(timeout=60)
        assert e.value.rcvd.code == 1001
        ask(w, "b", "/completion", LONG)
        while not any(m["id"] == "a" and m.get("done") for m in got):
            got.append(json.loads(w.recv(timeout=60)))
        assert [m["status"] for m in got if m["id"] == "b"] in ([503], [])  # the answer may have been faster
        assert sum(len(m["data"]["tokens"]) for m in got if m["id"] == "a" and "data" in m) == 100
        with pytest.raises(ConnectionClosed) as e:
            while True:
                w.recv(timeout=60)
        assert e.value.rcvd.code == 1001


if __name__ == "__main__":
    wire.run(__file__, "websockets")
