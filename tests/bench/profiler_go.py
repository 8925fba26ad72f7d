#!/usr/bin/env python3
"""Profiles of a busy server as the Go toolchain reads them.

profiler_go.py SERVER: starts the server (profiler_server.c), takes profiles over HTTP and runs `go tool pprof` on them
the way guides say. Exits 77, which meson counts as skipped, where Go is not installed. PROFCHECK may name a stricter
checker of the files.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from profile_rules import check  # noqa: E402

SECONDS = 3


def get(path, timeout=60):
    with urllib.request.urlopen(Server.base + path, timeout=timeout) as reply:
        return reply.read()


def get_soon(url):
    """pprof prints its address before it listens there."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                return reply.read().decode()
        except urllib.error.URLError:
            time.sleep(0.05)
    raise TimeoutError(url)


class Server:
    base = None
    process = None
    program = None


class GoReads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.env = dict(os.environ, HOME=cls.folder, PPROF_TMPDIR=cls.folder, GOCACHE=cls.folder + "/cache")
        cls.files = {}
        paths = {
            "cpu": f"profile?seconds={SECONDS}", "goroutine": "goroutine", "threadcreate": "threadcreate",
            "goroutine.txt": "goroutine?debug=1", "threadcreate.txt": "threadcreate?debug=1",
            "goroutine-delta": "goroutine?seconds=1",
        }
        with concurrent.futures.ThreadPoolExecutor(len(paths)) as pool:
            for name, body in zip(paths, pool.map(get, paths.values())):
                cls.files[name] = os.path.join(cls.folder, name)
                with open(cls.files[name], "wb") as out:
                    out.write(body)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def pprof(self, *args):
        done = subprocess.run(["go", "tool", "pprof", *args], env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Local symbolization failed", done.stderr)
        return done.stdout

    def shares(self, text):
        """function → flat percent"""
        row = r"^\s*\S+\s+([\d.]+)%\s+[\d.]+%\s+\S+\s+[\d.]+%\s+(\S+)"
        return {m[2]: float(m[1]) for m in re.finditer(row, text, re.M)}

    def test_top_names_functions_in_their_proportion(self):
        share = self.shares(self.pprof("-top", self.files["cpu"]))
        whole = share["work_a"] + share["work_b"] + share["work_c"]
        self.assertAlmostEqual(share["work_a"] / whole, 0.60, delta=0.2)
        self.assertAlmostEqual(share["work_b"] / whole, 0.30, delta=0.2)
        self.assertAlmostEqual(share["work_c"] / whole, 0.10, delta=0.15)

    def test_inlined_functions_are_shown_as_such(self):
        self.assertRegex(self.pprof("-top", self.files["cpu"]), r"work_inlined \(inline\)")

    def test_list_finds_the_source(self):
        self.assertIn("for (unsigned i = 0; i < n; i++)", self.pprof("-list=work_inlined", self.files["cpu"]))

    def test_other_reports(self):
        self.assertIn("run_worker", self.pprof("-peek=work_a", self.files["cpu"]))
        self.assertIn("Samples:", self.pprof("-raw", self.files["cpu"]))
        self.assertIn("work_a", self.pprof("-traces", self.files["cpu"]))
        self.assertIn("work_a", self.pprof("-dot", self.files["cpu"]))
        if shutil.which("dot"):
            self.assertIn("<svg", self.pprof("-svg", self.files["cpu"]))

    def test_labels(self):
        tags = self.pprof("-tags", self.files["cpu"])
        self.assertRegex(tags, r"thread: Total")
        self.assertRegex(tags, r"\): worker")
        self.assertIn("demo.busy", tags)
        loop = self.pprof("-top", "-tagfocus=task=demo.busy", self.files["cpu"])
        self.assertIn("work_loop", loop)
        self.assertNotIn("work_a", loop)

    def test_a_profile_can_be_fetched_and_compared(self):
        self.assertIn("work_a", self.pprof("-top", f"{Server.base}profile?seconds=1"))
        self.pprof("-top", f"-base={self.files['cpu']}", self.files["cpu"])

    def test_goroutines(self):
        top = self.pprof("-top", self.files["goroutine"])
        self.assertIn("tick_wait", top)
        self.assertIn("run_worker", self.pprof("-traces", self.files["goroutine"]))
        self.assertIn("demo.wait", self.pprof("-tags", self.files["goroutine"]))
        self.pprof("-top", self.files["goroutine.txt"])
        self.pprof("-top", self.files["goroutine-delta"])

    def test_the_counts_that_guides_count(self):
        total = 0
        with open(self.files["goroutine.txt"], encoding="utf-8") as text:
            lines = text.read().split("\n")
        total = int(re.fullmatch(r"goroutine profile: total (\d+)", lines[0])[1])
        self.assertGreater(total, 54)
        self.assertEqual(sum(line.startswith("goroutine") for line in lines), total + 1)
        raw = self.pprof("-raw", self.files["goroutine"]).split("\n")
        self.assertGreater(sum(line.startswith("goroutine") for line in raw), 54)

    def test_threads(self):
        self.assertIn("main", self.pprof("-top", self.files["threadcreate"]))
        self.pprof("-top", self.files["threadcreate.txt"])

    def test_the_browser_view(self):
        process = subprocess.Popen(["go", "tool", "pprof", "-no_browser", "-http=127.0.0.1:", self.files["cpu"]],
                                   env=self.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            url = None
            while url is None:
                url = re.search(r"http://\S+", process.stderr.readline())
            for page in ("/ui/flamegraph", "/ui/top"):
                self.assertTrue("work_a" in get_soon(url[0] + page), page)
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()

    def test_every_file_obeys_the_rules_of_the_format(self):
        for name in ("cpu", "goroutine", "threadcreate", "goroutine-delta"):
            with open(self.files[name], "rb") as file:
                profile = check(file.read())
            if name == "cpu":
                self.assertGreater(profile.total(1, task="demo.busy"), 0)
                self.assertGreater(profile.total(1, thread="worker"), 0)

    def test_the_commands_of_guides_run(self):
        """As they stand there, but for the port."""
        cpu, goroutine = self.files["cpu"], self.files["goroutine"]
        self.assertIn("flat%", self.pprof("-top", "-nodecount=20", cpu))
        self.assertIn("work_a", self.pprof("-list=work_.*", cpu))
        self.pprof(f"-base={cpu}", cpu)
        self.pprof("-top", goroutine)
        self.assertIn("state: Total", self.pprof("-tags", goroutine))
        url = Server.base
        script = f"""
            set -e
            cd {self.folder}
            curl -s "{url}profile?seconds=1" > cpu.prof
            curl -s "{url}goroutine" > goroutine.prof
            curl -s "{url}goroutine?debug=1" > goroutines.txt
            curl -s {url}goroutine\\?debug=2 > ipfs.stacks
            go tool pprof -raw goroutine.prof 2>/dev/null | grep "^goroutine" | wc -l
            grep "^goroutine" goroutines.txt | wc -l
            grep -c "^goroutine [0-9]" ipfs.stacks
            grep -A 10 "^goroutine" goroutines.txt | grep -v "^--$" | sort | uniq -c | sort -rn | head -20
        """
        done = subprocess.run(["bash", "-c", script], env=self.env, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        counts = [int(n) for n in done.stdout.split("\n")[:3]]
        self.assertGreater(min(counts), 54)  # 51 operations, 4 threads
        self.assertIn("tick_wait", done.stdout)

    @unittest.skipUnless(shutil.which("google-pprof") and shutil.which("curl"), "google-pprof is not installed")
    def test_google_pprof_reads_what_it_asks_for(self):
        url = Server.base.replace("/debug/pprof/", "/pprof/profile")
        done = subprocess.run(["google-pprof", "--text", "--seconds=1", Server.program, url], env=self.env,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^ +\d+ +[\d.]+% +[\d.]+% +\d+ +[\d.]+% work_a\S*$")

    @unittest.skipUnless(os.environ.get("PROFCHECK"), "PROFCHECK is not set")
    def test_profcheck(self):
        check = os.environ["PROFCHECK"]
        runs = [
            ["-want", "cpu", "-symbolized", "-min-samples", "10", "-cum", "work_a:10", "-label", "thread", "-label", "task",
             self.files["cpu"]],
            ["-want", "goroutine", "-symbolized", "-label", "task", "-label", "state", self.files["goroutine"]],
            ["-want", "goroutine", "-delta", self.files["goroutine-delta"]],
            ["-want", "threadcreate", "-symbolized", self.files["threadcreate"]],
            ["-legacy", "-want", "goroutine", self.files["goroutine.txt"]],
            ["-legacy", "-want", "threadcreate", self.files["threadcreate.txt"]],
        ]
        for args in runs:
            done = subprocess.run([check, *args], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)


def main():
    if shutil.which("go") is None:
        return 77
    Server.program = os.path.abspath(sys.argv[1])
    Server.process = subprocess.Popen([sys.argv[1], "0", "600"], stdout=subprocess.PIPE, text=True)
    try:
        Server.base = f"http://{Server.process.stdout.readline().strip()}/debug/pprof/"
        result = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False, verbosity=1).result
        return 0 if result.wasSuccessful() else 1
    finally:
        Server.process.terminate()
        Server.process.wait()
        Server.process.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
