#!/usr/bin/env python3
"""Profiles of a running daemon, with the paths and the formats that Go's tools know."""
import os
import shutil
import subprocess
import threading
import time
import unittest

from harness import Case
from profile_rules import check


PATIENCE = 20  # seconds: no test depends on speed, but one that waits for ever is broken


class Pprof(Case):
    def busy(self, daemon):
        """Keeps it busy until the test ends."""
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                daemon.http("/debug/traces?json&n=100")

        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)

    def test_a_cpu_profile_of_a_busy_daemon_has_samples_with_names(self):
        a = self.lab.daemon()
        self.busy(a)
        status, headers, body = a.http_bytes("/debug/pprof/profile?seconds=1")
        self.assertEqual(status, 200, body[:200])
        self.assertNotIn("Content-Encoding", headers)
        profile = check(body)
        self.assertEqual(profile.types, [("samples", "count"), ("cpu", "nanoseconds")])
        self.assertTrue(profile.samples)
        self.assertIn("loop_run", profile.strings)

    def test_samples_carry_the_operation_and_its_trace_category(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        source = self.lab.folder / "source"
        source.mkdir()
        for i in range(40):
            (source / f"{i}").write_bytes(os.urandom(1 << 20))
        iri, _ = a.publish(source)
        packed = []
        capture = threading.Thread(
            target=lambda: packed.append(b.http_bytes("/debug/pprof/profile?seconds=4&hz=500")[2]))
        capture.start()
        self.wait(lambda: "1 CPU captures" in b.http("/debug/pprof/")[2])
        b.cli("get", f"{iri}?peer={a.address()}" if "?" not in iri else iri, "-o", self.lab.folder / "copy")
        capture.join(60)
        profile = check(packed[0])
        cpu = profile.total(1)
        self.assertGreater(profile.total(1, category="sync.peer"), cpu / 10)
        self.assertGreater(profile.total(1, category="sync.peer", thread="store"), 0)
        self.assertEqual(set(profile.period_type), {"cpu", "nanoseconds"})
        if shutil.which("go"):
            file = self.lab.folder / "cpu.pb.gz"
            file.write_bytes(packed[0])
            whole = self.go("-top", file)
            part = self.go("-top", "-tagfocus=category=sync.peer", file)
            self.assertIn("sync.peer", self.go("-tags", file))
            self.assertNotEqual(whole, part)
            self.assertIn("Showing nodes accounting for", part)

    def test_the_profile_of_a_long_capture_is_there_soon_after_its_end(self):
        a = self.lab.daemon()
        self.busy(a)
        start = time.monotonic()
        check(a.http_bytes("/debug/pprof/profile?seconds=3")[2])
        self.assertLess(time.monotonic() - start, 3 + PATIENCE)

    def test_goroutines_are_threads_and_operations_in_go_s_texts(self):
        a = self.lab.daemon()
        for debug, start in ((1, "goroutine profile: total "), (2, "goroutine ")):
            status, headers, text = a.http(f"/debug/pprof/goroutine?debug={debug}")
            self.assertEqual(status, 200, text)
            self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
            self.assertTrue(text.startswith(start), text[:200])
            self.assertIn("loop_run", text)
        profile = check(a.http_bytes("/debug/pprof/goroutine")[2])
        self.assertEqual(profile.types, [("goroutine", "count")])

    def test_profiles_come_through_the_control_socket_too(self):
        a = self.lab.daemon()
        if shutil.which("curl") is None:
            self.skipTest("needs curl")
        run = subprocess.run(["curl", "-sS", "--unix-socket", a.data / "control.sock",
                              "http://localhost/debug/pprof/goroutine"], capture_output=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(check(run.stdout).samples)

    def test_a_client_that_leaves_does_not_hold_up_the_end_of_the_daemon(self):
        a = self.lab.daemon()
        waiting = threading.Thread(target=lambda: self.ignore(a, "/debug/pprof/profile?seconds=600"))
        waiting.start()
        self.wait(lambda: "1 CPU captures" in a.http("/debug/pprof/")[2])
        a.stop()
        waiting.join(30)
        self.assertFalse(waiting.is_alive())

    def ignore(self, daemon, path):
        try:
            daemon.http_bytes(path)
        except OSError:
            pass
        except Exception as e:  # the connection broke off: http.client has several names for it
            self.assertIn("http.client", type(e).__module__)

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_go_tool_pprof_reads_a_cpu_profile(self):
        a = self.lab.daemon()
        self.busy(a)
        file = self.lab.folder / "cpu.pb.gz"
        file.write_bytes(a.http_bytes("/debug/pprof/profile?seconds=1")[2])
        top = self.go("-top", "-cum", file)
        self.assertIn("loop_run", top)
        self.assertIn("Type: cpu", top)

    def go(self, *args):
        environment = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder),
                       "DEBUGINFOD_URLS": ""}
        run = subprocess.run(["go", "tool", "pprof", *args], capture_output=True, text=True, timeout=120,
                             env=environment)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout


if __name__ == "__main__":
    unittest.main(verbosity=2)
