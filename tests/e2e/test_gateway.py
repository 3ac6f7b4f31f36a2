"""The gateway over real workers: streams whose workers are killed go on byte for byte, clients of several models, a
restart in the middle."""
import concurrent.futures
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from server import DEMO, Server, run

STORIES = os.path.join(os.environ.get("CORRAL_SHARED", "../shared"), "models", "stories260K.gguf")
PATHS = {"/v1/completions": {"prompt": "Once upon a time", "ignore_eos": True},
         "/v1/chat/completions": {"messages": [{"role": "user", "content": "What is Corral?"}], "ignore_eos": True},
         "/api/generate": {"prompt": "Once upon a time", "options": {"ignore_eos": True}},
         "/v1/messages": {"messages": [{"role": "user", "content": "What is Corral?"}], "ignore_eos": True}}


def body(path, model, seed, n):
    b = {"model": model, "stream": True, **PATHS[path]}
    if path.startswith("/api"):
        b["options"] = {**b["options"], "seed": seed, "num_predict": n, "temperature": 0.9}
    else:
        b |= {"seed": seed, "max_tokens": n, "temperature": 0.9}
    return b


def stream(url, path, b):
    r = urllib.request.Request(url + path, json.dumps(b).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(r, timeout=120) as answer:
        return answer.read().decode()


def plain(text):
    """Without what is another in every run: names, times, and what the cache had."""
    text = re.sub(r"^:.*\n\n?", "", text, flags=re.M)  # a sign of life while nobody answers, with its empty line
    for name in ("timings", "usage"):
        text = re.sub(rf'"{name}":\{{.*?\}}(?=[,}}])', "", text)
    text = re.sub(r'"(id|created_at)":"[^"]*"', "", text)
    return re.sub(r'"(created|[a-z_]*duration|[a-z_]*eval_count|cached_tokens)":\d+', "", text)


def pids(srv):
    """Of workers that answer: one that is killed three times while it loads is given up (docs/gateway.md)."""
    return [s["process"] for s in srv.health()["servers"] if s["process"] and s["state"] == "ready"]


def at_work(srv):
    """Of those that answer somebody now."""
    servers = srv.get("/servers")[2]["servers"]
    return [s["process"] for s in servers if s["process"] and s["state"] == "ready" and s["in_flight"]]


def test_streams_survive_their_workers():
    models = [DEMO, STORIES] if os.path.exists(STORIES) else [DEMO]
    if len(models) == 1:
        print("skipped: the stories model is not there")
    with Server(*models[1:], "--alias", "other") as srv:
        names = ["demo", "other"] + (["stories260K"] if len(models) > 1 else [])
        jobs = [(path, body(path, name, i, 200)) for i, (path, name) in
                enumerate((p, n) for p in PATHS for n in names for _ in range(4) if (p, n) not in
                          {("/v1/chat/completions", "stories260K"), ("/v1/messages", "stories260K")})]
        want = [plain(stream(srv.url, *job)) for job in jobs]
        killed = 0

        def kill(done):
            """All that are at work at one moment, of each model one; how several deaths in a row end is e2e_kills."""
            nonlocal killed
            while not done.wait(0.005):
                if busy := at_work(srv):
                    for pid in busy:
                        os.kill(pid, signal.SIGKILL)
                    killed += 1
                    return

        for _ in range(20):  # rounds: one may be over before anybody was seen at work
            done = threading.Event()
            killer = threading.Thread(target=kill, args=(done,))
            killer.start()
            with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
                got = list(pool.map(lambda job: plain(stream(srv.url, *job)), jobs))
            done.set()
            killer.join()
            for (path, b), w, g in zip(jobs, want, got):
                assert g == w, (path, b["model"])
            if killed == 5:  # six of one model would be its end
                return
        raise AssertionError(killed)


def under_way(srv, futures):
    """All of them have reached the gateway: what has not may be refused when it stops."""
    end = time.monotonic() + 30
    while (done := sum(f.done() for f in futures)) + running(srv) < len(futures):
        assert time.monotonic() < end, (done, running(srv))
        time.sleep(0.01)


def running(srv):
    """At a worker now; /health says how it was some ms ago."""
    return sum(s["in_flight"] for s in srv.get("/servers")[2]["servers"])


def test_a_signal_lets_streams_finish():
    with Server() as srv:
        b = body("/v1/completions", "demo", 1, 900)
        want = plain(stream(srv.url, "/v1/completions", b))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            all_of = [pool.submit(stream, srv.url, "/v1/completions", b) for _ in range(4)]
            under_way(srv, all_of)
            srv.proc.terminate()
            assert all(plain(s.result()) == want for s in all_of)
        assert srv.proc.wait(20) == 0


def test_a_restart_hands_over():
    with Server() as srv:
        b = body("/v1/completions", "demo", 1, 300)
        short = body("/v1/completions", "demo", 1, 10)
        want = plain(stream(srv.url, "/v1/completions", b))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(stream, srv.url, "/v1/completions", b) for _ in range(3)]
            under_way(srv, streams)
            srv.proc.send_signal(signal.SIGUSR2)
            end = time.monotonic() + 120  # a machine with other things to do takes its time
            while srv.proc.poll() is None and time.monotonic() < end: # nobody is refused meanwhile
                stream(srv.url, "/v1/completions", short)
            assert all(plain(s.result()) == want for s in streams)
        assert srv.proc.returncode == 0
        assert plain(stream(srv.url, "/v1/completions", b)) == want # by the process that came
        with open(os.path.join(srv.home, "corral.lock")) as f:
            os.kill(int(f.read()), signal.SIGTERM)


def test_what_workers_remember():
    """Answers and conversations are kept by the worker that made them: with several it is found all the same."""
    with Server("--replicas", "3", "--parallel", "2") as srv:
        end = time.monotonic() + 60
        while sum(s["state"] == "ready" for s in srv.health()["servers"]) < 3:
            assert time.monotonic() < end, srv.health()
            time.sleep(0.05)

        def respond(text, **more):
            code, _, answer = srv.post("/v1/responses", {"input": text, "max_output_tokens": 4, **more})
            return code, answer

        ids = []
        for i in range(9):  # beginnings that differ go to different workers
            code, answer = respond(f"{i} is the number", **({"previous_response_id": ids[-1]} if ids else {}))
            assert code == 200, answer
            ids.append(answer["id"])
        others = [respond(f"{i} is another")[1]["id"] for i in range(9)]
        for i, id in enumerate(ids + others):
            assert srv.get("/v1/responses/" + id)[2]["id"] == id
            assert respond("And then?", previous_response_id=id)[0] == 200
        streamed = stream(srv.url, "/v1/responses", {"input": "On", "max_output_tokens": 4, "stream": True,
                                                     "previous_response_id": ids[4]})
        assert "response.completed" in streamed or "response.incomplete" in streamed
        drop = urllib.request.Request(srv.url + "/v1/responses/" + ids[0], method="DELETE")
        assert srv.open(drop, 20)[2]["deleted"] and srv.open(drop, 20)[0] == 404
        assert srv.get("/v1/responses/" + ids[0])[0] == 404
        code, answer = respond("And then?", previous_response_id="resp_nothing")
        assert code == 404 and answer["error"]["code"] == "previous_response_not_found"

        for i in range(4):
            code, _, answer = srv.post("/chat", {"session_id": "s1", "message": f"{i}?", "max_tokens": 2})
            assert code == 200 and answer["history"] >= 2 * i + 1, answer
        drop = urllib.request.Request(srv.url + "/chat/s1", method="DELETE")
        assert srv.open(drop, 20)[0] == 200 and srv.open(drop, 20)[0] == 404

        for pid in pids(srv):  # what they remembered ends with them, and that is said
            os.kill(pid, signal.SIGKILL)
        code, answer = respond("And then?", previous_response_id=ids[-1])
        assert code == 404 and "not known" in answer["error"]["message"], answer


def test_what_outlives_workers(tmp_path):
    """With a folder to keep it in, what was remembered is there for whatever worker comes next, also after a restart."""
    folder = tmp_path / "remembered"

    def talk(srv, text):
        code, _, answer = srv.post("/chat", {"session_id": "s1", "message": text, "max_tokens": 2})
        assert code == 200, answer
        return answer["history"]

    with Server("--remember", str(folder)) as srv:
        _, _, first = srv.post("/v1/responses", {"input": "One", "max_output_tokens": 4})
        assert talk(srv, "One?") == 1
        os.kill(pids(srv)[0], signal.SIGKILL)
        code, _, second = srv.post("/v1/responses", {"input": "Two", "max_output_tokens": 4, "previous_response_id": first["id"]})
        assert code == 200 and second["previous_response_id"] == first["id"], second
        assert talk(srv, "Two?") == 3
    with Server("--remember", str(folder)) as srv:
        assert srv.get("/v1/responses/" + second["id"])[2]["id"] == second["id"]
        assert talk(srv, "Three?") == 5

        def ask(method, path, key=None, body=None, shown="Authorization: Bearer "):
            headers = {"Content-Type": "application/json"} | (dict([(shown + key).split(": ")]) if key else {})
            data = json.dumps(body).encode() if body else None
            return srv.open(urllib.request.Request(srv.url + path, data, headers, method=method), 20)

        _, _, third = ask("POST", "/v1/responses", "mine", {"input": "Three", "max_output_tokens": 4})
        assert srv.post("/unload", {})[0] == 200  # from here on no worker is there to ask, and none is started
        end = time.monotonic() + 30
        while srv.health()["servers"]:
            assert time.monotonic() < end, srv.health()
            time.sleep(0.05)
        cases = [  # what is asked, by whom; the status, and a member of the answer
            ("GET", "/v1/responses/" + first["id"], None, 200, ("id", first["id"])),
            ("GET", f"/v1/responses/{second['id']}/input_items", None, 200, ("object", "list")),
            ("GET", "/v1/responses/" + third["id"], None, 404, None),  # another's
            ("DELETE", "/v1/responses/" + third["id"], None, 404, None),
            ("GET", "/v1/responses/" + third["id"], "mine", 200, ("id", third["id"])),
            ("DELETE", "/v1/responses/" + third["id"], "mine", 200, ("deleted", True)),
            ("DELETE", "/v1/responses/" + third["id"], "mine", 404, None),
            ("GET", "/v1/responses/session%20s1", None, 404, None),  # a conversation's file is no response
            ("DELETE", "/v1/responses/session%20s1", None, 404, None),
            ("DELETE", "/chat/s1", "mine", 404, None),
        ]
        for shown in ("Authorization: bearer ", "X-Api-Key: "):  # one key is one client
            assert ask("GET", "/v1/responses/" + third["id"], "mine", shown=shown)[0] == 200, shown
        for method, path, key, code, member in cases:
            got, _, answer = ask(method, path, key)
            assert got == code and (not member or answer[member[0]] == member[1]), (method, path, key, got, answer)
        assert not srv.health()["servers"]
        drop = urllib.request.Request(srv.url + "/chat/s1", method="DELETE")
        assert srv.open(drop, 20)[0] == 200 and srv.open(drop, 20)[0] == 404
    assert oct(folder.stat().st_mode & 0o777) == "0o700" and all(f.stat().st_mode & 0o077 == 0 for f in folder.iterdir())


def test_prompts_of_a_name_that_is_not_there():
    with Server() as srv:
        for path, shape in (("/v1/completions", "message"), ("/v1/messages", "message"), ("/api/generate", None)):
            code, _, answer = srv.post(path, body(path, "nothing", 0, 1))
            assert code == 404 and "nothing" in (answer["error"][shape] if shape else answer["error"])


if __name__ == "__main__":
    run(__file__)
