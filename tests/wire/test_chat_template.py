"""Another chat template, and another way of writing calls, than the model's file says."""
import os
import subprocess
import tempfile

import server as wire
from server import Server, Worker

try:
    import pytest
except ImportError:
    wire.run(__file__)

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
HI = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}


def template(text):
    f = tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False)
    f.write(text)
    f.close()
    return f.name


def fails(*args):
    r = subprocess.run([wire.CORRAL, "worker", wire.DEMO, "--port", "0", *args], capture_output=True, text=True, timeout=60)
    assert r.returncode != 0
    return r.stderr


def test_template_of_a_file():
    path = template(TEMPLATE)
    with Worker("--chat-template", path, "--ctx", "256", "--quiet") as s:
        status, _, body = s.post("/apply-template", HI)
        assert status == 200 and body["prompt"] == "[system] Be brief.\n[user] Hi\n[assistant] ", body
        assert s.post("/v1/chat/completions", {**HI, "max_tokens": 4})[0] == 200
        status, _, body = s.post("/v1/chat/completions", {**HI, "chat_template": "x"})
        assert status == 400 and body["error"]["param"] == "chat_template"
    os.unlink(path)


def test_template_of_a_model():
    """An option of its name; what the server says to all models counts for the others."""
    path = template(TEMPLATE)
    with Server("--chat-template", "chatml", "--ctx", "256", "--quiet") as s:
        for args in (("pull", wire.DEMO, "--as", "own", "--quiet"), ("options", "own", "chat_template=" + path)):
            subprocess.run([wire.CORRAL, *args], env={**os.environ, "CORRAL_HOME": s.home}, check=True, timeout=60, capture_output=True)
        for model, start in (("own", "[system] Be brief.\n"), (s.name, "<|im_start|>system\nBe brief.")):
            status, _, body = s.post("/apply-template", {**HI, "model": model})
            assert status == 200 and body["prompt"].startswith(start), body
    os.unlink(path)


@pytest.mark.parametrize("command", [Worker, Server])
def test_chatml_and_a_format(command):
    with command("--chat-template", "chatml", "--chat-format", "hermes", "--ctx", "256", "--quiet") as s:
        _, _, body = s.post("/apply-template", HI)
        assert body["prompt"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n"), body


def test_template_of_a_request():
    with Server("--request-templates", "--ctx", "256", "--quiet") as s:
        def tokens(body):
            return s.post("/v1/chat/completions/input_tokens", body)
        n = tokens(HI)[2]["input_tokens"]
        assert tokens({**HI, "chat_template": "x"})[2]["input_tokens"] < 3 < n
        body = {**HI, "max_tokens": 4, "temperature": 0, "add_generation_prompt": False,
                "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
        text = s.post("/v1/completions", {"prompt": "Be brief.Hi", "max_tokens": 4, "temperature": 0})[2]["choices"][0]["text"]
        assert s.post("/v1/chat/completions", body)[2]["choices"][0]["message"]["content"] == text.strip()
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}
        called = s.post("/v1/chat/completions", {**HI, "max_tokens": 40, "tools": [tool], "tool_choice": "required",
                        "chat_template": "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
                                         "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"})[2]
        assert called["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}, called
        for bad, why in (("{% for m in messages %}", "line 1"), ("{{ raise_exception('no') }}", "no")):
            status, _, body = s.post("/v1/chat/completions", {**HI, "chat_template": bad})
            assert status == 400 and why in body["error"]["message"], body


def test_mistakes():
    path = template("{% for m in messages %}")
    assert "--chat-template" in fails("--chat-template", path)
    os.unlink(path)
    assert "nothing.jinja" in fails("--chat-template", "nothing.jinja")
    error = fails("--chat-format", "morse")
    assert "morse" in error and "hermes" in error


if __name__ == "__main__":
    wire.run(__file__)
