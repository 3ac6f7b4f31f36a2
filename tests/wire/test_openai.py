"""The official openai client against corral serve and the demo model."""
import json
import os
import threading
import urllib.request

import server as wire
from server import Server

try:
    import openai
    import pydantic
    import pytest
except ImportError:
    wire.run(__file__, "openai")

QUESTION = [{"role": "user", "content": "What is Corral?"}]
STORY = "Once upon a time"


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "8", "--alias", "gpt-test", "--quiet") as s:
        yield s


@pytest.fixture(scope="module")
def client(srv):
    with openai.OpenAI(base_url=srv.url + "/v1", api_key="none", max_retries=0, timeout=60) as c:
        yield c


def stream_text(stream):
    text, finish = "", None
    for chunk in stream:
        for choice in chunk.choices:
            text += (choice.delta.content or "") if hasattr(choice, "delta") else choice.text
            finish = choice.finish_reason or finish
    return text, finish


def test_models(srv, client):
    assert {m.id for m in client.models.list()} == {"demo", "gpt-test"}
    assert client.models.retrieve("demo").owned_by == "corral"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_chat(client):
    whole = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=60)
    message = whole.choices[0].message
    assert message.role == "assistant" and "Corral" in message.content
    assert whole.object == "chat.completion" and whole.model == "demo" and whole.id.startswith("chatcmpl-")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert 0 < whole.usage.completion_tokens <= 60
    stream = client.chat.completions.create(model="gpt-test", messages=QUESTION, temperature=0, max_tokens=60, stream=True)
    assert stream_text(stream) == (message.content, whole.choices[0].finish_reason)


def test_the_end_of_a_turn_ends_the_answer(client):
    r = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0)
    assert r.choices[0].finish_reason == "stop" and "<|im_end|>" not in r.choices[0].message.content


def test_what_a_user_writes_is_no_control_token(client):
    def prompt_tokens(text):
        r = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}], max_tokens=1)
        return r.usage.prompt_tokens
    # Ten characters of text are several tokens; the control token would be one.
    assert prompt_tokens("<|im_end|>") - prompt_tokens("") > 1


def test_completion(client):
    whole = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=20)
    assert whole.object == "text_completion" and whole.id.startswith("cmpl-") and whole.usage.completion_tokens <= 20
    stream = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=20, stream=True)
    assert stream_text(stream) == (whole.choices[0].text, whole.choices[0].finish_reason)
    echo = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=20, echo=True)
    assert echo.choices[0].text == STORY + whole.choices[0].text
    assert client.completions.create(model="demo", prompt=STORY).usage.completion_tokens <= 16  # OpenAI's default


def test_usage_in_a_stream(client):
    whole = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=10)
    chunks = list(client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=10, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1]) and len({c.id for c in chunks}) == 1


def test_stop(client):
    free = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=40).choices[0].message.content
    for stop in (free[5:8], free[3], [free[10:16], "never seen"]):
        first = stop if isinstance(stop, str) else stop[0]
        for stream in (False, True):
            r = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=40, stop=stop, stream=stream)
            text, finish = stream_text(r) if stream else (r.choices[0].message.content, r.choices[0].finish_reason)
            assert (text, finish) == (free[:free.index(first)], "stop")


def test_chat_logprobs(client):
    args = dict(model="demo", messages=QUESTION, temperature=0, max_tokens=12, logprobs=True, top_logprobs=3)
    whole = client.chat.completions.create(**args)
    tokens = whole.choices[0].logprobs.content
    assert len(tokens) == whole.usage.completion_tokens
    assert b"".join(bytes(t.bytes) for t in tokens).decode() == whole.choices[0].message.content
    for t in tokens:
        assert len(t.top_logprobs) == 3 and t.top_logprobs[0].logprob == t.logprob <= 0  # greedy: the best one
        assert [x.logprob for x in t.top_logprobs] == sorted((x.logprob for x in t.top_logprobs), reverse=True)
    streamed = [t for c in client.chat.completions.create(stream=True, **args) for x in c.choices if x.logprobs for t in x.logprobs.content]
    assert streamed == tokens


def test_completion_logprobs(client):
    r = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=6, logprobs=2)
    lp = r.choices[0].logprobs
    assert "".join(lp.tokens) == r.choices[0].text and len(lp.token_logprobs) == 6
    assert all(len(t) == 2 for t in lp.top_logprobs)
    assert [r.choices[0].text[a:a + len(t)] for a, t in zip(lp.text_offset, lp.tokens)] == lp.tokens


def test_logprobs_of_the_prompt(client):
    first = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=12, logprobs=2).choices[0]
    again = client.completions.create(model="demo", prompt=STORY + first.text, max_tokens=0, logprobs=2, echo=True)
    lp, text = again.choices[0].logprobs, again.choices[0].text
    assert text == STORY + first.text and again.usage.completion_tokens == 0 and again.choices[0].finish_reason == "length"
    n = len(first.logprobs.tokens)
    assert lp.tokens[-n:] == first.logprobs.tokens and lp.token_logprobs[-n:] == first.logprobs.token_logprobs
    assert lp.top_logprobs[-n:] == first.logprobs.top_logprobs and lp.token_logprobs[0] is None
    assert all(v <= 0 for v in lp.token_logprobs[1:]) and len(lp.text_offset) == len(lp.tokens)
    assert [text[a:a + len(t)] for a, t in zip(lp.text_offset[-n:], lp.tokens[-n:])] == lp.tokens[-n:]
    both = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=4, n=2, logprobs=0, echo=True)
    for c in both.choices:
        assert "".join(c.logprobs.tokens[-4:]) == c.text[len(STORY):] and len(c.logprobs.tokens) > 4
    stream = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=4, logprobs=0, echo=True, stream=True)
    tokens = [t for c in stream if c.choices[0].logprobs for t in c.choices[0].logprobs.tokens]
    assert tokens == both.choices[0].logprobs.tokens


def test_best_of(client):
    r = client.completions.create(model="demo", prompt=STORY, temperature=1.2, max_tokens=8, best_of=4, n=2, logprobs=0, seed=1)
    mean = [sum(c.logprobs.token_logprobs) / len(c.logprobs.token_logprobs) for c in r.choices]
    assert len(r.choices) == 2 and mean[0] >= mean[1]
    shown = sum(len(c.logprobs.tokens) for c in r.choices)
    assert shown < r.usage.completion_tokens <= 4 * 8
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="demo", prompt=STORY, best_of=2, n=3)


def test_several_choices_and_prompts(client):
    r = client.completions.create(model="demo", prompt=[STORY, "The dog"], n=2, temperature=0, max_tokens=8, echo=True)
    assert [c.index for c in r.choices] == [0, 1, 2, 3]
    assert r.choices[0].text == r.choices[1].text and r.choices[2].text.startswith("The dog")
    assert r.usage.completion_tokens == 32 or any(c.finish_reason == "stop" for c in r.choices)
    texts = {c.message.content for c in client.chat.completions.create(model="demo", messages=QUESTION, n=6, temperature=2, max_tokens=20, seed=5).choices}
    assert len(texts) > 1  # each choice draws its own numbers
    parts = {}
    for chunk in client.completions.create(model="demo", prompt=STORY, n=3, temperature=0, max_tokens=8, stream=True):
        for c in chunk.choices:
            parts[c.index] = parts.get(c.index, "") + c.text
    assert len(parts) == 3 and len(set(parts.values())) == 1


def test_seed(client):
    def draw(seed):
        return client.completions.create(model="demo", prompt=STORY, temperature=1.5, max_tokens=20, seed=seed).choices[0].text
    assert draw(7) == draw(7) and len({draw(i) for i in range(5)}) > 1


def test_token_ids_and_logit_bias(client):
    plain = client.completions.create(model="demo", prompt=[[40, 41, 42]], temperature=0, max_tokens=1, logprobs=1)
    assert plain.usage.prompt_tokens == 3
    biased = client.completions.create(model="demo", prompt=[40, 41, 42], temperature=0, max_tokens=1, logit_bias={"50": 100}, logprobs=1)
    again = client.completions.create(model="demo", prompt=[40, 41, 42], temperature=0, max_tokens=1, logit_bias={"50": -100}, logprobs=1)
    assert biased.choices[0].text != again.choices[0].text


def test_eight_at_once_are_as_one_alone(client):
    prompts = [f"Tell me about {x}." for x in ("dogs", "cats", "rain", "Corral", "trees", "ships", "tea", "snow")]

    def ask(p):
        return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": p}], temperature=0, max_tokens=40).choices[0].message.content

    def ask_stream(p):
        return stream_text(client.chat.completions.create(model="demo", messages=[{"role": "user", "content": p}], temperature=0, max_tokens=40, stream=True))[0]

    alone = [ask(p) for p in prompts]
    for way in (ask, ask_stream):
        together = [None] * 8

        def work(i, way=way, together=together):
            together[i] = way(prompts[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert together == alone


def test_sampling_parameters_of_other_servers(client):
    r = client.chat.completions.create(model="demo", messages=QUESTION, temperature=1, max_tokens=10, extra_body={
        "top_k": 1, "min_p": 0.1, "repetition_penalty": 1.0, "min_tokens": 2, "dry_multiplier": 0.8, "samplers": ["top_k", "temperature"]})
    greedy = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=10)
    assert r.choices[0].message.content == greedy.choices[0].message.content
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=QUESTION, max_tokens=1, user="me", extra_body={"frobnicate": 1})
    assert raw.headers["x-corral-ignored"] == "frobnicate"


WEATHER = {"name": "get_weather", "description": "The weather in a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


def test_tools(client):
    args = dict(model="demo", messages=ASK_WEATHER, tools=[{"type": "function", "function": WEATHER}], temperature=0, max_tokens=80)
    choice = client.chat.completions.create(**args).choices[0]
    call = choice.message.tool_calls[0]
    assert choice.finish_reason == "tool_calls" and call.id and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    with client.chat.completions.stream(**args) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert [(c.function.name, c.function.arguments) for c in streamed] == [(call.function.name, call.function.arguments)]
    # The result goes back, and the model answers in words.
    messages = ASK_WEATHER + [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}]
    after = client.chat.completions.create(**{**args, "messages": messages}).choices[0]
    assert after.message.content and not after.message.tool_calls and after.finish_reason == "stop"
    none = client.chat.completions.create(tool_choice="none", **args).choices[0]
    assert not none.message.tool_calls and none.message.content


def test_tool_choice(client):
    strict = {"name": "add", "strict": True, "parameters": {
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2]}}, "required": ["a", "b"], "additionalProperties": False}}
    args = dict(model="demo", messages=QUESTION, tools=[{"type": "function", "function": f} for f in (WEATHER, strict)], temperature=0, max_tokens=200)
    for choice, names in (("required", {"get_weather", "add"}), ({"type": "function", "function": {"name": "add"}}, {"add"}),
                          ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}}, {"get_weather"})):
        r = client.chat.completions.create(tool_choice=choice, parallel_tool_calls=False, **args).choices[0]
        assert r.finish_reason == "tool_calls" and len(r.message.tool_calls) == 1, r
        call = r.message.tool_calls[0].function
        assert call.name in names
        if call.name == "add":
            values = json.loads(call.arguments)
            assert set(values) == {"a", "b"} and isinstance(values["a"], int) and values["b"] in (1, 2)
    assert client.chat.completions.create(**args).choices[0].message.content  # auto: the model is free not to call
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(tool_choice={"type": "function", "function": {"name": "nothing"}}, **args)
    assert e.value.param == "tool_choice"


def test_parse(client):
    class Point(pydantic.BaseModel):
        x: int
        name: str

    r = client.chat.completions.parse(model="demo", messages=QUESTION, response_format=Point, temperature=0, max_tokens=200)
    assert isinstance(r.choices[0].message.parsed, Point)
    r = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=40, extra_body={"guided_choice": ["yes", "no"]})
    assert r.choices[0].message.content in ("yes", "no") and r.choices[0].finish_reason == "stop"


def test_stops_and_min_tokens(client):
    args = dict(model="demo", messages=QUESTION, temperature=0, max_tokens=40)
    free = client.chat.completions.create(logprobs=True, **args).choices[0]
    text, tokens = free.message.content, free.logprobs.content
    kept = client.chat.completions.create(stop=text[5:8], extra_body={"include_stop_str_in_output": True}, **args).choices[0]
    assert kept.message.content == text[:text.index(text[5:8]) + 3]
    late = client.chat.completions.create(stop=text[0], extra_body={"min_tokens": 5}, **args).choices[0].message.content
    first = sum(len(t.token) for t in tokens[:5])
    assert late == (text[:text.index(text[0], first)] if text[0] in text[first:] else text)
    ids = client.completions.create(model="demo", prompt=STORY, temperature=0, max_tokens=8, extra_body={"return_token_ids": True})
    assert ids.choices[0].text


def test_prefill_and_prediction(client):
    args = dict(model="demo", temperature=0, max_tokens=60)
    choice = client.chat.completions.create(messages=QUESTION, logprobs=True, **args).choices[0]
    free, begun = choice.message.content, "".join(t.token for t in choice.logprobs.content[:4])
    prefilled = client.chat.completions.create(messages=QUESTION + [{"role": "assistant", "content": begun}], **args)
    assert begun + prefilled.choices[0].message.content == free
    guessed = client.chat.completions.create(messages=QUESTION, prediction={"type": "content", "content": free}, **args)
    assert guessed.choices[0].message.content == free  # never different


def test_embeddings(srv, client):
    r = client.embeddings.create(model="demo", input=["a dog", "a cat", "the server is fast"])  # asks for base64
    dog, cat, _ = (d.embedding for d in r.data)
    assert [d.index for d in r.data] == [0, 1, 2] and len(dog) == len(cat) and dog != cat and r.usage.prompt_tokens > 3
    assert sum(x * x for x in dog) == pytest.approx(1, abs=1e-5)
    plain = client.embeddings.create(model="demo", input="a dog", encoding_format="float").data[0].embedding
    assert plain == pytest.approx(dog, abs=1e-6)
    short = client.embeddings.create(model="demo", input="a dog", dimensions=8).data[0].embedding
    assert len(short) == 8 and sum(x * x for x in short) == pytest.approx(1, abs=1e-5)
    assert short[0] / short[1] == pytest.approx(dog[0] / dog[1], rel=1e-4)
    many = client.embeddings.create(model="demo", input=[f"text {i}" for i in range(300)])  # more than the queue holds
    assert len(many.data) == 300
    for wrong in (dict(input=[]), dict(input="word " * 9000), dict(input="a", dimensions=100000), dict(input="a", encoding_format="int8")):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="demo", **wrong)
    status, _, body = srv.post("/v1/rerank", {"query": "a", "documents": ["b"]})
    assert status == 400 and "cannot score" in body["error"]["message"]


def test_responses(srv, client):
    first = client.responses.create(model="demo", input="What is Corral?", temperature=0, max_output_tokens=200)
    chat = client.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=200)
    assert first.output_text == chat.choices[0].message.content and first.status == "completed"
    assert first.usage.input_tokens == chat.usage.prompt_tokens
    second = client.responses.create(model="demo", input="Tell me more.", previous_response_id=first.id, temperature=0, max_output_tokens=2)
    same = client.responses.create(model="demo", temperature=0, max_output_tokens=2, input=[
        {"role": "user", "content": "What is Corral?"}, {"role": "assistant", "content": first.output_text}, {"role": "user", "content": "Tell me more."}])
    assert second.usage.input_tokens == same.usage.input_tokens and second.output_text == same.output_text
    assert second.status == "incomplete" and second.incomplete_details.reason == "max_output_tokens"
    assert client.responses.retrieve(first.id).output_text == first.output_text
    assert [i.content for i in client.responses.input_items.list(first.id)] == ["What is Corral?"]
    assert srv.post("/v1/responses/input_tokens", {"input": "What is Corral?"})[2]["input_tokens"] == first.usage.input_tokens
    client.responses.delete(first.id)
    for call in (lambda: client.responses.retrieve(first.id),
                 lambda: client.responses.create(model="demo", input="More.", previous_response_id=first.id)):
        with pytest.raises(openai.NotFoundError):
            call()


def test_responses_stream(client):
    with client.responses.stream(model="demo", input="What is Corral?", temperature=0, max_output_tokens=200) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [e.sequence_number for e in events] == sorted({e.sequence_number for e in events})
    assert [e.type for e in events[:4]] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert [e.type for e in events[-4:]] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text
    tools = [{"type": "function", **WEATHER}]
    with client.responses.stream(model="demo", input="What is the weather in Paris?", tools=tools, temperature=0) as stream:
        events = list(stream)
        call = stream.get_final_response().output[0]
    assert call.type == "function_call" and json.loads(call.arguments) == {"city": "Paris"}
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert done[0].arguments == call.arguments
    answer = client.responses.create(model="demo", tools=tools, temperature=0, max_output_tokens=60, input=[
        {"role": "user", "content": "What is the weather in Paris?"}, call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 21 degrees."}])
    assert answer.output_text


def test_retries_and_timeouts(srv, client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.02).completions.create(model="demo", prompt=STORY, max_tokens=900, extra_body={"ignore_eos": True})
    srv.idle(5)  # the client went, so the work ended
    status, _, body = srv.post("/v1/completions", {"prompt": STORY, "max_tokens": 900, "ignore_eos": True, "timeout": 0.02})
    assert status == 408 and body["error"]["code"] == "timeout"
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=QUESTION, max_tokens=1)
    assert raw.headers["x-request-id"]


def test_strict_mode(srv):
    def ask(**more):
        request = urllib.request.Request(srv.url + "/v1/chat/completions", json.dumps({"messages": QUESTION, "max_tokens": 1, **more}).encode(),
                                         {"Content-Type": "application/json", "X-Corral-Strict": "1"})
        return srv.open(request, 30)
    assert ask()[0] == ask(user="me")[0] == 200
    status, _, body = ask(frobnicate=1)
    assert status == 400 and body["error"]["param"] == "frobnicate"


def test_the_document_names_every_field(srv):
    doc = srv.get("/openapi.json")[2]
    chat = doc["components"]["schemas"]["ChatCompletionRequest"]
    assert chat["required"] == ["messages"] and chat["properties"]["temperature"]["maximum"] == 2
    for path, method in (("/v1/chat/completions", "post"), ("/v1/models/{id}", "get"), ("/v1/responses/{id}", "delete"), ("/metrics", "get")):
        assert doc["paths"][path][method]["summary"]
    for operations in doc["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                assert ref.rsplit("/", 1)[1] in doc["components"]["schemas"]


@pytest.mark.parametrize("kind, code, args", [
    (openai.BadRequestError, "value_out_of_range", dict(temperature=3)),
    (openai.BadRequestError, "value_out_of_range", dict(top_p=-1)),
    (openai.BadRequestError, "invalid_type", dict(tools=[{"type": "function", "function": {}}])),
    (openai.BadRequestError, "unsupported_value", dict(response_format={"type": "xml"})),
    (openai.BadRequestError, "context_length_exceeded", dict(messages=[{"role": "user", "content": "word " * 20000}])),
    (openai.BadRequestError, "invalid_value", dict(messages=[])),
    (openai.NotFoundError, "model_not_found", dict(model="gpt-9")),
])
@pytest.mark.parametrize("stream", [False, True])
def test_errors(client, kind, code, args, stream):
    with pytest.raises(kind) as e:
        client.chat.completions.create(**{"model": "demo", "messages": QUESTION, "stream": stream, **args})
    assert e.value.code == code
    if code == "value_out_of_range":
        assert e.value.param in args and "between" in e.value.message
    if code == "context_length_exceeded":
        assert e.value.body["n_prompt_tokens"] > e.value.body["n_ctx"] > 0


def test_leaving_a_stream_cancels(srv, client):
    srv.idle()
    stream = client.completions.create(model="demo", prompt=STORY, max_tokens=900, stream=True, extra_body={"ignore_eos": True})
    for _, chunk in zip(range(3), stream):
        pass
    stream.close()
    srv.idle(2)


def test_a_story_of_the_tiny_model():
    path = os.path.join(os.environ.get("CORRAL_SHARED", "../shared"), "models", "stories260K.gguf")
    if not os.path.exists(path):
        pytest.skip("no shared models")
    with Server("--quiet", model=path) as s, openai.OpenAI(base_url=s.url + "/v1", api_key="none") as c:
        r = c.completions.create(model=s.name, prompt=STORY, temperature=0, max_tokens=60, stream=True)
        text, _ = stream_text(r)
        assert text.startswith(", there was a little girl named Lily. She loved to play outside in the park.")


if __name__ == "__main__":
    wire.run(__file__, "openai")
