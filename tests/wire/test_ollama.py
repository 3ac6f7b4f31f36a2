"""The official ollama client against corral serve and the demo model."""
import json
import time
import urllib.request

import server as wire
from server import Server

try:
    import ollama
    import pytest
except ImportError:
    wire.run(__file__, "ollama")

QUESTION = [{"role": "user", "content": "What is Corral?"}]
CALM = {"temperature": 0, "num_predict": 40}


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "4", "--quiet") as s:
        yield s


@pytest.fixture(scope="module")
def client(srv):
    return ollama.Client(host=srv.url, timeout=60)


def test_models(client):
    (one,) = client.list().models
    assert one.model == "demo:latest" and one.size > 100000 and len(one.digest) == 64
    assert one.details.family == "llama" and one.details.format == "gguf" and one.modified_at.year > 2000
    (loaded,) = client.ps().models
    assert loaded.model == "demo:latest" and loaded.context_length == 1024 and loaded.expires_at.year > 2100
    shown = client.show("demo")
    assert "im_start" in shown.template and shown.modelinfo["general.architecture"] == "llama"
    assert "completion" in shown.capabilities and shown.details.parameter_size.endswith("M")


def test_chat(client):
    whole = client.chat("demo", QUESTION, options=CALM)
    assert whole.message.role == "assistant" and "Corral" in whole.message.content and whole.done
    assert whole.done_reason in ("stop", "length") and 0 < whole.eval_count <= 40 and whole.prompt_eval_count > 5
    assert min(whole.total_duration, whole.load_duration, whole.prompt_eval_duration, whole.eval_duration) > 0
    parts = list(client.chat("Demo:latest", QUESTION, options=CALM, stream=True))
    assert "".join(p.message.content for p in parts) == whole.message.content
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


def test_generate(client):
    whole = client.generate("demo", "What is Corral?", options=CALM)
    assert whole.response == client.chat("demo", QUESTION, options=CALM).message.content
    parts = list(client.generate("demo", "What is Corral?", options=CALM, stream=True))
    assert "".join(p.response for p in parts) == whole.response and list(parts[-1].context) == list(whole.context)
    again = client.generate("demo", "And who?", context=whole.context, options=CALM)
    assert again.prompt_eval_count > len(whole.context)
    raw = client.generate("demo", "Once upon a time", raw=True, options={**CALM, "num_predict": 5})
    assert raw.eval_count == 5 and raw.done_reason == "length"
    told = client.generate("demo", "What is Corral?", system="Answer in one word.", options=CALM)
    assert told.prompt_eval_count > whole.prompt_eval_count


def test_stop_and_seed(client):
    def say(**options):
        return client.generate("demo", "Once upon a time", raw=True, options={"num_predict": 30, **options})
    text = say(temperature=0).response
    word = text.split()[3]
    assert word not in say(temperature=0, stop=[word]).response
    assert say(temperature=1, seed=7).response == say(temperature=1, seed=7).response
    assert len({say(temperature=1.5).response for _ in range(4)}) > 1


def test_json(client):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"enum": [1, 2]}},
              "required": ["name", "age"], "additionalProperties": False}
    options = {"temperature": 0, "num_predict": 100}
    made = json.loads(client.chat("demo", QUESTION, format=schema, options=options).message.content)
    assert set(made) == {"name", "age"} and made["age"] in (1, 2)
    assert client.generate("demo", "A thing:", format="json", options=options).response.lstrip().startswith("{")


def test_logprobs(client):
    r = client.chat("demo", QUESTION, logprobs=True, top_logprobs=3, options={"temperature": 0, "num_predict": 4})
    assert len(r.logprobs) == 4 and all(len(t.top_logprobs) == 3 for t in r.logprobs)
    assert all(t.logprob == t.top_logprobs[0].logprob <= 0 for t in r.logprobs)


def test_tools_in_the_prompt(client):
    def weather(city: str) -> str:
        """Say the weather.

        Args:
          city: The city
        """
    plain = client.chat("demo", QUESTION, options=CALM)
    asked = client.chat("demo", QUESTION, tools=[weather], options=CALM)
    assert asked.prompt_eval_count > plain.prompt_eval_count + 20
    history = [*QUESTION,
               {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bonn"}}}]},
               {"role": "tool", "tool_name": "weather", "content": "12 C"}]
    assert client.chat("demo", history, options=CALM).prompt_eval_count > plain.prompt_eval_count + 10


def test_load_and_unload(srv, client):
    assert client.generate("demo").done_reason == "load"
    assert client.chat("demo", [], keep_alive=0).done_reason == "unload"
    end = time.monotonic() + 20
    while client.ps().models:  # it sleeps
        assert time.monotonic() < end
        time.sleep(0.05)
    assert client.list().models and client.generate("demo", "x", options=CALM, keep_alive="5m").eval_count > 0
    assert client.ps().models  # awake, and stays so


def test_embed(client):
    two = client.embed("demo", ["Hello", "World"])
    assert len(two.embeddings) == 2 and two.prompt_eval_count > 0
    assert all(abs(sum(x * x for x in v) - 1) < 1e-3 for v in two.embeddings)
    one = client.embed("demo", "Hello").embeddings
    assert list(one[0]) == pytest.approx(list(two.embeddings[0]), abs=1e-5)
    short = client.embed("demo", "Hello", dimensions=8).embeddings[0]
    assert len(short) == 8 and abs(sum(x * x for x in short) - 1) < 1e-3
    assert client.embed("demo", []).embeddings == []
    old = client.embeddings("demo", "Hello").embedding
    assert len(old) == len(one[0]) and old[0] * one[0][0] > 0
    with pytest.raises(ollama.ResponseError, match="1024"):
        client.embed("demo", "word " * 3000)


def test_errors(srv, client):
    def fails(code, call, *args, **kw):
        with pytest.raises(ollama.ResponseError) as e:
            r = call(*args, **kw)
            if kw.get("stream"):
                list(r)
        assert e.value.status_code == code, e.value
        return e.value.error
    assert "model 'llama3' not found" in fails(404, client.chat, "llama3", QUESTION)
    assert "model 'llama3' not found" in fails(404, client.generate, "llama3", "x", stream=True)
    assert "not found" in fails(404, client.show, "llama3")
    assert "1024" in fails(400, client.chat, "demo", [{"role": "user", "content": "word " * 3000}])
    assert "text only" in fails(400, client.generate, "demo", "x", images=[b"\x89PNG"])


def test_what_has_no_effect_is_named(srv):
    body = {"model": "demo", "prompt": "x", "stream": False, "options": {"num_ctx": 100000, "num_predict": 1, "warp": 9, "use_mlock": True}}
    code, head, _ = srv.post("/api/generate", body)
    assert code == 200 and head["X-Corral-Ignored"] == "options.num_ctx, options.use_mlock, warp"
    request = urllib.request.Request(srv.url + "/api/generate", json.dumps(body).encode(), {"X-Corral-Strict": "1"})
    code, _, answer = srv.open(request, 20)
    assert code == 400 and "num_ctx" in answer["error"]


if __name__ == "__main__":
    wire.run(__file__, "ollama")
