#!/usr/bin/env python3
"""Where a running daemon's memory comes from, and profiles of everything at once."""
import os
import re
import shutil
import subprocess
import threading
import time
import unittest

from harness import Case
from profile_rules import check

SAMPLE_TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"),
                ("inuse_space", "bytes")]
SECONDS = 5
ALL_WITHIN = 7  # seconds, of requests that take SECONDS
SLACK = 20      # for a machine under load: later than ALL_WITHIN is said, later than this fails


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

    @unittest.skipIf(shutil.which("go") is None or shutil.which("curl") is None, "needs Go and curl")
    def test_the_guides_commands_work_as_they_are_written(self):
        """The commands of a guide for Go services, but for the port."""
        a = self.working()
        base = "http://" + a.debug_host()
        self.shell(f'curl -s "{base}/debug/pprof/heap" > heap.prof')
        self.shell(f'curl -s "{base}/debug/pprof/allocs" > allocs.prof')
        self.shell(f'curl {base}/debug/pprof/heap > ipfs.heap')
        self.assertIn("Type: inuse_space", self.shell("go tool pprof -top heap.prof"))
        self.assertIn("Type: alloc_space", self.shell("go tool pprof -alloc_space -top heap.prof"))
        self.assertIn("Type: alloc_space", self.shell("go tool pprof -top allocs.prof"))
        self.assertIn("trace_new", self.shell("go tool pprof -inuse_space -top -cum heap.prof"))
        self.assertIn("trace_new", self.shell("go tool pprof -list=trace_new heap.prof"))
        self.shell("go tool pprof -top -base heap.prof ipfs.heap")

    def shell(self, command):
        environment = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder),
                       "DEBUGINFOD_URLS": ""}
        run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, cwd=self.lab.folder,
                             env=environment)
        self.assertEqual(run.returncode, 0, f"{command}: {run.stderr}")
        return run.stdout


if __name__ == "__main__":
    unittest.main(verbosity=2)
