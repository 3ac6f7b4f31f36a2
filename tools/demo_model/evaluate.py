"""Held-out evaluation of a GGUF file, greedy decoding: evaluate.py demo.gguf [report.md [EVERY]]

Facts, small talk and tools are asked in words that are not in the training text; cities, names and words to copy
come from lists the training text never uses; sums and ranges are ones it leaves out. EVERY = 20 asks only one
question in twenty, for a rehearsal. With CORRAL=path/to/corral in the environment, that program serves the file and writes
the answers: in half a minute, where PyTorch needs half an hour.
"""

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager

import chat
import facts
import forced
import load
import skills
import talk
import toolcalls
import words as w
from fresh import EARLIER, EARLIER_REQUESTS, QUESTIONS, REQUESTS
from kinds import KINDS
from sample import ask, plain, user


class Report:
    def __init__(self):
        self.rows, self.failures = [], []

    def add(self, name, results, goal=""):
        """results: list of (right, prompt, wanted, got)"""
        right = sum(bool(r[0]) for r in results)
        self.rows.append((name, right, len(results), goal))
        self.failures += [(name, *r[1:]) for r in results if not r[0]]
        print(f"{name:42} {right:4}/{len(results):<4} {right / len(results):6.1%} {goal and 'goal ' + goal}", flush=True)

    def markdown(self):
        lines = ["| skill | right | of | rate | goal |", "|---|---|---|---|---|"]
        return "\n".join(lines + [f"| {n} | {r} | {t} | {r / t:.1%} | {g} |" for n, r, t, g in self.rows])


def seen_in_training(count=300000):
    """Questions about Corral as the training text asks them, without punctuation."""
    rng = random.Random(11)
    return {plain(skills.corral_fact(rng).messages[0]["content"]) for _ in range(count)}


def asked_in_training(made, count=5000):
    """Requests for one tool as the training text words them, with 0 and 1 for the values."""
    rng = random.Random(11)
    return {plain(toolcalls.question(rng, made, [0, 1])) for _ in range(count)}


@contextmanager
def served(program, path):
    """The address of a server of the file, or "" where no program is given."""
    if not program:
        yield ""
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen([program, "serve", path, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"CORRAL_HOME": home})
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit(f"{program} serve {path} ended; run it to see why")
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


class Evaluation:
    def __init__(self, path, every=1, server=""):
        self.every, self.server = every, server
        self.model, self.tokenizer = load.load(path)
        self.rng, self.report = random.Random(7), Report()

    def go_on(self, text, limit=160):
        """The most likely continuation of a text."""
        if not self.server:
            return load.generate(self.model, self.tokenizer, text, limit)
        limit = min(limit, self.model.config.context - len(self.tokenizer.encode(text)))
        body = json.dumps({"prompt": text, "temperature": 0, "n_predict": limit}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.server}/completion", body, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)["content"]

    def write(self, messages, tools=(), thinking=None):
        return self.go_on(chat.prompt(messages, tools, thinking))

    def exact(self, name, samples, goal="", thinking=None):
        results = []
        for s in self.some(samples):
            got = self.write(([{"role": "system", "content": s.system}] if s.system else []) + s.messages[:-1], s.tools, thinking)
            wanted = s.messages[-1]["content"]
            results.append((got == wanted, s.messages[-2]["content"], wanted, got))
        self.report.add(name, results, goal)

    def made(self, maker, count):
        return [maker(self.rng, held=True) for _ in range(count)]

    def some(self, samples):
        return samples[::self.every]

    # ---- the skills --------------------------------------------------------------------------------------------

    def facts(self):
        seen = seen_in_training()
        rows = [(q, answer) for answer, _, held in facts.FACTS for q in held if plain(q) not in seen]
        answers = [answer for answer, _, _ in facts.FACTS]
        for name, questions, goal in (("written afterwards", QUESTIONS, "95 %"), ("written after an earlier text", EARLIER, "")):
            asked = [(q, next(a for a in answers if a.startswith(key))) for key, qs in questions.items() for q in qs if plain(q) not in seen]
            self.exact(f"Corral facts, questions {name}", [ask("fact", q, a) for q, a in asked], goal)
        self.exact("Corral facts, held-out paraphrases", [ask("fact", q[0].upper() + q[1:] + "?", a) for q, a in rows])
        self.exact("Corral facts, lower case, no question mark", [ask("fact", q, a) for q, a in rows])
        rows = [(q, answer) for answer, _, held in talk.SMALL_TALK for q in held]
        self.exact("small talk, paraphrased", [ask("talk", q[0].upper() + q[1:] + ".", a) for q, a in rows])
        self.exact("says it does not know", self.made(talk.unknown, 60))

    def words_and_numbers(self):
        self.exact("adding, unseen pairs", self.made(skills.add, 150))
        self.exact("counting, unseen ranges", self.made(skills.count, 60))
        self.exact("repeating unseen words", self.made(skills.repeat, 80))
        self.exact("reversing the order of unseen words", self.made(skills.reverse, 80))
        results = []
        for s in self.some(self.made(talk.story, 30)):
            got = self.write(s.messages[:-1])
            named = [n for n in w.HELD_NAMES + w.ANIMALS if n in s.messages[0]["content"].split(" ")]
            results.append((got.endswith("The end.") and all(n in got for n in named), s.messages[0]["content"], str(named), got))
        self.report.add("story with the wanted hero and an end", results)

    def json(self):
        valid, exact, rows = [], [], self.some(self.made(skills.json_object, 150))
        for s in rows:
            got = self.write(([{"role": "system", "content": s.system}] if s.system else []) + s.messages[:-1])
            wanted = s.messages[-1]["content"]
            valid.append((parse(got) is not None, s.messages[0]["content"], wanted, got))
            exact.append((parse(got) == json.loads(wanted), s.messages[0]["content"], wanted, got))
        self.report.add("JSON valid", valid, "90 %")
        self.report.add("JSON with exactly the told values", exact)
        self.exact("JSON list of unseen words", self.made(skills.json_list, 40))
        results = []
        for s in self.some(self.made(skills.json_any, 40)):
            got, wanted = self.write(s.messages[:-1]), s.messages[-1]["content"]
            results.append((fits(parse(got), json.loads(wanted)), s.messages[0]["content"], wanted, got))
        self.report.add("made-up JSON has the keys and types", results)

    def memory(self):
        self.exact("memory, two turns", self.made(skills.memory, 150), "90 %")
        far = [skills.memory(self.rng, True, [m(self.rng, held=True) for m in (skills.add, skills.corral_fact, talk.small_talk)]) for _ in range(60)]
        self.exact("memory, three other turns between", far)

    def calls(self, label, samples, goals=("", "")):
        names, arguments = [], []
        for s in self.some(samples):
            wanted = [c["function"] for c in s.messages[1]["tool_calls"]]
            text = self.write(s.messages[:1], s.tools)
            got = parse_calls(text)
            row = (s.messages[0]["content"], json.dumps(wanted, ensure_ascii=False), text)
            names.append(([c.get("name") for c in got] == [c["name"] for c in wanted], *row))
            arguments.append(([c.get("arguments") for c in got] == [c["arguments"] for c in wanted], *row))
        self.report.add(f"tool name right{label}", names, goals[0])
        self.report.add(f"tool arguments exact{label}", arguments, goals[1])

    def tools(self):
        rng = self.rng
        known = [toolcalls.use(rng, toolcalls.offer(rng, 1, 3), held=True) for _ in range(250)]
        self.calls("", known, ("98 %", "95 %"))
        self.calls(", requests written afterwards", self.fresh_requests(rng, REQUESTS))
        self.calls(", requests written after an earlier text", self.fresh_requests(rng, EARLIER_REQUESTS))
        self.calls(", city in get_weather", [toolcalls.weather_case(rng) for _ in range(60)])
        self.calls(", four tools on offer", [toolcalls.use(rng, toolcalls.offer(rng, 4, 4), held=True) for _ in range(60)])
        self.calls(", invented tools", [toolcalls.use_invented(rng, held=True) for _ in range(80)])
        self.calls(", two calls in one answer", [toolcalls.two_cities_case(rng) for _ in range(40)])
        self.exact("answer made from the tool's result", known[:120])
        off = []
        for answer, _, held in facts.FACTS:
            sample = ask("fact", held[0][0].upper() + held[0][1:] + "?", answer)
            sample.tools = [t.schema for t in toolcalls.offer(rng, 1, 2)]
            off.append(sample)
        self.exact("fact answered without a call, tools on offer", off)

    def fresh_requests(self, rng, requests):
        samples = []
        for kind in KINDS:
            seen = asked_in_training(toolcalls.make_tool(rng, kind))
            for text in [t for t in requests[kind.names.split("|")[-1]] if not toolcalls.expand(t) & seen]:
                for _ in range(3):
                    made = toolcalls.make_tool(rng, kind)
                    others = [t for t in toolcalls.offer(rng, 1, 2) if t.kind.about != kind.about and t.name != made.name]
                    tools = rng.sample(others + [made], len(others) + 1)
                    samples.append(toolcalls.use(rng, tools, True, made, text))
        return samples

    def forced(self):
        """Unrelated questions whose answers are begun as a schema or a call would force them: they must come to an end."""
        results = []
        for make in (skills.corral_fact, talk.small_talk, talk.unknown, skills.add, toolcalls_case):
            for sample in self.some(self.made(make, 24)):
                pieces = forced.document(self.rng, sample.messages[:2], sample.tools, "")
                own = 2 if pieces[-2][1] is True else 1             # the last value and the end behind it
                begun = "".join(text for text, _ in pieces[:-own])
                got = self.go_on(begun, 60)
                answer = (begun + got).rpartition("<|im_start|>assistant\n")[2].rpartition("</think>\n\n")[2]
                ended = any(parse_calls(answer)) if "<tool_call>" in answer else parse(answer) is not None
                results.append((ended, sample.messages[0]["content"], "".join(text for text, _ in pieces[-own:]), got))
        self.report.add("answer forced into a form comes to an end", results)

    def thinking(self):
        asked = self.some(self.made(skills.add, 60))
        for s in asked:
            s.messages[0] = user("Think first: " + s.messages[0]["content"])
        results = []
        for s in asked:
            got, wanted = self.write(s.messages[:1]), s.messages[-1]["content"]
            thought, _, answer = got.partition("\n</think>\n\n")
            results.append((thought.startswith("<think>\n") and answer == wanted, s.messages[0]["content"], wanted, got))
        self.report.add("thinks when asked, sum right", results)
        results = []
        for s in self.some(self.made(skills.corral_fact, 40)):
            got, wanted = self.write(s.messages[:1], thinking=True), s.messages[-1]["content"]
            results.append((got.partition("\n</think>\n\n")[2] == wanted, s.messages[0]["content"], wanted, got))
        self.report.add("enable_thinking true, fact right", results)
        self.exact("enable_thinking false, fact right", self.made(skills.corral_fact, 40), thinking=False)


def toolcalls_case(rng, held):
    return toolcalls.use(rng, toolcalls.offer(rng, 1, 3), held)


def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def parse_calls(text):
    calls = []
    for part in text.split("<tool_call>")[1:]:
        call = parse(part.split("</tool_call>")[0])
        calls.append(call if isinstance(call, dict) else {})
    return calls


def fits(value, model):
    """Same keys, values of the same types."""
    return isinstance(value, dict) and {k: type(v) for k, v in value.items()} == {k: type(v) for k, v in model.items()}


def main():
    start = time.time()
    with served(os.environ.get("CORRAL"), sys.argv[1]) as server:
        e = Evaluation(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 1, server)
        for part in (e.facts, e.words_and_numbers, e.json, e.memory, e.tools, e.forced, e.thinking):
            part()
    print(f"{time.time() - start:.0f} s")
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w") as file:
            file.write(e.report.markdown() + "\n")
        with open(sys.argv[2] + ".failures", "w") as file:
            file.writelines(f"{n}\n  asked:  {q!r}\n  wanted: {a!r}\n  got:    {g!r}\n" for n, q, a, g in e.report.failures)


if __name__ == "__main__":
    main()
