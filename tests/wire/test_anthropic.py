"""The official anthropic client against corral serve and the demo model."""
import json

import server as wire
from server import Server

try:
    import anthropic
    import pytest
except ImportError:
    wire.run(__file__, "anthropic")

QUESTION = [{"role": "user", "content": "What is Corral?"}]
CALM = {"model": "demo", "max_tokens": 40, "extra_body": {"temperature": 0}}
TOOL = {"name": "weather", "description": "Say the weather", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


@pytest.fixture(scope="module")
def srv():
    with Server("--parallel", "4", "--quiet", "--api-key", "test-secret") as s:
        yield s


@pytest.fixture(scope="module")
def client(srv):
    with anthropic.Anthropic(base_url=srv.url, api_key="test-secret", max_retries=0, timeout=60) as c:
        yield c


def test_message(client):
    m = client.messages.create(messages=QUESTION, **CALM)
    assert m.type == "message" and m.role == "assistant" and m.model == "demo" and m.id.startswith("msg_")
    (block,) = m.content
    assert block.type == "text" and "Corral" in block.text
    assert m.stop_reason in ("end_turn", "max_tokens") and m.stop_sequence is None
    assert m.usage.output_tokens > 0 and m.usage.input_tokens + m.usage.cache_read_input_tokens > 5
    assert m._request_id


def test_stream(client):
    whole = client.messages.create(messages=QUESTION, **CALM)
    with client.messages.stream(messages=QUESTION, **CALM) as stream:
        events = [e.type for e in stream]
        final = stream.get_final_message()
    assert final.content[0].text == whole.content[0].text and final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    raw = [e for e in events if e not in ("text", "ping")]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(raw[2:-3]) == {"content_block_delta"}


def test_system_and_blocks(client):
    def n(**more):
        return client.messages.count_tokens(model="demo", messages=QUESTION, **more).input_tokens
    assert n(system="Be brief.") > n()
    assert n(system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]) == n(system="Be brief.")
    blocks = [{"role": "user", "content": [{"type": "text", "text": "What is Corral?"}]}]
    assert client.messages.count_tokens(model="demo", messages=blocks).input_tokens == n()
    assert n(tools=[TOOL]) > n() + 20
    m = client.messages.create(messages=QUESTION, system="Be brief.", **CALM)
    assert m.usage.input_tokens + m.usage.cache_read_input_tokens == n(system="Be brief.")


def test_stop_sequence_and_prefill(client):
    text = client.messages.create(messages=QUESTION, **CALM).content[0].text
    word = text.split()[2]
    m = client.messages.create(messages=QUESTION, stop_sequences=[word], **CALM)
    assert m.stop_reason == "stop_sequence" and m.stop_sequence == word and word not in m.content[0].text
    begun = " ".join(text.split()[:4])
    prefilled = QUESTION + [{"role": "assistant", "content": begun}]
    assert client.messages.create(messages=prefilled, **CALM).content[0].text.startswith(text[len(begun):][:8])


def test_tools(client):
    history = [*QUESTION,
               {"role": "assistant", "content": [{"type": "text", "text": "Let me see."},
                                                 {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bonn"}}]},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12 C"}]}]
    m = client.messages.create(messages=history, tools=[TOOL], **CALM)
    assert m.role == "assistant" and m.stop_reason
    assert client.messages.create(messages=QUESTION, tools=[TOOL], tool_choice={"type": "none"}, **CALM).content[0].type == "text"


def test_a_call_that_is_demanded(client):
    ask = {**CALM, "messages": QUESTION, "tools": [TOOL], "max_tokens": 200}
    m = client.messages.create(tool_choice={"type": "any"}, **ask)
    (call,) = [b for b in m.content if b.type == "tool_use"]
    assert m.stop_reason == "tool_use" and call.name == "weather" and isinstance(call.input["city"], str) and call.id
    with client.messages.stream(tool_choice={"type": "tool", "name": "weather"}, **ask) as stream:
        kinds = [e.delta.type for e in stream if e.type == "content_block_delta"]
        final = stream.get_final_message()
    assert "input_json_delta" in kinds and final.stop_reason == "tool_use"
    assert isinstance([b for b in final.content if b.type == "tool_use"][0].input["city"], str)


def test_structured(client):
    schema = {"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"], "additionalProperties": False}
    m = client.messages.create(messages=QUESTION, output_config={"format": {"type": "json_schema", "schema": schema}}, **CALM)
    assert json.loads(m.content[0].text)["age"] in (1, 2)


def test_errors(srv, client):
    def fails(kind, **more):
        with pytest.raises(kind) as e:
            client.messages.create(**{**CALM, "messages": QUESTION, **more})
        assert e.value.body["type"] == "error"
        return e.value.body["error"]
    assert "prompt is too long" in fails(anthropic.BadRequestError, messages=[{"role": "user", "content": "word " * 3000}])["message"]
    assert fails(anthropic.NotFoundError, model="claude")["type"] == "not_found_error"
    assert "max_tokens" in fails(anthropic.BadRequestError, max_tokens=0)["message"]
    assert fails(anthropic.BadRequestError, messages=[])["type"] == "invalid_request_error"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    assert "text only" in fails(anthropic.BadRequestError, messages=[{"role": "user", "content": [image]}])["message"]
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert "web_search_20250305" in fails(anthropic.BadRequestError, tools=[search])["message"]
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=srv.url, api_key="wrong", max_retries=0).messages.create(messages=QUESTION, **CALM)


if __name__ == "__main__":
    wire.run(__file__, "anthropic")
