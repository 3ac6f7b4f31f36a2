"""Errors that no handler makes (keys, paths, methods, sizes, deadlines) in the shape of the path's family, as the
official clients see them."""
import json
import socket

import server as wire

try:
    import anthropic
    import ollama
    import openai
    import pytest

    @pytest.fixture(scope="module")
    def srv():
        with wire.Server("--api-key", "secret-key", "--ctx", "256", "--parallel", "2", "--max-body", "20000", "--max-head",
                         "2048", "--head-timeout", "0.6") as s:
            yield s
except ImportError:
    pass

QUESTION = [{"role": "user", "content": "hi"}]


def test_openai(srv):
    client = openai.OpenAI(base_url=srv.url + "/v1", api_key="wrong-key", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as e:
        client.chat.completions.create(model="demo", messages=QUESTION)
    assert e.value.code == "invalid_api_key" and "not known" in e.value.message
    client = client.with_options(api_key="secret-key")
    with pytest.raises(openai.NotFoundError) as e:
        client.get("/nothing", cast_to=object)
    assert e.value.code == "not_found"
    with pytest.raises(openai.APIStatusError) as e:
        client.delete("/chat/completions", cast_to=object)
    assert e.value.status_code == 405
    with pytest.raises(openai.APIStatusError) as e:
        client.responses.create(model="demo", input="word " * 10000)
    assert e.value.status_code == 413 and e.value.code == "request_too_large"


def test_anthropic(srv):
    client = anthropic.Anthropic(base_url=srv.url, api_key="wrong-key", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as e:
        client.messages.create(model="demo", max_tokens=8, messages=QUESTION)
    assert e.value.body["type"] == "error" and e.value.body["error"]["type"] == "authentication_error"
    client = client.with_options(api_key="secret-key")
    with pytest.raises(anthropic.RequestTooLargeError) as e:
        client.messages.create(model="demo", max_tokens=8, messages=[{"role": "user", "content": "word " * 10000}])
    assert e.value.body["error"]["type"] == "request_too_large"


def test_ollama(srv):
    def fails(key, call):
        with pytest.raises(ollama.ResponseError) as e:
            call(ollama.Client(host=srv.url, headers={"Authorization": f"Bearer {key}"}))
        return e.value.status_code, e.value.error
    code, text = fails("wrong-key", lambda c: c.chat(model="demo", messages=QUESTION))
    assert code == 401 and text == "this API key is not known here"
    code, text = fails("wrong-key", lambda c: list(c.chat(model="demo", messages=QUESTION, stream=True)))
    assert code == 401 and text == "this API key is not known here"
    code, text = fails("secret-key", lambda c: c.generate(model="demo", prompt="word " * 10000))
    assert code == 413 and "too large" in text


def body_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# What the client's libraries never send: a head that is too large, or that does not end.
CASES = [
    ("/v1/chat/completions", lambda b: b["error"]["type"] in ("invalid_request_error", "timeout_error")),
    ("/v1/messages?beta=true", lambda b: b["type"] == "error" and b["error"]["type"] in ("invalid_request_error", "timeout_error")),
    ("/api/chat", lambda b: isinstance(b["error"], str)),
    ("/tokenize", lambda b: b["error"]["code"] in (408, 431)),
]
def test_heads_that_are_not_understood(srv):
    for path, look in CASES:
        check_head(srv, path, look)


def check_head(srv, path, look):
    answer = srv.raw(f"POST {path} HTTP/1.1\r\nHost: a\r\nX: {'x' * 3000}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 431") and look(body_of(answer)), answer
    with srv.connect() as s:
        s.sendall(f"POST {path} HTTP/1.1\r\nHo".encode())
        answer = wire.drain(s)
    assert answer.startswith(b"HTTP/1.1 408") and look(body_of(answer)), answer


def test_not_even_a_line(srv):
    with srv.connect() as s:
        s.sendall(b"\x16\x03\x01 nothing \x00\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        answer = wire.drain(s)
    assert answer.startswith(b"HTTP/1.1 400") and body_of(answer)["error"]["type"] == "invalid_request_error"


if __name__ == "__main__":
    wire.run(__file__, "openai", "anthropic", "ollama")
