#!/usr/bin/env python3
"""Where a running daemon's memory comes from, and profiles of everything at once."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import unittest

from harness import PROGRAM, Case
from profile_rules import check

SAMPLE_TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"),
                ("inuse_space", "bytes")]
SECONDS = 5
ALL_WITHIN = 7  # seconds, of requests that take SECONDS
SLACK = 20      # for a machine under load: later than ALL_WITHIN is said, later than this fails
ALLOCATORS = ("libjemalloc.so.2", "libtcmalloc_minimal.so.4")

# The commands that two guides to Go services have for memory, locks, waits and figures, as they are written.
COLLECT = r"""
curl localhost:5001/debug/pprof/heap > ipfs.heap
curl localhost:5001/debug/vars > ipfs.vars
curl -s "http://localhost:9099/debug/pprof/heap" > /tmp/heap.prof
curl -s "http://localhost:9099/debug/pprof/mutex" > /tmp/mutex.prof
curl -s "http://localhost:9099/debug/pprof/block" > /tmp/block.prof
curl -s "http://localhost:9099/debug/pprof/allocs" > /tmp/allocs.prof
curl -s "http://localhost:9099/debug/pprof/heap" > heap.prof
curl -s "http://localhost:9099/debug/pprof/allocs" > allocs.prof
curl -s "http://localhost:9099/debug/pprof/block" > block.prof
curl -X POST "http://localhost:9099/debug/pprof/mutex?rate=1"
curl -s "http://localhost:9099/debug/pprof/mutex" > mutex.prof
curl -s "http://localhost:9099/debug/pprof/heap?seconds=1&debug=0" > delta.prof
"""


class Heap(Case):
    def working(self):
        """A daemon that has published something, so that there is memory to tell of."""
        a = self.lab.daemon()
        source = self.lab.folder / "source"
        source.mkdir()
        for i in range(20):
            (source / f"{i}").write_bytes(os.urandom(1 << 20))
        a.publish(source)
        return a

    def test_heap_and_allocs_tell_who_asked_for_memory(self):
        a = self.working()
        for name in ("heap", "allocs"):
            status, headers, body = a.http_bytes(f"/debug/pprof/{name}?gc=1")
            self.assertEqual(status, 200, body[:200])
            self.assertIn(f'filename="{name}"', headers["Content-Disposition"])
            profile = check(body)
            self.assertEqual(profile.types, SAMPLE_TYPES)
            self.assertEqual(profile.period, 524288)
            self.assertIn("trace_new", profile.strings)  # 16 MiB at once: always a sample
            self.assertGreater(profile.total(1), 16 << 20)

    def test_a_difference_holds_what_came_in_between(self):
        a = self.working()
        for query, file in (("heap?seconds=1", "heap-delta"), ("allocs?seconds=1&delta=alloc", "allocs-delta")):
            status, headers, body = a.http_bytes(f"/debug/pprof/{query}")
            self.assertEqual(status, 200, body[:200])
            self.assertIn(f'filename="{file}"', headers["Content-Disposition"])
            profile = check(body)
            self.assertLess(profile.total(1), 16 << 20)
            in_use = profile.total(3)
            if "delta=alloc" in query:
                self.assertGreaterEqual(in_use, 16 << 20)
            else:
                self.assertLess(in_use, 16 << 20)

    def test_the_text_is_go_s(self):
        a = self.working()
        text = a.http("/debug/pprof/heap?debug=1")[2]
        self.assertRegex(text, r"\Aheap profile: \d+: \d+ \[\d+: \d+\] @ heap/1048576\n")
        self.assertRegex(text, r"\n\d+: \d+ \[\d+: \d+\] @( 0x[0-9a-f]+)+\n#\t0x[0-9a-f]+\t\w+\+0x")
        self.assertRegex(text, r"\n# MaxRSS = \d+\n--- Memory map: ---\n")

    def test_profiles_of_all_kinds_at_once_are_there_in_time(self):
        a = self.working()
        names = ["allocs", "block", "goroutine", "heap", "mutex", "threadcreate", "profile"]
        if re.search(r">trace</a>", a.http("/debug/pprof/")[2]):
            names.append("trace")
        took, answers = {}, {}

        def ask(name):
            start = time.monotonic()
            answers[name] = a.http_bytes(f"/debug/pprof/{name}?seconds={SECONDS}")
            took[name] = time.monotonic() - start

        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in names:
            status, _, body = answers[name]
            self.assertEqual(status, 200, (name, body[:200]))
            self.assertGreaterEqual(took[name], SECONDS - 0.1, name)
            self.assertLess(took[name], SLACK, name)
            if name != "trace":
                check(body)
        if max(took.values()) > ALL_WITHIN:
            print(f"# the slowest took {max(took.values()):.1f} s, not {ALL_WITHIN}")

    @unittest.skipIf(shutil.which("curl") is None, "needs curl")
    def test_the_guides_commands_collect_what_their_readers_expect(self):
        a = self.working()
        self.shell(COLLECT, a)
        for name in ("heap.prof", "allocs.prof", "tmp-heap.prof", "tmp-allocs.prof", "ipfs.heap"):
            profile = check((self.lab.folder / name).read_bytes())
            self.assertEqual(profile.types, SAMPLE_TYPES)
            self.assertIn("trace_new", profile.strings, name)
        for name in ("mutex.prof", "block.prof", "tmp-mutex.prof", "tmp-block.prof"):
            profile = check((self.lab.folder / name).read_bytes())
            self.assertEqual(profile.types, [("contentions", "count"), ("delay", "nanoseconds")])
        self.assertIn("sampling period=1\n", a.http("/debug/pprof/mutex?debug=1")[2])  # as the guide asked
        variables = json.loads((self.lab.folder / "ipfs.vars").read_text())
        self.assertIn("daemon", variables["cmdline"])
        self.assertGreater(variables["memstats"]["HeapAlloc"], 16 << 20)

    @unittest.skipIf(shutil.which("go") is None or shutil.which("curl") is None, "needs Go and curl")
    def test_the_guides_commands_analyse_what_was_collected(self):
        a = self.working()
        self.shell(COLLECT, a)
        self.assertIn("Type: inuse_space", self.shell("go tool pprof -top heap.prof"))
        self.assertIn("Type: alloc_space", self.shell("go tool pprof -alloc_space -top heap.prof"))
        self.assertIn("Type: alloc_space", self.shell("go tool pprof -top allocs.prof"))
        self.assertIn("Type: delay", self.shell("go tool pprof -top mutex.prof"))
        self.assertRegex(self.shell("go tool pprof -top block.prof"), r"(?m)^ +\S+ .* put_tick$")
        self.assertIn("trace_new", self.shell("go tool pprof -inuse_space -top -cum heap.prof"))
        self.assertIn("trace_new", self.shell("go tool pprof -list='trace_new' heap.prof"))
        self.assertIn("trace_new", self.shell(f"go tool pprof {PROGRAM} ipfs.heap", text="top\nquit\n"))
        self.shell("go tool pprof -base=heap.prof -top ipfs.heap")

    @unittest.skipIf(shutil.which("google-pprof") is None, "needs google-perftools")
    def test_google_pprof_reads_our_answers_to_gperftools_paths(self):
        """It asks for symbols too; its own numbers of the heap are samples made whole."""
        a = self.working()
        said = self.shell(f"google-pprof --text --cum http://{a.debug_host()}/pprof/heap")
        self.assertRegex(said, r"(?m)^Total: \d+\.\d MB$")
        self.assertGreaterEqual(float(re.search(r"(?m)^.* (\S+) +\S+% trace_new$", said).group(1)), 16)
        said = self.shell(f"google-pprof --text http://{a.debug_host()}/pprof/contention")
        self.assertRegex(said, r"(?m)^Total: \d+\.\d+ seconds\n.*% put_tick$")
        stop = threading.Event()
        load = threading.Thread(target=lambda: [a.http("/debug/traces?json") for _ in iter(stop.is_set, True)])
        load.start()
        try:
            said = self.shell(f"google-pprof --seconds=1 --text --cum http://{a.debug_host()}/pprof/profile")
        finally:
            stop.set()
            load.join()
        self.assertRegex(said, r"(?m)^Total: [1-9]\d* samples$")
        self.assertRegex(said, r"(?m)% loop_run$")

    def test_a_preloaded_allocator_does_no_harm(self):
        """tcmalloc serves and is sampled; jemalloc is loaded and out of work."""
        found = [lib for lib in ALLOCATORS if subprocess.run(["true"], env={"LD_PRELOAD": lib}, stderr=subprocess.PIPE,
                                                             check=True).stderr == b""]
        if not found:
            self.skipTest("needs " + " or ".join(ALLOCATORS))
        if "sampling unavailable" in self.lab.daemon().http("/debug/pprof/heap?debug=1")[2]:
            self.skipTest("built with a sanitizer")
        for lib in found:
            os.environ["LD_PRELOAD"] = lib
            try:
                a = self.lab.daemon()
            finally:
                del os.environ["LD_PRELOAD"]
            source = self.lab.folder / lib
            source.write_bytes(os.urandom(1 << 20))
            a.publish(source)
            self.assertIn("trace_new", check(a.http_bytes("/debug/pprof/heap?gc=1")[2]).strings, lib)
            a.stop()

    def shell(self, command, daemon=None, text=""):
        environment = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder),
                       "DEBUGINFOD_URLS": ""}
        if daemon is not None:
            command = re.sub(r"localhost:\d+", daemon.debug_host(), command)
            command = command.replace("/tmp/", f"{self.lab.folder}/tmp-")
        run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, cwd=self.lab.folder,
                             env=environment, input=text)
        self.assertEqual(run.returncode, 0, f"{command}: {run.stderr}")
        return run.stdout


if __name__ == "__main__":
    unittest.main(verbosity=2)
