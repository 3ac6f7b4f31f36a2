#!/usr/bin/env python3
"""Load on a server of OpenAI's /v1/completions, and what its clients see of it. Needs nothing but Python 3.9.

usage: load.py URL [--closed 16 | --open 2.5] [--requests 100] [--prompt DIST] [--output DIST] [...]

A workload is made from a seed, so two servers can be given the same one. Prompts are token ids, answers are as long as
asked (ignore_eos), both drawn from a distribution:
    128                    always
    uniform:16:512         evenly between
    lognormal:200:0.8      median and sigma
    mix:32*0.8,1500*0.2    lengths with their shares
--closed N keeps N clients busy, each with its next request as soon as its last has ended. --open RATE lets requests
arrive as they like, RATE a second on average (Poisson), whether or not the server keeps up.
--prefix N lets all prompts of a group (--groups) begin with the same N tokens. --turns N makes conversations: a client's
next prompt is its last one and as many tokens more as --turn-tokens says.
"""
import argparse
import asyncio
import json
import math
import random
import sys
import time
from urllib.parse import urlparse


def distribution(text):
    """A function of a random.Random that gives a length."""
    kind, _, rest = text.partition(":")
    if kind == "uniform":
        low, high = map(int, rest.split(":"))
        return lambda r: r.randint(low, high)
    if kind == "lognormal":
        median, sigma = map(float, rest.split(":"))
        return lambda r: max(1, round(r.lognormvariate(math.log(median), sigma)))
    if kind == "mix":
        parts = [p.split("*") for p in rest.split(",")]
        lengths, shares = [int(n) for n, _ in parts], [float(s) for _, s in parts]
        return lambda r: r.choices(lengths, shares)[0]
    return lambda r, n=int(text): n


def make_workload(o):
    """Lists of turns, each a (prompt, tokens wanted); a list is one client's conversation."""
    r = random.Random(o.seed)
    prompt, output, turn = distribution(o.prompt), distribution(o.output), distribution(o.turn_tokens)
    ids = lambda n: [r.randrange(300, o.vocab) for _ in range(n)]
    prefixes = [ids(o.prefix) for _ in range(o.groups)]
    talks = []
    for i in range(math.ceil(o.requests / o.turns)):
        text, talk = prefixes[i % o.groups] + ids(prompt(r)), []
        for _ in range(o.turns):
            text = text[:o.max_prompt]
            talk.append((list(text), output(r)))
            text = text + ids(turn(r))
        talks.append(talk)
    return talks


class Answer:
    def __init__(self, n_prompt):
        self.n_prompt, self.n_out, self.cached, self.error = n_prompt, 0, None, None
        self.sent, self.times, self.end = 0.0, [], 0.0

    def row(self):
        return {"prompt": self.n_prompt, "output": self.n_out, "cached": self.cached, "error": self.error,
                "sent": round(self.sent, 4), "ttft": round(self.times[0] - self.sent, 5) if self.times else None,
                "e2e": round(self.end - self.sent, 5),
                "gaps": [round(b - a, 5) for a, b in zip(self.times, self.times[1:])]}


async def body_lines(reader, chunked):
    """The lines of a response's body as they come."""
    rest = b""
    while True:
        if chunked:
            size = int((await reader.readline()).split(b";")[0] or b"0", 16)
            data = await reader.readexactly(size) if size else b""
            await reader.readline()
        else:
            data = await reader.read(65536)
        if not data:
            yield rest
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line


async def ask(o, url, prompt, n, began):
    a = Answer(len(prompt))
    body = {"prompt": prompt, "max_tokens": n, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True,
            "seed": len(prompt), "temperature": 1, "top_k": 40, "top_p": 0.95, "min_p": 0, **o.extra}
    data = json.dumps(body).encode()
    a.sent = time.perf_counter() - began
    try:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(f"POST {url.path or ''}/v1/completions HTTP/1.1\r\nHost: {url.hostname}\r\nConnection: close\r\n"
                     f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        status = int((await reader.readline()).split()[1])
        chunked = False
        while (line := await reader.readline()) not in (b"\r\n", b""):
            chunked |= line.lower().replace(b" ", b"").startswith(b"transfer-encoding:chunked")
        async for line in body_lines(reader, chunked):
            if status != 200 and line:
                a.error = f"{status} {line[:200].decode(errors='replace')}"
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if event.get("choices"):
                a.times.append(time.perf_counter() - began)
                a.n_out += 1
            if event.get("error"):
                a.error = str(event["error"])[:200]
            if event.get("usage"):
                a.n_out = event["usage"]["completion_tokens"]
                a.cached = (event["usage"].get("prompt_tokens_details") or {}).get("cached_tokens")
        writer.close()
    except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as e:
        a.error = f"{type(e).__name__}: {e}"
    a.end = time.perf_counter() - began
    return a


async def run(o, talks):
    url, answers, began = urlparse(o.url), [], time.perf_counter()
    waiting = iter(talks)

    async def talk_all(talk):
        for prompt, n in talk:
            answers.append(await ask(o, url, prompt, n, began))

    async def client():
        for talk in waiting:
            await talk_all(talk)

    if o.open:
        r, tasks, at = random.Random(o.seed + 1), [], 0.0
        for talk in talks:
            at += r.expovariate(o.open / o.turns)
            await asyncio.sleep(max(0, began + at - time.perf_counter()))
            tasks.append(asyncio.create_task(talk_all(talk)))
        await asyncio.gather(*tasks)
    else:
        await asyncio.gather(*(client() for _ in range(o.closed)))
    return answers


def quantile(values, q):
    v = sorted(values)
    if not v:
        return None
    at = q * (len(v) - 1)
    low = int(at)
    return v[low] + (v[min(low + 1, len(v) - 1)] - v[low]) * (at - low)


def summary(answers):
    good = [a for a in answers if not a.error and a.times]
    span = max((a.end for a in good), default=0) - min((a.sent for a in good), default=0)
    gaps = [b - a for x in good for a, b in zip(x.times, x.times[1:])]
    figures = {"ttft": [a.times[0] - a.sent for a in good], "itl": gaps, "e2e": [a.end - a.sent for a in good]}
    s = {"requests": len(answers), "errors": len(answers) - len(good), "seconds": span,
         "output_tok_s": sum(a.n_out for a in good) / span if span else None,
         "prompt_tok_s": sum(a.n_prompt for a in good) / span if span else None,
         "prompt_tokens": sum(a.n_prompt for a in good), "cached_tokens": sum(a.cached or 0 for a in good)}
    for name, values in figures.items():
        s[name] = {f"p{p}": quantile(values, p / 100) for p in (50, 90, 99)}
    return s


def options(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("url")
    p.add_argument("--closed", type=int, default=16, help="clients")
    p.add_argument("--open", type=float, default=0, help="requests a second")
    p.add_argument("--requests", type=int, default=64)
    p.add_argument("--prompt", default="128", help="tokens behind the prefix")
    p.add_argument("--output", default="64", help="tokens")
    p.add_argument("--prefix", type=int, default=0, help="tokens")
    p.add_argument("--groups", type=int, default=1, help="prefixes")
    p.add_argument("--turns", type=int, default=1)
    p.add_argument("--turn-tokens", default="32")
    p.add_argument("--max-prompt", type=int, default=1 << 20)
    p.add_argument("--vocab", type=int, default=30000, help="ids are from 300 to this")
    p.add_argument("--extra", type=json.loads, default={}, help="JSON: more fields of the request")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", help="file for every request's figures")
    return p.parse_args(argv)


def measure(o):
    answers = asyncio.run(run(o, make_workload(o)))
    s = summary(answers)
    s["first_error"] = next((a.error for a in answers if a.error), None)
    return s, [a.row() for a in answers]


if __name__ == "__main__":
    o = options()
    s, rows = measure(o)
    if o.json:
        with open(o.json, "w") as f:
            json.dump({"options": vars(o), "summary": s, "requests": rows}, f)
    json.dump(s, sys.stdout, indent=1)
    print()
    sys.exit(s["errors"] > 0)
