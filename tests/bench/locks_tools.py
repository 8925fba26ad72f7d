#!/usr/bin/env python3
"""Mutex and block profiles of threads that wait on purpose, as the Go toolchain and google-pprof read them.

locks_tools.py SERVER: starts the server (locks_server.c). Exits 77, which meson counts as skipped, where Go is not
installed, or where the program has no lock functions of its own (sanitizers).
"""
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

SECONDS = 2


class Server:
    base = None
    program = None


def get(path, method="GET"):
    """(status, text)."""
    try:
        with urllib.request.urlopen(urllib.request.Request(Server.base + path, method=method), timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class ToolsRead(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.env = dict(os.environ, HOME=cls.folder, PPROF_TMPDIR=cls.folder)
        time.sleep(SECONDS)
        for name in ("mutex", "block"):
            for suffix, query in ((".pb.gz", ""), (".txt", "?debug=1"), (".delta", "?seconds=1")):
                cls.save(name + suffix, get(f"/debug/pprof/{name}{query}")[1])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def save(cls, name, content):
        with open(os.path.join(cls.folder, name), "wb") as out:
            out.write(content)

    def pprof(self, *args):
        done = subprocess.run(["go", "tool", "pprof", *args], env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def rows(self, text):
        """[(function, flat ms)], in order."""
        scale = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1000, "mins": 60000, "": 0}
        found = re.findall(r"^\s*([\d.]+)([a-zµ]*)\s+[\d.]+%\s+[\d.]+%\s+\S+\s+[\d.]+%\s+(\S+)", text, re.M)
        return [(name, float(value) * scale[unit]) for value, unit, name in found]

    def test_the_lock_hog_is_the_first_row_of_mutex(self):
        for file in ("mutex.pb.gz", "mutex.txt", "mutex.delta"):
            self.assertEqual(self.rows(self.pprof("-top", file))[0][0], "lock_hog", file)

    def test_it_is_charged_what_its_waiters_waited(self):
        held = dict(self.rows(self.pprof("-top", "mutex.delta")))["lock_hog"]
        waited = self.rows(self.pprof("-top", "-cum", "-focus=wait_turn", "block.delta"))
        share = held / dict(waited)["pthread_mutex_lock"]
        self.assertGreater(share, 0.3)  # the rest is waking up, which takes long on a busy machine
        self.assertLess(share, 1.1)

    def test_waiters_are_in_block_under_what_they_waited_for(self):
        text = self.pprof("-traces", "block.pb.gz")
        self.assertRegex(text, r"pthread_mutex_lock\n\s+wait_turn\n\s+run_waiter")
        self.assertRegex(text, r"pthread_cond_wait\n\s+await_news\n\s+run_reader")
        tags = self.pprof("-tags", "block.pb.gz")
        for word in ("semacquire", "sync.Cond.Wait", "loop_stall", "asking", "demo.block"):
            self.assertIn(word, tags)

    def test_what_blocks_the_loop_is_in_block_with_its_stack(self):
        text = self.pprof("-peek=block_loop", "-tagfocus=state=loop_stall", "block.pb.gz")
        self.assertRegex(text, r"demo_tick\n\s*[\d.]+m?s.*\| +block_loop|block_loop")
        stalled = self.pprof("-top", "-tagfocus=state=loop_stall", "block.pb.gz")
        self.assertIn("block_loop", stalled)
        self.assertNotIn("wait_turn", stalled)

    def test_idle_workers_are_not_in_block(self):
        self.assertNotIn("uv_cond_wait", self.pprof("-traces", "block.pb.gz"))

    def test_the_texts_are_gos(self):
        with open(os.path.join(self.folder, "mutex.txt"), encoding="utf-8") as file:
            text = file.read()
        self.assertRegex(text, r"\A--- mutex:\ncycles/second=1000000000\nsampling period=10\n"
                               r"\d+ \d+ @( 0x[0-9a-f]+)+\n#\t0x[0-9a-f]+\tlock_hog\+0x[0-9a-f]+\t+/\S+locks_server\.c:\d+\n")
        self.assertIn("\n--- Memory map: ---\n", text)
        with open(os.path.join(self.folder, "block.txt"), encoding="utf-8") as file:
            self.assertRegex(file.read(), r"\A--- contention:\ncycles/second=1000000000\n\d+ \d+ @( 0x[0-9a-f]+)+\n#\t0x")
        self.assertIn("await_news", self.pprof("-top", "-cum", "block.txt"))

    def test_a_post_sets_the_rate_and_a_get_does_not(self):
        self.assertEqual(get("/debug/pprof/mutex?rate=1", "POST"), (200, b"mutex profile fraction set to 1 (was 10)\n"))
        self.assertIn(b"sampling period=1\n", get("/debug/pprof/mutex?debug=1&rate=5")[1])
        self.assertIn(b"sampling period=1\n", get("/debug/pprof/mutex?debug=1")[1])
        self.assertEqual(get("/debug/pprof/mutex?rate=-1", "POST")[0], 400)
        self.assertEqual(get("/debug/pprof/mutex?rate=10", "POST")[0], 200)
        self.assertEqual(get("/debug/pprof/block?rate=20000", "POST"), (200, b"block profile rate set to 20000 (was 10000)\n"))
        self.assertEqual(get("/debug/pprof/block?rate=10000", "POST")[0], 200)

    def test_kubos_paths_set_the_rates_too(self):
        for path, name, default in (("mutex", "fraction", 10), ("block", "rate", 10000)):
            self.assertEqual(get(f"/debug/pprof-{path}/?{name}=7"), (405, b"only POST allowed\n"))
            self.assertEqual(get(f"/debug/pprof-{path}/", "POST"), (400, f"parameter '{name}' must be set\n".encode()))
            self.assertEqual(get(f"/debug/pprof-{path}/?{name}=x", "POST")[0], 400)
            self.assertEqual(get(f"/debug/pprof-{path}/?{name}={default}", "POST"), (200, b""))

    @unittest.skipUnless(shutil.which("google-pprof"), "google-pprof is not installed")
    def test_google_pprof_reads_contention(self):
        done = subprocess.run(["google-pprof", "--text", Server.program, Server.base + "/pprof/contention"], env=self.env,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("wait_turn", done.stdout)

    @unittest.skipUnless(os.environ.get("PROFCHECK"), "PROFCHECK is not set")
    def test_profcheck(self):
        for args in (["-want", "mutex", "-symbolized", "mutex.pb.gz"], ["-want", "block", "-symbolized", "block.pb.gz"],
                     ["-want", "mutex", "-delta", "mutex.delta"], ["-want", "block", "-delta", "block.delta"],
                     ["-legacy", "-want", "mutex", "mutex.txt"], ["-legacy", "-want", "block", "block.txt"]):
            done = subprocess.run([os.environ["PROFCHECK"], *args], capture_output=True, text=True, cwd=self.folder)
            self.assertEqual(done.returncode, 0, (args, done.stderr))


def main():
    if shutil.which("go") is None:
        return 77
    Server.program = os.path.abspath(sys.argv[1])
    process = subprocess.Popen([Server.program, "600"], stdout=subprocess.PIPE, text=True)
    try:
        Server.base = f"http://{process.stdout.readline().strip()}"
        if b"locks and conditions are not watched" in get("/debug/pprof/mutex?debug=1")[1]:
            return 77
        result = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False, verbosity=1).result
        return 0 if result.wasSuccessful() else 1
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
