"""Two hundred streams over three models while their workers are killed at random: all of them are whole, each byte is there
once, and what comes is what the same request gets when nobody disturbs it.

CORRAL_KILLS (12) is how many workers are killed."""
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import DEMO, Server  # noqa: E402

STORIES = os.path.join(os.environ.get("CORRAL_SHARED", "../shared"), "models", "stories260K.gguf")
N_STREAM, N_KIND, N_TOKEN, PARALLEL = 200, 10, 360, 16
KILLS = int(os.environ.get("CORRAL_KILLS", "12"))
GOT_ON = 10 * PARALLEL  # tokens of a worker: each of its streams has had some
OF_ONE = 5  # a model whose workers ended six times without a minute between them has failed (docs/gateway.md)
OPENINGS = ["Once upon a time", "What is Corral?", "The farmer said that", "In the morning the cat", "A long way from here"]


def kind(model, i):
    return {"model": model, "prompt": f"{OPENINGS[i % 5]}{' and so on' * (i // 5)}", "max_tokens": N_TOKEN, "temperature": 0,
            "ignore_eos": True, "stream": True}


class Told:
    """What one stream brought."""

    def __init__(self):
        self.text, self.ids, self.finished, self.done, self.error = [], set(), [], 0, None


async def stream(port, body, told):
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:  # HTTP/1.0: the answer's end is the connection's
        writer.write(b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", head + await reader.read()
        async for line in reader:
            if line == b"data: [DONE]\n":
                told.done += 1
            elif line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    told.error = event["error"]
                    continue
                told.ids.add(event["id"])
                for c in event["choices"]:
                    told.text.append(c["text"])
                    told.finished += [c["finish_reason"]] if c["finish_reason"] else []
    finally:
        writer.close()
    return told


def at_work(srv):
    """{(model, pid): tokens} of the workers that run as many streams as they can of those that they were given."""
    there, seen = {}, metrics(srv)
    for s in srv.health()["servers"]:
        model = s["model_id"].removesuffix(":latest")
        if s["state"] != "ready" or seen[f'corral_model_waiting{{model="{s["model_id"]}"}}']:
            continue
        code, _, worker = srv.get(f"/upstream/{model}/health")
        if code == 200 and 0 < worker["running"] >= min(s["in_flight"], PARALLEL):
            there[model, worker["servers"][0]["process"]] = worker["completion_tokens"]
    return there


async def kill(srv, killed, streams):
    """Each time one that has got on with all of its streams: a request that three workers in turn died of, without a
    byte from any, is refused (docs/gateway.md). What a client has read says nothing of that: it may lag behind."""
    rng, first = random.Random(7), {}
    while len(killed) < KILLS and not all(s.done() for s in streams):
        there = await asyncio.to_thread(at_work, srv)
        first = {w: first.get(w, n) for w, n in there.items()}
        may = [w for w, n in there.items() if n > first[w] + GOT_ON and killed.count(w[0]) < OF_ONE]
        if may:
            model, pid = rng.choice(sorted(may))
            os.kill(pid, signal.SIGKILL)
            killed.append(model)
        await asyncio.sleep(0.02)


async def disturbed(srv, jobs):
    killed = []
    streams = [asyncio.create_task(stream(srv.port, body, Told())) for body in jobs]
    killer = asyncio.create_task(kill(srv, killed, streams))
    told = await asyncio.gather(*streams)
    await killer
    return told, killed


async def undisturbed(srv, kinds):
    return await asyncio.gather(*(stream(srv.port, body, Told()) for body in kinds))


def metrics(srv):
    with urllib.request.urlopen(srv.url + "/metrics", timeout=20) as r:
        rows = [line.rsplit(" ", 1) for line in r.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


def main():
    home = tempfile.mkdtemp(prefix="corral-kills-")
    second = os.path.join(home, "second.gguf")
    shutil.copy(DEMO, second)
    third = STORIES if os.path.exists(STORIES) else shutil.copy(DEMO, os.path.join(home, "third.gguf"))
    names = ["demo", "second", os.path.basename(third).removesuffix(".gguf")]
    try:
        with Server(second, third, "--parallel", str(PARALLEL), "--ctx", "512", "--quiet") as srv:
            kinds = [kind(m, i) for m in names for i in range(N_KIND)]
            alone = asyncio.run(undisturbed(srv, kinds))
            assert all(t.done == 1 and not t.error for t in alone), [(t.done, t.error) for t in alone]
            start = time.monotonic()
            told, killed = asyncio.run(disturbed(srv, [kinds[i % len(kinds)] for i in range(N_STREAM)]))
            took = time.monotonic() - start
            seen = metrics(srv)
            resumed, lost = seen["corral_gateway_resumed_total"], seen["corral_gateway_lost_total"]
            print(f"{N_STREAM} streams in {took:.0f} s, {len(killed)} workers killed ({', '.join(killed)}), "
                  f"{resumed:.0f} times a stream went on elsewhere")
            for i, t in enumerate(told):
                want = alone[i % len(alone)]
                assert not t.error, (i, t.error)
                assert t.done == 1 and len(t.ids) == 1 and t.finished == want.finished, (i, t.done, t.ids, t.finished)
                assert "".join(t.text) == "".join(want.text), (i, "".join(t.text), "".join(want.text))
            assert len(killed) >= 3, "the streams were over before anything could happen to them"
            assert resumed >= len(killed) and lost == 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
