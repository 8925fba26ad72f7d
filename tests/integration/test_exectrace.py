#!/usr/bin/env python3
"""Execution traces of a daemon that works, and collectors that ask for everything at once."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from harness import Case, closed_port
from profile_rules import check

KINDS = ("allocs", "block", "goroutine", "heap", "mutex", "threadcreate", "profile", "trace")
PATIENCE = 60  # seconds until something that should happen soon counts as broken

# Two scripts of a guide to profiling a service, as it has them.
CONTINUOUS = r"""#!/bin/bash
# collect-continuous.sh
INTERVAL=3600  # 1 hour
OUTDIR="./profiles/$(date +%Y%m%d)"
mkdir -p "$OUTDIR"

while true; do
  TIMESTAMP=$(date +%H%M%S)
  curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" \
    > "$OUTDIR/cpu-$TIMESTAMP.prof"
  curl -s "http://localhost:9099/debug/pprof/heap" \
    > "$OUTDIR/heap-$TIMESTAMP.prof"

  echo "Collected profiles at $TIMESTAMP"
  sleep "$INTERVAL"
done
"""
QUICK = r"""#!/bin/bash
# Quick collection script
TIMESTAMP=$(date +%Y%m%d-%H%M%S)
PREFIX="tsnsrv-$TIMESTAMP"

curl -s "http://localhost:9099/debug/pprof/profile?seconds=30" > "${PREFIX}-cpu.prof"
curl -s "http://localhost:9099/debug/pprof/heap" > "${PREFIX}-heap.prof"
curl -s "http://localhost:9099/debug/pprof/goroutine" > "${PREFIX}-goroutine.prof"
curl -s "http://localhost:9099/debug/pprof/allocs" > "${PREFIX}-allocs.prof"
curl -s "http://localhost:9099/debug/pprof/goroutine?debug=1" > "${PREFIX}-goroutines.txt"

echo "Profiles saved with prefix: $PREFIX"
"""


class Exectrace(Case):
    def busy(self, daemon):
        """Asked for pages until the test ends."""
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                daemon.http("/debug/traces?json")

        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)

    def traced_fetch(self, query):
        """What /debug/pprof/trace tells of a daemon that gets 20 MiB from another."""
        a, b = self.lab.daemon(), self.lab.daemon()
        source = self.lab.folder / "source"
        source.mkdir()
        for i in range(20):
            (source / f"{i}").write_bytes(os.urandom(1 << 20))
        iri, _ = a.publish(source)
        got = []
        capture = threading.Thread(target=lambda: got.append(b.http_bytes("/debug/pprof/trace?" + query)))
        capture.start()
        self.wait(lambda: self.recording(b))
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "copy")
        capture.join(PATIENCE)
        status, headers, body = got[0]
        self.assertEqual(status, 200, body[:200])
        return headers, body

    def recording(self, daemon):
        return "profiler.capture.sampling" in daemon.http("/debug/pprof/goroutine?debug=2")[2]

    def go(self, *args):
        run = subprocess.run(["go", "tool", *args], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stderr[-2000:])
        return run.stdout

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_go_s_reader_finds_operations_waits_and_tasks(self):
        headers, body = self.traced_fetch("seconds=8")
        self.assertEqual(headers["Content-Disposition"], 'attachment; filename="trace"')
        self.assertTrue(body.startswith(b"go 1.19 trace\0\0\0"))
        file = self.lab.folder / "trace"
        file.write_bytes(body)
        events = self.go("trace", "-d", str(file))
        for event in ("GoCreate", "GoStart", "GoEnd", "GoBlockNet", "GoSysBlock", "UserTaskCreate", "UserTaskEnd",
                      "UserRegion", "HeapAlloc", "ProcStop"):
            self.assertRegex(events, rf"(?m)^\d+ {event} ")
        self.assertRegex(events, r"UserTaskCreate .*name=sync\.discover")
        self.assertRegex(events, r"UserLog .*message=[0-9a-f]{32}\b")
        self.assertIn("records left out for want of room: 0", events)
        for kind, name in (("net", "sync.peer: fetch content"), ("syscall", "store."), ("sync", "sync.wave: running")):
            profile = self.lab.folder / kind
            with open(profile, "wb") as out:
                subprocess.run(["go", "tool", "trace", f"-pprof={kind}", str(file)], stdout=out, check=True, timeout=120,
                               stderr=subprocess.DEVNULL)
            self.assertIn(name, self.go("pprof", "-top", str(profile)))

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_go_s_pages_about_a_trace_open(self):
        file = self.lab.folder / "trace"
        file.write_bytes(self.traced_fetch("seconds=5")[1])
        port = closed_port()
        viewer = subprocess.Popen(["go", "tool", "trace", f"-http=127.0.0.1:{port}", str(file)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env={**os.environ, "BROWSER": "true"}, start_new_session=True)
        self.addCleanup(lambda: (os.killpg(viewer.pid, 9), viewer.wait()))
        self.wait(lambda: self.page(port, "/") is not None)
        for path, word in (("/goroutines", "sync.peer"), ("/usertasks", "sync.discover"), ("/userregions", "fetch content"),
                           ("/usertask?type=sync.discover", "Task"), ("/jsontrace", "traceEvents")):
            self.assertIn(word, self.page(port, path) or "", path)

    def page(self, port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as reply:
                return reply.read().decode()
        except (OSError, http.client.HTTPException):
            return None

    def test_perfetto_s_json_has_threads_slices_and_states(self):
        headers, body = self.traced_fetch("seconds=5&format=chrome")
        self.assertIn("trace.json", headers["Content-Disposition"])
        events = json.loads(body)["traceEvents"]
        threads = {e["args"]["name"] for e in events if e["ph"] == "M"}
        self.assertIn("loop", threads)
        self.assertIn("store", threads)
        self.assertTrue([e for e in events if e["ph"] == "B" and e["name"] == "sync.peer" and e["tid"] == 1])
        self.assertTrue([e for e in events if e["ph"] == "b" and e["name"] == "fetch content"])
        depth = 0
        for e in events:
            if e["tid"] == 1 and e["ph"] in "BE":
                depth += 1 if e["ph"] == "B" else -1
                self.assertGreaterEqual(depth, -1)  # that of the capture itself began before

    def test_one_trace_runs_at_a_time_and_a_client_that_leaves_frees_it(self):
        a = self.lab.daemon()
        host, port = a.debug_host().split(":")
        leaving = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        leaving.request("GET", "/debug/pprof/trace?seconds=600")
        self.wait(lambda: self.recording(a))
        status, headers, text = a.http("/debug/pprof/trace")
        self.assertEqual((status, text), (500, "Could not enable tracing: tracing is already enabled\n"))
        self.assertEqual(headers["X-Go-Pprof"], "1")
        leaving.close()
        self.wait(lambda: a.http_bytes("/debug/pprof/trace?seconds=0.001")[0] == 200)

    def test_seconds_are_read_as_go_reads_them(self):
        a = self.lab.daemon()
        for seconds in ("", "seconds=", "seconds=-1", "seconds=abc", "seconds=nan", "seconds=0.25"):
            self.assertEqual(a.http_bytes("/debug/pprof/trace?" + seconds)[0], 200, seconds)
        self.assertEqual(a.http("/debug/pprof/trace?seconds=1e9")[0], 400)
        self.assertEqual(a.http_bytes("/debug/pprof/trace?seconds=600", "HEAD")[0], 200)

    def test_eight_captures_of_five_seconds_are_all_there_in_seven(self):
        a = self.lab.daemon()
        self.busy(a)
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = dict(zip(KINDS, pool.map(lambda k: self.timed(a, f"/debug/pprof/{k}?seconds=5"), KINDS)))
        for kind, (status, body, end) in replies.items():
            self.assertEqual(status, 200, (kind, body[:200]))
            print(f"{kind} after {end - start:.2f} s")
            # Seven on a machine of one's own; that speed is no test's affair.
            self.assertLess(end - start, 7 + PATIENCE, kind)
            if kind == "trace":
                self.assertTrue(body.startswith(b"go 1.19 trace"))
            else:
                check(body)
        for path in ("/debug/version", "/debug/buildinfo?format=json", "/debug/metrics", "/debug/vars", "/debug/pprof/cmdline"):
            self.assertEqual(a.http(path)[0], 200, path)

    def timed(self, daemon, path):
        status, _, body = daemon.http_bytes(path)
        return status, body, time.monotonic()

    @unittest.skipIf(shutil.which("curl") is None, "needs curl")
    def test_the_guide_s_collecting_scripts_run_as_they_are(self):
        a = self.lab.daemon()
        self.busy(a)
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.lab.folder))
        port = a.debug_host().split(":")[1]

        def mine(script):
            return script.replace("9099", port).replace("seconds=30", "seconds=1").replace("INTERVAL=3600", "INTERVAL=1")

        quick = subprocess.run(["bash", "-c", mine(QUICK)], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        prefix = re.search(r"prefix: (\S+)", quick.stdout).group(1)
        for name in ("cpu", "heap", "goroutine", "allocs"):
            check((folder / f"{prefix}-{name}.prof").read_bytes())
        self.assertIn("goroutine profile: total ", (folder / f"{prefix}-goroutines.txt").read_text())
        with subprocess.Popen(["bash", "-c", mine(CONTINUOUS)], cwd=folder, stdout=subprocess.PIPE, text=True,
                              start_new_session=True) as script:
            collected = [script.stdout.readline() for _ in range(2)]
            os.killpg(script.pid, 9)
        for line in collected:
            time_of = re.search(r"Collected profiles at (\d{6})", line).group(1)
            for name in ("cpu", "heap"):
                check(next((folder / "profiles").glob(f"*/{name}-{time_of}.prof")).read_bytes())


if __name__ == "__main__":
    unittest.main(verbosity=2)
