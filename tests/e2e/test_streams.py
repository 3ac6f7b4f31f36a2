"""128 clients stream at once, some of them go in the middle: every answer is what the same request gets alone, token
for token, and in the end no sequence runs and all KV blocks are back.

CORRAL_STREAM_SECONDS (20) is how long; the long run is 600."""
import asyncio
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "wire"))
from server import Server  # noqa: E402

SECONDS = float(os.environ.get("CORRAL_STREAM_SECONDS", "20"))
N_CLIENT, N_KIND = 128, 40
OPENINGS = ["Once upon a time", "What is Corral?", "The farmer said that", "In the morning the cat", "A long way from here"]


def kind(i):
    """Request number i: prompts that share beginnings, several lengths, greedy and not."""
    prompt = OPENINGS[i % 5] + " and so on" * (i % 7) + f" number {i}" * (i // 10 % 2)
    return {"prompt": prompt, "max_tokens": 8 + 7 * (i % 9), "temperature": 0.9 if i % 3 else 0, "seed": 100 + i, "ignore_eos": i % 2 == 0}


async def stream(port, body, leave_after, text):
    """Text as it streams, appended to text; leaves after so many events. Returns the usage."""
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(data) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], head + await reader.read(500)
        usage, n_event, done = None, 0, False
        while not done:
            line = await reader.readline()
            assert line, "the stream ended without [DONE]"
            if line == b"data: [DONE]\n":
                done = True
            elif line.startswith(b"data: {"):
                event = json.loads(line[6:])
                assert "error" not in event, event
                usage = event.get("usage") or usage
                text.extend(c["text"] for c in event["choices"])
                n_event += 1
                if n_event == leave_after:
                    return None
        return usage
    finally:
        writer.close()


def resident(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


async def clients(port, pids, alone):
    count = {"whole": 0, "left": 0, "tokens": 0}
    until = time.monotonic() + SECONDS
    memory = []

    async def client(number):
        r = random.Random(number)
        while time.monotonic() < until:
            i, text = r.randrange(N_KIND), []
            leave = r.randrange(1, 12) if r.random() < 0.15 else None
            usage = await stream(port, kind(i), leave, text)
            got, (want, n_want) = "".join(text), alone[i]
            if usage is None:
                assert want.startswith(got), f"request {i}: {got!r} does not begin {want!r}"
                count["left"] += 1
                continue
            assert got == want, f"request {i}: streamed {got!r}, alone it is {want!r}"
            assert usage["completion_tokens"] == n_want
            count["whole"] += 1
            count["tokens"] += n_want

    async def watch():
        while time.monotonic() < until:
            await asyncio.sleep(min(5, SECONDS / 4))
            memory.append([resident(p) for p in pids])

    await asyncio.gather(watch(), *(client(n) for n in range(N_CLIENT)))
    return count, memory


def main():
    with Server("--parallel", str(N_CLIENT), "--queue", "1000", "--quiet") as s:
        alone = []
        for i in range(N_KIND):
            code, _, r = s.post("/v1/completions", kind(i))
            assert code == 200, r
            alone.append((r["choices"][0]["text"], r["usage"]["completion_tokens"]))
        start = time.monotonic()
        pids = [s.proc.pid] + [w["process"] for w in s.health()["servers"]]
        count, memory = asyncio.run(clients(s.port, pids, alone))
        took = time.monotonic() - start
        for _ in range(100):
            health = s.worker_health()
            if health["running"] == health["queued"] == 0 and health["kv_blocks_free"] == health["kv_blocks"]:
                break
            time.sleep(0.1)
        assert health["running"] == 0 and health["queued"] == 0, health
        assert health["kv_blocks_free"] == health["kv_blocks"], health
        print(f"{count['whole']} answers and {count['left']} clients that left, {count['tokens'] / took:.0f} tokens/s in {took:.0f} s; "
              "memory " + ", ".join(f"{a:.0f} to {b:.0f} MiB" for a, b in zip(memory[0], memory[-1])))
        assert count["whole"] > N_CLIENT and count["left"] > 0
        assert len(pids) == 2, pids  # the gateway and its worker
        half = memory[len(memory) // 2]  # what the cache of prefixes and the buffers of 128 clients take is taken by then
        assert all(last < h * 1.2 + 20 for last, h in zip(memory[-1], half)), memory


if __name__ == "__main__":
    main()
