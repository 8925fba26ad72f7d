#!/usr/bin/env python3
"""Profiles of a running daemon, with the paths and the formats that Go's tools know."""
import gzip
import os
import shutil
import subprocess
import threading
import unittest

from harness import Case


def fields(data):
    """(number, value) of a protobuf message; of nested messages the bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size = varint()
            assert at + size <= len(data)
            yield key >> 3, data[at:at + size]
            at += size


class Profile:
    """What profile.proto says, as far as it is of interest here."""
    SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, STRING = 1, 2, 3, 4, 5, 6

    def __init__(self, packed):
        everything = list(fields(gzip.decompress(packed)))
        self.strings = [v.decode() for n, v in everything if n == self.STRING]
        self.samples = [v for n, v in everything if n == self.SAMPLE]
        types = [dict(fields(v)) for n, v in everything if n == self.SAMPLE_TYPE]
        self.types = [(self.strings[t[1]], self.strings[t[2]]) for t in types]
        functions = [dict(fields(v)) for n, v in everything if n == self.FUNCTION]
        self.functions = {self.strings[f[2]] for f in functions if f.get(2)}


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
        profile = Profile(body)
        self.assertEqual(profile.types, [("samples", "count"), ("cpu", "nanoseconds")])
        self.assertEqual(profile.strings[0], "")
        self.assertTrue(profile.samples)
        self.assertIn("loop_run", profile.functions)

    def test_goroutines_are_threads_and_operations_in_go_s_texts(self):
        a = self.lab.daemon()
        for debug, start in ((1, "goroutine profile: total "), (2, "goroutine ")):
            status, headers, text = a.http(f"/debug/pprof/goroutine?debug={debug}")
            self.assertEqual(status, 200, text)
            self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
            self.assertTrue(text.startswith(start), text[:200])
            self.assertIn("loop_run", text)
        profile = Profile(a.http_bytes("/debug/pprof/goroutine")[2])
        self.assertEqual(profile.types, [("goroutine", "count")])

    def test_profiles_come_through_the_control_socket_too(self):
        a = self.lab.daemon()
        if shutil.which("curl") is None:
            self.skipTest("needs curl")
        run = subprocess.run(["curl", "-sS", "--unix-socket", a.data / "control.sock",
                              "http://localhost/debug/pprof/goroutine"], capture_output=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(Profile(run.stdout).samples)

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
        environment = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder),
                       "DEBUGINFOD_URLS": ""}
        run = subprocess.run(["go", "tool", "pprof", "-top", "-cum", file], capture_output=True, text=True, timeout=120,
                             env=environment)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("loop_run", run.stdout)
        self.assertIn("Type: cpu", run.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
