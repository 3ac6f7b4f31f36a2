"""Every shell block of docs/api*.md, as it stands there, against corral serve."""
import glob
import os
import re
import subprocess

import server as wire
from server import SOURCE, Server

try:
    import pytest
except ImportError:
    wire.run(__file__)

BLOCKS = []
for page in sorted(glob.glob(os.path.join(SOURCE, "docs", "api*.md"))):
    with open(page, encoding="utf-8") as text:
        BLOCKS += re.findall(r"^```sh\n(.*?)^```$", text.read(), re.S | re.M)


@pytest.fixture(scope="module")
def srv():
    with Server("--quiet") as s:
        yield s


@pytest.mark.parametrize("block", BLOCKS)
def test_block(srv, block):
    # --fail-with-body: a status of 400 and more is a failure of curl
    script = "set -e\ncurl() { command curl -sS --fail-with-body --max-time 60 \"$@\"; echo; }\n" + block.replace("http://127.0.0.1:8080", srv.url)
    r = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0 and '"error":{' not in r.stdout, (block, r.stdout[-2000:], r.stderr)
    assert r.stdout.strip()


def test_the_endpoints_have_a_block(srv):
    paths = srv.get("/openapi.json")[2]["paths"]
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/models"):
        assert path in paths and any(path in b for b in BLOCKS), path


if __name__ == "__main__":
    wire.run(__file__)
