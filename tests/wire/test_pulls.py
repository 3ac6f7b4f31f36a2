"""Pulls from a hub that misbehaves: what comes is bit for bit what was there, and nothing is fetched twice in vain."""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import server as wire

try:
    import pytest
except ImportError:
    wire.run(__file__)

sys.path.insert(0, os.path.join(wire.SOURCE, "tests", "support"))
from fake_hub import FakeHub  # noqa: E402

TOOL = os.environ.get("CORRAL_PULL_TOOL", "build/tests/pull_tool")
MIB = 1 << 20
if not os.access(TOOL, os.X_OK):
    print("skipped: there is no pull_tool")
    sys.exit(77)


def noise(n, seed=1):
    return b"GGUF" + random.Random(seed).randbytes(n - 4)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Pull:
    """One pull_tool; lines of JSON."""

    def __init__(self, home, *args, env=()):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "AWS_", "CORRAL_REGISTRY", "HUGGING"))}
        clean["HOME"] = str(home)
        self.proc = subprocess.Popen([TOOL, str(home), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env={**clean, **dict(env)})

    def wait(self, timeout=60):
        out, err = self.proc.communicate(timeout=timeout)
        self.log = err.decode()
        lines = [json.loads(line) for line in out.decode().splitlines()]
        self.views = [v for v in lines if "status" in v]
        self.refused = [v["refused"] for v in lines if "refused" in v]
        self.models = {v["store"]: v for v in lines if "store" in v}
        assert "Sanitizer" not in self.log, self.log
        assert self.proc.returncode >= 0, (self.proc.returncode, self.log)
        return self

    def last(self):
        return self.views[-1]


def pull(home, *args, env=(), fails=False, timeout=60):
    p = Pull(home, *args, env=env).wait(timeout)
    assert (p.proc.returncode != 0) == fails, (p.views[-1:], p.refused, p.log)
    return p


def content(model):
    with open(model["path"], "rb") as f:
        return f.read()


def leftovers(home):
    return sorted(os.listdir(os.path.join(home, "models", "partial")))


@pytest.fixture
def hub():
    with FakeHub() as h:
        yield h


DATA = noise(5 * MIB + 123)
FAULTS = {
    "nothing": {},
    "cut": {"cut": [100000, 1, 500000, 0, 300000]},
    "5xx": {"status": [500, 502, 503, 504]},
    "429": {"status": [429, 429], "retry_after": 1},
    "stall": {"stall": [200000]},
    "corrupt once": {"corrupt": [3 * MIB + 17]},
    "no ranges": {"ranges": False},
    "no ranges, cut": {"ranges": False, "cut": [2 * MIB, 3 * MIB]},
    "weak etag": {"etag": 'W/"abc"', "cut": [1000]},
    "no etag": {"etag": None, "cut": [1000]},
    "short ranges": {"short": [1000, 2000]},
    "other ranges": {"lies": [(0, 0), (100, 0), (1 << 40, 0)]},
    "another size": {"lies": [(0, 1), (0, 0), (0, 1 << 20)]},  # more than the disk has would rightly be the end
}


@pytest.mark.parametrize("fault", FAULTS)
def test_http_with_faults(hub, tmp_path, fault):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", **FAULTS[fault])
    p = pull(tmp_path, "stall=500" if fault == "stall" else "stall=20000", hub.url + "/files/a.gguf")
    view = p.last()
    assert view["status"] == "completed" and view["progress"] == 1 and view["downloaded_bytes"] == len(DATA)
    model = p.models["a:latest"]
    if fault == "corrupt once":  # nobody knew what it should have been
        assert len(content(model)) == len(DATA)
    else:
        assert content(model) == DATA and model["digest"] == "sha256:" + sha(DATA)
    assert leftovers(tmp_path) == []
    if not {"ranges", "lies"} & set(FAULTS[fault]) and fault != "stall":
        assert hub.sent("/files/a.gguf") <= len(DATA) + 1, "bytes came twice"


def test_parts_come_over_several_connections(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=4 * MIB)
    pull(tmp_path, "connections=4", hub.url + "/files/a.gguf")
    assert hub.busiest == 4
    assert len(hub.asked("/files/a.gguf")) == 6
    assert all(r["status"] == 206 for r in hub.asked("/files/a.gguf"))


def written_down(home):
    """Bytes that FILE.parts says are there."""
    for name in leftovers(home) if os.path.isdir(os.path.join(home, "models", "partial")) else []:
        if name.endswith(".parts"):
            with open(os.path.join(home, "models", "partial", name)) as f:
                return sum(have for have, crc in json.load(f)["parts"])
    return 0


@pytest.mark.parametrize("ranges", [True, False])
def test_killed_and_resumed(hub, tmp_path, ranges):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=MIB, ranges=ranges)
    first = Pull(tmp_path, "connections=2", hub.url + "/files/a.gguf")
    end = time.monotonic() + 30
    while (noted := written_down(tmp_path)) < MIB and time.monotonic() < end:
        time.sleep(0.02)
    first.proc.send_signal(signal.SIGKILL)
    first.proc.wait()
    first.proc.stdout.close()
    first.proc.stderr.close()
    time.sleep(0.1)
    before = hub.sent("/files/a.gguf")
    assert before < len(DATA)
    hub.fault("/files/a.gguf", ranges=ranges)
    p = pull(tmp_path)  # no reference: the job is still there
    assert content(p.models["a:latest"]) == DATA
    assert leftovers(tmp_path) == []
    if ranges:
        assert hub.sent("/files/a.gguf") - before <= len(DATA) - noted, "what was written down came twice"


def test_damaged_on_disk_while_it_was_down(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=2 * MIB)
    p = pull(tmp_path, "connections=1", f"cancel={3 * MIB}", hub.url + "/files/a.gguf", fails=True)
    assert p.last()["status"] == "cancelled"
    part = [f for f in leftovers(tmp_path) if not f.endswith(".parts")][0]
    with open(tmp_path / "models" / "partial" / part, "r+b") as f:
        f.seek(MIB + 5)
        f.write(b"damaged")
    before = hub.sent("/files/a.gguf")
    hub.fault("/files/a.gguf")
    p = pull(tmp_path, hub.url + "/files/a.gguf")
    assert content(p.models["a:latest"]) == DATA
    again = hub.sent("/files/a.gguf") - before
    assert again < 4 * MIB, "only that part is fetched again, and what was missing"


def test_a_slow_connection_is_replaced(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=[8 * MIB, 20000, 8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB])
    began = time.monotonic()
    p = pull(tmp_path, "connections=2", "slow=400", hub.url + "/files/a.gguf")
    assert content(p.models["a:latest"]) == DATA
    assert "slow_connection" in p.log and time.monotonic() - began < MIB / 20000 / 2
    assert hub.sent("/files/a.gguf") < len(DATA) + MIB, "what the slow one brought was kept"


def test_changed_in_between(hub, tmp_path):
    other = noise(4 * MIB, seed=2)
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", change=(3, other))
    p = pull(tmp_path, hub.url + "/files/a.gguf")
    assert content(p.models["a:latest"]) == other


def test_redirected_to_another_host(hub, tmp_path):
    with FakeHub() as cdn:
        cdn.put("/blob", DATA)
        hub.put("/files/a.gguf", b"")
        hub.fault("/files/a.gguf", redirect=cdn.url + "/blob?signature=1", status=[500])
        cdn.fault("/blob", status=[403], cut=[1000])  # a link that expired
        p = pull(tmp_path, hub.url + "/files/a.gguf")
        assert content(p.models["a:latest"]) == DATA


@pytest.mark.parametrize("fault, why", [({"status": [404] * 9}, "not there"), ({"status": [500] * 99}, "given up after 3"),
                                        ({"no_length": True, "ranges": False}, "how large"), ({"status": [401] * 9}, "login")])
def test_failures_say_why(hub, tmp_path, fault, why):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", **fault)
    p = pull(tmp_path, "tries=3", hub.url + "/files/a.gguf", fails=True)
    assert p.last()["status"] == "failed" and why in p.last()["error"], p.last()
    assert not p.models


def test_only_public_addresses(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    p = pull(tmp_path, "public=1", "tries=2", hub.url + "/files/a.gguf", fails=True)
    assert "not one to connect to" in p.last()["error"]
    p = pull(tmp_path, "public=1", hub.url.removeprefix("http://") + "/ns/tiny", fails=True)
    assert "not one to connect to" in p.last()["error"]
    assert not hub.log
    hub.hf_repo("org/repo", REPO)  # a hub that the operator chose may be anywhere
    assert pull(tmp_path, "public=1", "org/repo", env=env_of(hub)).last()["status"] == "completed"


def test_a_page_instead_of_a_model(hub, tmp_path):
    hub.put("/files/a.gguf", b"<html>Please log in</html>")
    p = pull(tmp_path, hub.url + "/files/a.gguf", fails=True)
    assert "no GGUF" in p.last()["error"] and leftovers(tmp_path) == []


def test_a_cancelled_one_gives_its_room_back(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    hub.fault("/files/a.gguf", slow=4 * MIB)
    p = pull(tmp_path, "connections=1", f"cancel={MIB}", hub.url + "/files/a.gguf", fails=True)
    assert p.last()["status"] == "cancelled"
    part = tmp_path / "models" / "partial" / [f for f in leftovers(tmp_path) if not f.endswith(".parts")][0]
    assert part.stat().st_size == len(DATA) and part.stat().st_blocks * 512 <= p.last()["downloaded_bytes"] + MIB
    hub.fault("/files/a.gguf")
    assert content(pull(tmp_path, hub.url + "/files/a.gguf").models["a:latest"]) == DATA


def test_what_is_old_goes(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    pull(tmp_path, hub.url + "/files/a.gguf")
    partial, blobs = tmp_path / "models" / "partial", tmp_path / "models" / "blobs"
    for name in ("url-old", "url-old.parts", "url-new"):
        (partial / name).write_bytes(b"x")
    for name in ("url-old", "url-old.parts"):
        os.utime(partial / name, (1, 1))
    before = sorted(os.listdir(blobs))
    pull(tmp_path, hub.url + "/files/a.gguf")
    assert leftovers(tmp_path) == ["url-new"] and sorted(os.listdir(blobs)) == before


def test_too_many_files(hub, tmp_path):
    hub.hf_repo("org/repo", {f"m-{i:05}-of-00600.gguf": b"GGUF" for i in range(1, 601)})
    p = pull(tmp_path, "org/repo", env=env_of(hub), fails=True)
    assert "600 files" in p.last()["error"]
    p = pull(tmp_path, hub.url + "/m-00001-of-99999.gguf", fails=True)
    assert "99999 files" in p.last()["error"]


def test_same_reference_is_one_job(hub, tmp_path):
    hub.put("/files/a.gguf", DATA)
    url = hub.url + "/files/a.gguf"
    p = pull(tmp_path, url, url, hub.url + "/files/a.gguf?b")
    assert {v["id"] for v in p.views} == {1, 2}
    assert len(p.models) == 1


# ---- Hugging Face -----------------------------------------------------------------------------------------

CONFIG = b'{"model_type": "llama"}'
REPO = {"README.md": b"hello", "m-Q4_K_M.gguf": DATA, "m-Q8_0.gguf": noise(2 * MIB, 5), "config.json": CONFIG}


def env_of(hub, **more):
    return {"HF_ENDPOINT": hub.url, "CORRAL_REGISTRY": hub.url, "AWS_ENDPOINT_URL": hub.url + "/", **more}


def test_hf_chooses_a_quantization(hub, tmp_path):
    hub.hf_repo("Org/Repo", REPO, page=2)
    p = pull(tmp_path, "hf:Org/Repo", "Org/Repo:q8_0", "hf.co/Org/Repo/m-Q8_0.gguf", env=env_of(hub))
    assert sorted(p.models) == ["hf.co/org/repo:latest", "hf.co/org/repo:m-q8_0", "hf.co/org/repo:q8_0"]
    assert content(p.models["hf.co/org/repo:latest"]) == DATA
    assert content(p.models["hf.co/org/repo:q8_0"]) == REPO["m-Q8_0.gguf"]
    assert p.models["hf.co/org/repo:q8_0"]["source"] == "hf:Org/Repo:q8_0"
    files = hub.asked("/Org/Repo/resolve/0123456789abcdef0123456789abcdef01234567/m-Q8_0.gguf")
    assert sum(r["sent"] for r in files) == 2 * MIB, "the same file came twice"


def test_hf_corrupt_part_is_found(hub, tmp_path):
    base = hub.hf_repo("org/repo", REPO)
    hub.fault(base + "m-Q4_K_M.gguf", corrupt=[2 * MIB + 5])
    p = pull(tmp_path, "connections=1", "org/repo", env=env_of(hub))
    assert content(p.models["hf.co/org/repo:latest"]) == DATA
    assert hub.sent(base + "m-Q4_K_M.gguf") <= len(DATA) + 4 * MIB, "the parts behind the corrupt one were fine"


def test_hf_corrupt_for_ever(hub, tmp_path):
    base = hub.hf_repo("org/repo", REPO)
    hub.fault(base + "m-Q4_K_M.gguf", always_corrupt=5)
    p = pull(tmp_path, "org/repo", env=env_of(hub), fails=True)
    assert "digest" in p.last()["error"] and not p.models
    assert leftovers(tmp_path) == []


def test_hf_split_gguf(hub, tmp_path):
    parts = {f"Q4_0/m-0000{i}-of-00003.gguf": noise(MIB + i, i) for i in (1, 2, 3)}
    hub.hf_repo("org/repo", {**parts, "other-Q8_0.gguf": b"GGUF"})
    p = pull(tmp_path, "org/repo:Q4_0", env=env_of(hub))
    path = p.models["hf.co/org/repo:q4_0"]["path"]
    assert path.endswith("m-00001-of-00003.gguf")
    for name, data in parts.items():
        with open(os.path.join(os.path.dirname(path), os.path.basename(name)), "rb") as f:
            assert f.read() == data
    assert len(p.last()["files"]) == 3 and all(f["done"] for f in p.last()["files"])


def test_hf_safetensors(hub, tmp_path):
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {}}',
             "model-00001-of-00002.safetensors": noise(MIB, 7), "model-00002-of-00002.safetensors": noise(MIB, 8)}
    hub.hf_repo("org/repo", {**files, "pytorch_model.bin": b"no", "consolidated.safetensors": b"no"})
    p = pull(tmp_path, "org/repo", env=env_of(hub))
    folder = p.models["hf.co/org/repo:latest"]["path"]
    assert sorted(os.listdir(folder)) == sorted(files)
    for name, data in files.items():
        with open(os.path.join(folder, name), "rb") as f:
            assert f.read() == data


def test_hf_token_and_revision(hub, tmp_path):
    with FakeHub() as cdn:
        commit = "f" * 40
        base = hub.hf_repo("org/repo", REPO, commit=commit, revs=("main", "refs/pr/1"), token="secret", gated=True)
        cdn.put("/blob", DATA)
        hub.fault(base + "m-Q4_K_M.gguf", redirect=cdn.url + "/blob", need=("Authorization", "Bearer secret"))
        p = pull(tmp_path, "org/repo@refs/pr/1", env=env_of(hub, HF_TOKEN="secret"))
        assert content(p.models["hf.co/org/repo:latest"]) == DATA
        assert cdn.log and not any("Authorization" in r["headers"] for r in cdn.log), "the token went elsewhere"
        assert "secret" not in p.log, "the token is in the log"
    for env, why in ({}, "set HF_TOKEN"), ({"HF_TOKEN": "wrong"}, "may not read"):
        p = pull(tmp_path / "other", "org/repo", env=env_of(hub, **env), fails=True)
        assert "gated" in p.last()["error"] and why in p.last()["error"]
    token = tmp_path / "other" / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("secret\n")
    p = pull(tmp_path / "other", "org/repo:Q8_0@main", env=env_of(hub))
    assert p.last()["status"] == "completed"


@pytest.mark.parametrize("reference, why", [("org/nothing", "has no org/nothing"), ("org/repo@v9", "no revision v9"),
                                            ("org/repo:Q2_K", "m-Q4_K_M.gguf, m-Q8_0.gguf"), ("hf:org/repo/x.gguf", "no x.gguf")])
def test_hf_failures_say_why(hub, tmp_path, reference, why):
    hub.hf_repo("org/repo", REPO)
    p = pull(tmp_path, reference, env=env_of(hub), fails=True)
    assert why in p.last()["error"]


def test_no_room(hub, tmp_path):
    hub.hf_repo("org/repo", REPO, lie=10**15)
    p = pull(tmp_path, "org/repo", env=env_of(hub), fails=True)
    assert "not enough room" in p.last()["error"] and "1000.0 TB are needed" in p.last()["error"]
    assert not any(r["sent"] for r in hub.log), "bytes were fetched all the same"


def test_other_sizes_than_said(hub, tmp_path):
    hub.hf_repo("org/repo", REPO, lie=6 * MIB)
    p = pull(tmp_path, "tries=2", "org/repo", env=env_of(hub), fails=True)
    assert "are expected" in p.last()["error"]


def test_a_new_version_of_a_name(hub, tmp_path):
    hub.hf_repo("org/repo", REPO, commit="a" * 40)
    pull(tmp_path, "org/repo:q8_0", env=env_of(hub))
    p = pull(tmp_path, "org/repo:q8_0", env=env_of(hub))
    assert p.models["hf.co/org/repo:q8_0"]["version"] == 1, "nothing is new"
    hub.routes.clear()
    hub.hf_repo("org/repo", {"m-Q8_0.gguf": DATA}, commit="b" * 40)
    p = pull(tmp_path, "org/repo:q8_0", env=env_of(hub))
    assert p.models["hf.co/org/repo:q8_0"]["version"] == 2 and content(p.models["hf.co/org/repo:q8_0"]) == DATA


# ---- Ollama's registry ------------------------------------------------------------------------------------

LAYERS = [("template", b"{{ .Prompt }}"), ("model", DATA), ("params", b'{"temperature": 0.5, "stop": ["<x>"], "num_ctx": 2048, "numa": 1}'),
          ("system", b"Be brief."), ("license", b"MIT"), ("license", b"More"), ("projector", b"left out")]


@pytest.mark.parametrize("token", [None, "for everybody"])
def test_ollama(hub, tmp_path, token):
    hub.ollama_model("library/tiny", LAYERS, tag="1b", token=token)
    p = pull(tmp_path, "Tiny:1b", env=env_of(hub))
    model = p.models["tiny:1b"]
    assert content(model) == DATA
    assert model["options"] == {"defaults": {"temperature": 0.5, "stop": ["<x>"]}, "context": 2048, "system": "Be brief."}
    folder = os.path.dirname(model["path"])
    assert sorted(os.listdir(folder)) == ["license", "license-2", "model.gguf", "params.json", "system", "template"]
    with open(os.path.join(folder, "license-2"), "rb") as f:
        assert f.read() == b"More"


def test_ollama_host_and_refusals(hub, tmp_path):
    host = hub.url.removeprefix("http://")
    hub.ollama_model("ns/tiny", [("model", DATA)])
    hub.ollama_model("ns/lora", [("model", DATA), ("adapter", b"x")])
    hub.ollama_model("ns/empty", [("template", b"x")])
    p = pull(tmp_path, f"{host}/ns/tiny")
    assert content(p.models[f"{host}/ns/tiny:latest"]) == DATA
    for name, why in ("ns/lora", "adapter"), ("ns/empty", "no layer"), ("ns/none", "has no ns/none:latest"):
        p = pull(tmp_path, f"{host}/{name}", fails=True)
        assert why in p.last()["error"]


# ---- S3 ---------------------------------------------------------------------------------------------------

KEY = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
OBJECTS = {"models/A b+c&d.gguf": DATA, "llama/config.json": CONFIG, "llama/model.safetensors": noise(MIB, 9), "llama/": b"",
           "llama/sub/x.txt": b"x", "split/a-00001-of-00002.gguf": noise(MIB, 3), "split/a-00002-of-00002.gguf": noise(MIB, 4)}


def test_s3(hub, tmp_path):
    hub.s3_bucket("bucket", OBJECTS, page=2)
    env = env_of(hub, **KEY)
    p = pull(tmp_path, "s3://bucket/models/A b+c&d.gguf", "s3://bucket/llama/", "s3://bucket/split/a-00001-of-00002.gguf", env=env)
    assert content(p.models["a-b+c-d:latest"]) == DATA
    assert sorted(os.listdir(p.models["llama:latest"]["path"])) == ["config.json", "model.safetensors"]
    assert sorted(os.listdir(os.path.dirname(p.models["a:latest"]["path"]))) == [f"a-0000{i}-of-00002.gguf" for i in (1, 2)]


@pytest.mark.parametrize("env, reference, why", [
    ({}, "s3://bucket/llama/", "set AWS_ACCESS_KEY_ID"),
    ({**KEY, "AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://bucket/llama/", "SignatureDoesNotMatch"),
    ({**KEY, "AWS_REGION": "eu-west-1"}, "s3://bucket/models/A b+c&d.gguf", "AuthorizationHeaderMalformed"),
    (KEY, "s3://bucket/nothing.gguf", "no such key"), (KEY, "s3://bucket/nothing/", "nothing in this folder")])
def test_s3_failures_say_why(hub, tmp_path, env, reference, why):
    hub.s3_bucket("bucket", OBJECTS)
    p = pull(tmp_path, reference, env=env_of(hub, **env), fails=True)
    assert why in p.last()["error"]


def test_s3_without_a_key(hub, tmp_path):
    hub.s3_bucket("open", OBJECTS, anonymous=True)
    p = pull(tmp_path, "s3://open/llama/", env=env_of(hub))
    assert p.last()["status"] == "completed"


# ---- this machine, and jobs -------------------------------------------------------------------------------

def test_local_files(tmp_path):
    path, home = tmp_path / "My Model.gguf", tmp_path / "home"
    path.write_bytes(DATA)
    p = pull(home, path)
    assert p.models["my-model:latest"]["path"] == str(path) and not p.models["my-model:latest"]["owned"]
    p = pull(home, "copy=1", "name=copied:v1", path)
    path.unlink()
    assert content(p.models["copied:v1"]) == DATA and p.models["copied:v1"]["digest"] == "sha256:" + sha(DATA)
    p = pull(home, path, fails=True)
    assert "No such file" in p.last()["error"]
    assert pull(home, "local=0", path, fails=True).refused


if __name__ == "__main__":
    wire.run(__file__)
