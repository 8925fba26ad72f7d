#!/usr/bin/env python3
"""Guides to debugging Go services, followed word for word on a busy daemon: their commands for CPU time and goroutines.

What is put in place of a guide's own: ports, names of functions and, unless PEERSCOPE_GUIDES=whole, one second where
a guide samples for half a minute or more.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from harness import Case, closed_port

WHOLE = os.environ.get("PEERSCOPE_GUIDES") == "whole"

# As the guides have them. They run at the same time: a daemon is asked by several people too.
COLLECT = {
    "proposal": r"""go tool pprof http://localhost:56001/debug/pprof/profile?seconds=30""",
    "dump": r"""curl localhost:5001/debug/pprof/goroutine\?debug=2 > ipfs.stacks""",
    "cpu": r"""curl localhost:5001/debug/pprof/profile > ipfs.cpuprof""",
    "index": r"""curl http://localhost:9099/debug/pprof/ > index.html""",
    "option_a": r"""
curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > /tmp/cpu.prof
curl -s "http://localhost:9099/debug/pprof/goroutine" > /tmp/goroutine.prof
""",
    "option_b": r"""
curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > cpu.prof
curl -s "http://localhost:9099/debug/pprof/goroutine" > goroutine.prof
""",
    "compare": r"""
curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > baseline.prof
curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > after-1h.prof
cp baseline.prof before.prof
cp after-1h.prof after.prof
""",
    "high_cpu": r"""curl -s "http://localhost:9099/debug/pprof/profile?seconds=60" > high-cpu.prof""",
    "explosion": r"""curl -s "http://localhost:9099/debug/pprof/goroutine?debug=1" > goroutines.txt""",
    "all": r"""
TIMESTAMP=$(date +%Y%m%d-%H%M%S)
PREFIX="tsnsrv-$TIMESTAMP"

curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > "${PREFIX}-cpu.prof"
curl -s "http://localhost:9099/debug/pprof/goroutine" > "${PREFIX}-goroutine.prof"
curl -s "http://localhost:9099/debug/pprof/goroutine?debug=1" > "${PREFIX}-goroutines.txt"

echo "Profiles saved with prefix: $PREFIX"
""",
    "continuous": r"""
INTERVAL=0
OUTDIR="./profiles/$(date +%Y%m%d)"
mkdir -p "$OUTDIR"

TIMESTAMP=$(date +%H%M%S)
curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" \
  > "$OUTDIR/cpu-$TIMESTAMP.prof"

echo "Collected profiles at $TIMESTAMP"
sleep "$INTERVAL"
""",
}


class Guides(Case):
    """One daemon for all: what is looked at are files."""

    def setUp(self):
        if shutil.which("curl") is None:
            self.skipTest("needs curl")
        super().setUp()
        self.env = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder),
                    "GOCACHE": str(self.lab.folder / "cache"), "DEBUGINFOD_URLS": "", "BROWSER": "true"}
        self.daemon = self.lab.daemon()
        self.stop = threading.Event()
        self.load = threading.Thread(target=self.keep_busy)
        self.load.start()
        self.addCleanup(self.load.join)
        self.addCleanup(self.stop.set)

    def keep_busy(self):
        while not self.stop.is_set():
            self.daemon.http("/debug/traces?json&n=100")

    def placed(self, script):
        host = self.daemon.debug_host()
        script = re.sub(r"localhost:(56001|5001|9099)", host, script).replace("/tmp/", f"{self.lab.folder}/tmp-")
        return script if WHOLE else re.sub(r"seconds=\d+|pprof/profile(?= )",
                                           lambda m: m[0] + "?seconds=1" if m[0].startswith("p") else "seconds=1", script)

    def run_script(self, script, text="", expect=0):
        done = subprocess.run(["bash", "-c", self.placed(script)], cwd=self.lab.folder, env=self.env, input=text,
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, expect, script + done.stderr)
        self.assertNotIn("Local symbolization failed", done.stderr)
        return done.stdout

    def collect(self, *names):
        names = [n for n in names if "go tool" not in COLLECT[n] or shutil.which("go")]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(lambda n: self.run_script(COLLECT[n], "top\n"), names)))

    def pages(self, script, *paths):
        """What the browser would show; pprof prints its address before it listens there."""
        port = closed_port()
        process = subprocess.Popen(["bash", "-c", "exec " + self.placed(script).replace(":8080", f":{port}")],
                                   cwd=self.lab.folder, env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return [self.page(process, f"http://localhost:{port}{path}") for path in paths]
        finally:
            process.terminate()
            process.wait()

    def page(self, process, url):
        for _ in range(1200):
            try:
                with urllib.request.urlopen(url, timeout=60) as reply:
                    return reply.read().decode()
            except urllib.error.URLError:
                self.assertIsNone(process.poll(), url)
                time.sleep(0.1)
        raise TimeoutError(url)

    def test_everything_is_collected_at_the_same_time(self):
        said = self.collect(*COLLECT)
        files = {p.name: p.stat().st_size for p in self.lab.folder.rglob("*") if p.is_file()}
        for name in ("ipfs.stacks", "ipfs.cpuprof", "tmp-cpu.prof", "tmp-goroutine.prof", "cpu.prof", "goroutine.prof",
                     "baseline.prof", "after-1h.prof", "high-cpu.prof", "goroutines.txt", "index.html"):
            self.assertGreater(files[name], 100, name)
        self.assertEqual(sum(n.startswith("tsnsrv-") for n in files), 3)
        self.assertEqual(sum(bool(re.fullmatch(r"cpu-\d+\.prof", n)) for n in files), 1)
        for file in self.lab.folder.rglob("*.prof"):
            self.assertEqual(file.read_bytes()[:2], b"\x1f\x8b", f"{file.name} is no profile")
        self.assertIn("Profiles saved with prefix: tsnsrv-", said["all"])
        if "proposal" in said:
            self.assertIn("flat%", said["proposal"])

    def test_the_stack_dump_is_read_as_the_guide_reads_it(self):
        self.collect("dump", "explosion")
        dump = (self.lab.folder / "ipfs.stacks").read_text()
        blocks = dump.rstrip("\n").split("\n\n")
        for block in blocks:
            head = block.split("\n", 1)[0]
            self.assertRegex(head, r"^goroutine \d+ \[(running|runnable|IO wait|syscall|semacquire|sync\.Cond\.Wait|sleep|"
                                   r"chan (receive|send)|select)(, \d+ minutes)?(, locked to thread)?\]:$")
        self.assertIn("\nloop_run(...)\n\t/", dump)
        self.assertIn("\ncreated by ", dump)
        count = int(self.run_script('grep "^goroutine" goroutines.txt | wc -l'))
        self.assertGreaterEqual(count, 5)
        common = self.run_script(r"""
grep -A 10 "^goroutine" goroutines.txt | \
  grep -v "^--$" | \
  sort | uniq -c | sort -rn | head -20
""")
        self.assertRegex(common, r"(?m)^ +\d+ goroutine \d+ \[|^ +\d+ \w+\(\.\.\.\)$")

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_the_analysis_names_our_functions(self):
        self.collect("option_b", "compare", "high_cpu")
        self.assertIn("loop_run", self.run_script("go tool pprof -top -cum cpu.prof"))
        for command in ("go tool pprof -top cpu.prof", "go tool pprof -top high-cpu.prof",
                        "go tool pprof -top -nodecount=20 cpu.prof"):
            self.assertIn("Type: cpu", self.run_script(command))
        self.assertIn("loop_run", self.run_script("go tool pprof -top goroutine.prof"))
        listing = self.run_script("go tool pprof -list='loop_run' high-cpu.prof")
        self.assertRegex(listing, r"ROUTINE =+ loop_run in /.*/base/loop\.c")
        self.assertIn("uv_run(&l->uv", listing)
        self.assertIn("flat%", self.run_script("go tool pprof -base=baseline.prof after-1h.prof", "top\n"))
        self.assertIn("flat%", self.run_script("go tool pprof -base=before.prof after.prof", "top\n"))
        count = int(self.run_script('go tool pprof -raw goroutine.prof | grep "^goroutine" | wc -l'))
        self.assertGreaterEqual(count, 5)
        self.assertIn("loop_run", self.run_script("go tool pprof -peek='loop_run' cpu.prof"))
        self.assertIn("thread: Total", self.run_script("go tool pprof -tags cpu.prof"))

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_the_browser_shows_the_flame_graph(self):
        self.collect("option_b")
        for page in self.pages("go tool pprof -http=:8080 cpu.prof", "/ui/flamegraph", "/ui/top"):
            self.assertIn("loop_run", page)
        fetched = self.pages("go tool pprof -http=:8080 http://localhost:9099/debug/pprof/profile?seconds=30",
                             "/ui/flamegraph")
        self.assertIn("loop_run", fetched[0])

    @unittest.skipIf(shutil.which("go") is None or shutil.which("dot") is None, "needs Go and graphviz")
    def test_the_graph_is_drawn(self):
        self.collect("option_b", "high_cpu")
        self.run_script("go tool pprof -svg high-cpu.prof > flame.svg")
        self.run_script("go tool pprof -svg cpu.prof > cpu-graph.svg")
        for name in ("flame.svg", "cpu-graph.svg"):
            text = (self.lab.folder / name).read_text()
            self.assertIn("<svg", text)
            self.assertIn("uv_run", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
