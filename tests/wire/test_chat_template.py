"""Another chat template, and another way of writing calls, than the model's file says."""
import os
import subprocess
import tempfile

import pytest

import server as wire


class Worker(wire.Server):
    command = ("worker",)


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


@pytest.mark.parametrize("command", [Worker, wire.Server])
def test_chatml_and_a_format(command):
    with command("--chat-template", "chatml", "--chat-format", "hermes", "--ctx", "256", "--quiet") as s:
        _, _, body = s.post("/apply-template", HI)
        assert body["prompt"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n"), body


def test_mistakes():
    path = template("{% for m in messages %}")
    assert "--chat-template" in fails("--chat-template", path)
    os.unlink(path)
    assert "nothing.jinja" in fails("--chat-template", "nothing.jinja")
    error = fails("--chat-format", "morse")
    assert "morse" in error and "hermes" in error


if __name__ == "__main__":
    wire.run(__file__)
