"""corral pull, list, show, cp, alias, options, jobs, ps, stop, logs, gpus, rm: without a server and beside one."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = os.environ.get("CORRAL_SOURCE", ".")
CORRAL = os.environ.get("CORRAL", "build/corral")
sys.path.insert(0, os.path.join(SOURCE, "tests", "support"))
from fake_hub import FakeHub  # noqa: E402

with open(os.path.join(SOURCE, "models", "demo.gguf"), "rb") as f:
    MODEL = f.read()


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="corral-")
        self.home = self.folder.name
        self.hub = FakeHub()
        self.hub.__enter__()
        self.base = self.hub.hf_repo("org/repo", {"config.json": b'{"model_type": "llama"}', "m-Q8_0.gguf": MODEL})
        self.env = {**os.environ, "CORRAL_HOME": self.home, "HF_ENDPOINT": self.hub.url, "CORRAL_REGISTRY": self.hub.url}
        self.env.pop("CORRAL_SERVER", None)

    def tearDown(self):
        self.hub.__exit__()
        self.folder.cleanup()

    def start(self, *args):
        return subprocess.Popen([CORRAL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)

    def corral(self, *args, status=0):
        """(standard output, standard error)"""
        p = self.start(*args)
        out, err = p.communicate(timeout=120)
        if status is not None:
            self.assertEqual(p.returncode, status, (args, out, err))
        return out, err

    def json(self, *args):
        return json.loads(self.corral(*args, "--json")[0])

    def wait(self, test):
        end = time.monotonic() + 60
        while not (found := test()):
            self.assertLess(time.monotonic(), end, "it does not happen")
            time.sleep(0.1)
        return found

    def walk(self):
        """What works whether somebody serves or not."""
        out, err = self.corral("pull", "hf:org/repo:q8_0", "--as", "tiny")
        self.assertIn("tiny:latest is here (2.", out)
        self.assertIn("tiny:latest  completed", err)
        self.assertIn("tiny", self.corral("list")[0])
        self.assertTrue(self.corral("run", "tiny", "-p", "Hi", "-n", "3", "--temp", "0")[0])
        self.assertIn("does not exist", self.corral("inspect", "tyni", status=1)[1])
        (job,) = self.json("jobs")
        self.assertEqual((job["status"], job["total_bytes"]), ("completed", len(MODEL)))
        self.assertEqual(self.json("jobs", str(job["id"]))["files"][0]["done"], True)
        self.corral("cp", "tiny", "other")
        self.corral("alias", "best", "other")
        self.corral("options", "other", "context=256", "defaults.temperature=0.5", "defaults.top_k=4")
        self.assertEqual(self.json("options", "other", "defaults.top_k="), {"context": 256, "defaults": {"temperature": 0.5}})
        shown = self.json("show", "best")
        self.assertEqual((shown["alias_of"], shown["facts"]["architecture"]), ("other", "llama"))
        text = self.corral("show", "other")[0]
        for part in ("architecture     llama", "context=256" and "context          256", "Memory on cpu"):
            self.assertIn(part, text)
        demo, text = self.json("show", "demo"), self.corral("show", "demo")[0]
        self.assertEqual((demo["facts"]["architecture"], demo["in_store"], demo["bytes"]), ("llama", False, len(MODEL)))
        self.assertIn("Memory on cpu", text)
        self.assertIn("best", self.corral("alias")[0])
        self.corral("alias", "rm", "best")
        self.assertIn("Host memory", self.corral("gpus")[0])
        self.assertIn("0 bytes freed", self.corral("rm", "other")[0])
        self.assertIn(f"{len(MODEL) / 2**20:.2f} MiB freed", self.corral("rm", "tiny")[0])
        self.assertNotIn("tiny", self.corral("list")[0])
        blobs = os.path.join(self.home, "models", "blobs")
        self.assertEqual(os.listdir(blobs) if os.path.isdir(blobs) else [], [])
        for args, status, why in ((("rm", "tiny"), 1, "does not exist"), (("show", "tiny"), 1, "does not exist"),
                                  (("pull", "hf:org/nothing"), 1, "nothing"), (("pull", "hf:"), 2, ""),
                                  (("cp", "a"), 2, "usage"), (("stop",), 2, "--all"), (("jobs", "99"), 1, "no such job"),
                                  (("options", "demo", "x"), None, ""), (("pull",), 2, "usage")):
            p = self.start(*args)
            _, err = p.communicate(timeout=60)
            self.assertIn(why, err)
            self.assertEqual(p.returncode, status) if status is not None else self.assertNotEqual(p.returncode, 0)

    def test_without_a_server(self):
        self.walk()
        self.assertIn("No server is running", self.corral("ps")[0])
        self.assertEqual(os.path.exists(os.path.join(self.home, "corral.sock")), False)

    def test_commands_at_once(self):
        """Each may find the home taken by another, and waits."""
        many = [self.start("pull", "hf:org/repo:q8_0", "--as", f"m{i}", "--quiet") for i in range(5)]
        for p in many:
            _, err = p.communicate(timeout=120)
            self.assertEqual(p.returncode, 0, err)
        self.assertEqual(sorted(m["name"] for m in self.json("list")), [f"m{i}" for i in range(5)])

    def test_interrupted_and_gone_on(self):
        self.hub.fault(self.base + "m-Q8_0.gguf", slow=1 << 20)
        p = self.start("pull", "hf:org/repo:q8_0", "--as", "tiny")
        self.wait(lambda: self.hub.sent(self.base + "m-Q8_0.gguf") > 1 << 20)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 1, err)
        self.assertIn("goes on where it was", err)
        (job,) = self.json("jobs")  # looking does not begin it again
        self.assertEqual(job["status"], "queued")
        before = self.hub.sent(self.base + "m-Q8_0.gguf")
        time.sleep(0.3)
        self.assertEqual(self.hub.sent(self.base + "m-Q8_0.gguf"), before)
        self.hub.fault(self.base + "m-Q8_0.gguf")
        self.corral("pull", "hf:org/repo:q8_0", "--as", "tiny")
        self.assertEqual(self.json("jobs")[0]["id"], job["id"])
        self.assertLess(self.hub.sent(self.base + "m-Q8_0.gguf"), len(MODEL) + before)

    def test_safetensors(self):
        """They come; that they cannot be run is said by everybody who would."""
        self.hub.hf_repo("org/raw", {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"x" * 1000})
        out, _ = self.corral("pull", "org/raw")
        self.assertIn("cannot run yet", out)
        name = "hf.co/org/raw:latest"
        self.assertIn("hf.co/org/raw", self.corral("list")[0])
        self.assertEqual(self.json("show", name)["source"], "hf:org/raw")
        for command in ("run", "inspect", "serve"):
            _, err = self.corral(command, name, *(("--port", "0") if command == "serve" else ()), status=None)
            self.assertIn("safetensors", err, command)
        self.corral("rm", name)

    def test_options_are_listed(self):
        self.assertRegex(self.corral("options")[0], r"keep_alive +how long")
        self.assertIn("context", self.json("options"))

    def test_beside_a_server(self):
        server = self.start("serve", "--port", "0", "--quiet")
        try:
            ready = server.stdout.readline()
            url = re.search(r"http://[0-9.:]+", ready)
            self.assertTrue(url, ready)
            self.walk()
            self.corral("pull", "hf:org/repo:q8_0", "--as", "tiny", "--quiet")
            self.assertIn("tiny", self.corral("list", "--server", url[0])[0])
            import urllib.request
            body = json.dumps({"model": "tiny", "prompt": "Once", "max_tokens": 2}).encode()
            urllib.request.urlopen(urllib.request.Request(url[0] + "/v1/completions", body), timeout=60).read()
            row = next(line for line in self.corral("ps")[0].splitlines() if line.startswith("tiny"))
            self.assertRegex(row, r"ready +\d+ +host +\S+ MiB")
            self.assertTrue(self.corral("logs", "tiny", "-n", "5")[0])
            self.corral("stop", "tiny")
            self.wait(lambda: "tiny" not in self.corral("ps")[0])
            self.hub.fault(self.base + "m-Q8_0.gguf", slow=200000)
            self.hub.put("/files/slow.gguf", MODEL)
            self.hub.fault("/files/slow.gguf", slow=200000)
            p = self.start("pull", self.hub.url + "/files/slow.gguf")
            self.wait(lambda: self.hub.sent("/files/slow.gguf") > 10000)
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=60)
            self.assertIn("the server goes on with job", err)
            (job,) = self.json("jobs", "--status", "running")
            self.corral("jobs", "cancel", str(job["id"]))
            self.wait(lambda: self.json("jobs", str(job["id"]))["status"] == "cancelled")
            second = self.start("serve", "--port", "0")
            _, err = second.communicate(timeout=60)
            self.assertNotEqual(second.returncode, 0)
            self.assertIn(str(server.pid), err)
        finally:
            server.terminate()
            server.communicate(timeout=60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
