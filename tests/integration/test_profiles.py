#!/usr/bin/env python3
"""What profiles must not get wrong: places in the source, threads left out, names, numbers, a daemon that ends of them."""
import ctypes
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import unittest
import urllib.request

from harness import LOCAL, PROGRAM, Case, Daemon, closed_port
from profile_rules import check

MB = 1 << 20
BELONGS_TO_CALLERS = {"mem_alloc", "mem_alloc_array", "mem_realloc", "mem_dup", "mem_strdup", "mem_strndup", "mem_printf",
                      "arena_alloc", "arena_dup", "arena_strndup", "arena_printf", "add_chunk"}


def frames(profile, sample):
    """Names, innermost first."""
    return [name for location in sample.locations for name in profile.names_at(location)]


def functions(profile):
    """(name, system name) of each."""
    return [(profile.strings[f.one(2)], profile.strings[f.one(3)]) for f in profile.functions.values()]


def confine(system_calls, program, *args):
    """Become the program, to which these system calls are refused with EPERM."""
    load, jump, answer = 0x20, 0x15, 0x06
    code = [(load, 0, 0, 0)]
    for number in system_calls:
        code += [(jump, 0, 1, number), (answer, 0, 0, 0x00050000 | 1)]
    code.append((answer, 0, 0, 0x7fff0000))
    program_bytes = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(program_bytes)
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, filter_, 0, 0) != 0:
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execv(program, [program, *args])


class Profiles(Case):
    def save(self, daemon, path):
        file = self.lab.folder / re.sub(r"\W", "-", path)
        status, _, body = daemon.http_bytes("/debug/pprof/" + path)
        self.assertEqual(status, 200, body[:300])
        file.write_bytes(body)
        return file

    def go(self, *args):
        environment = {**os.environ, "HOME": str(self.lab.folder), "PPROF_TMPDIR": str(self.lab.folder), "DEBUGINFOD_URLS": ""}
        run = subprocess.run(["go", "tool", "pprof", *args], capture_output=True, text=True, timeout=120, env=environment,
                             cwd=self.lab.folder)
        return run.returncode, run.stdout, run.stderr

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

    # ---- Places ----

    def test_the_program_s_addresses_are_those_of_its_file(self):
        a = self.lab.daemon()
        profile = check(a.http_bytes("/debug/pprof/heap")[2])
        program = profile.mappings[1]
        self.assertEqual(profile.strings[program.one(5)], str(PROGRAM.resolve()))
        segments = self.executable_segments(PROGRAM)
        self.assertIn((program.one(2), program.one(4)), segments)
        address = next(loc.one(3) for loc in profile.locations.values() if loc.one(2) == 1)
        answer = a.http(f"/debug/pprof/symbol?{address:#x}")[2]
        self.assertRegex(answer, rf"num_symbols: 1\n{address:#x} \S")

    @staticmethod
    def executable_segments(file):
        """(address, offset), by pages, as the program header has it."""
        data = file.read_bytes()
        start, = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        found = []
        for i in range(count):
            kind, flags, offset, address = struct.unpack_from("<IIQQ", data, start + i * size)
            if kind == 1 and flags & 1:
                found.append((address & ~4095, offset & ~4095))
        return found

    @unittest.skipIf(shutil.which("go") is None, "needs Go")
    def test_sources_and_instructions_are_shown_from_any_folder(self):
        a = self.lab.daemon()
        file = self.save(a, "heap")
        code, out, errors = self.go("-list=^trace_new$", "-sample_index=alloc_space", file)
        self.assertEqual(code, 0, errors)
        self.assertRegex(out, r"ROUTINE =+ trace_new in /\S+/trace/\w+\.c")
        self.assertIn("struct trace *trace_new(", out)
        self.assertNotIn("Error:", out)
        # The tool matches this one against "ADDRESS NAME FILE".
        code, out, errors = self.go("-disasm=trace_new", "-sample_index=alloc_space", file)
        self.assertEqual(code, 0, errors)
        self.assertRegex(out, r"ROUTINE =+ trace_new")
        self.assertRegex(out, r"\s[0-9a-f]+: (CALL|call) ")
        page = self.page(file, "/ui/source?f=^trace_new$&si=alloc_space")
        self.assertIn("struct trace *trace_new(", page)
        self.assertRegex(page, r"class=asm>\s.*[0-9a-f]{4,}:")

    def page(self, file, path):
        """What `go tool pprof -http` shows."""
        port = closed_port()
        log = open(self.lab.folder / "pprof.log", "w+")
        self.addCleanup(log.close)
        server = subprocess.Popen(["go", "tool", "pprof", "-no_browser", f"-http=127.0.0.1:{port}", file], cwd=self.lab.folder,
                                  stdout=log, stderr=log, env={**os.environ, "HOME": str(self.lab.folder), "DEBUGINFOD_URLS": ""},
                                  start_new_session=True)
        self.addCleanup(server.wait)
        self.addCleanup(lambda: os.killpg(server.pid, signal.SIGTERM))

        def answers():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        self.wait(answers, 60)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
            return reply.read().decode()

    def test_no_line_stands_without_its_file(self):
        a = self.lab.daemon()
        for path in ("goroutine?debug=2", "goroutine?debug=1", "heap?debug=1", "stalls"):
            self.assertNotRegex(a.http("/debug/pprof/" + path)[2], r"\?\?:[1-9]")

    # ---- Threads ----

    def test_threads_that_get_no_timer_are_sampled_all_the_same(self):
        a = self.lab.daemon()
        _, most = resource.prlimit(a.process.pid, resource.RLIMIT_SIGPENDING)
        resource.prlimit(a.process.pid, resource.RLIMIT_SIGPENDING, (0, most))
        self.busy(a)
        profile = check(a.http_bytes("/debug/pprof/profile?seconds=2&hz=500")[2])
        self.assertGreater(profile.total(0, thread="peerscope"), 0)
        told = [c for c in profile.comments if "no timer of their own" in c]
        self.assertRegex(told[0], r"sampled by the process's: .*peerscope \(\d+\)")
        self.assertIn("without a timer of their own", a.http("/debug/pprof/")[2])
        figures = json.loads(a.http("/debug/vars?json")[2])["profiler"]
        self.assertGreater(figures["untimed"], 0)
        self.assertTrue(figures["untimed_sampled"])
        self.assertIn("peerscope", figures["untimed_threads"])
        findings = json.loads(a.http("/debug/doctor?json")[2])["findings"]
        finding, = [f for f in findings if f["name"] == "timers"]
        self.assertIn("shared the process's", finding["sentence"])
        resource.prlimit(a.process.pid, resource.RLIMIT_SIGPENDING, (most, most))
        check(a.http_bytes("/debug/pprof/profile?seconds=1")[2])
        self.assertEqual(json.loads(a.http("/debug/vars?json")[2])["profiler"]["untimed"], 0)

    @unittest.skipUnless(os.uname().machine == "x86_64", "numbers of system calls")
    def test_a_profile_of_nothing_is_refused_with_the_reason(self):
        timer_create, setitimer = 222, 38
        data = self.lab.folder / "confined"
        a = Daemon(data)
        self.lab.daemons.append(a)
        a.log = open(f"{data}.log", "a+b")
        here = str(pathlib.Path(__file__).parent)
        code = (f"import sys; sys.path.insert(0, {here!r}); from test_profiles import confine; "
                f"confine([{timer_create}, {setitimer}], *sys.argv[1:])")
        a.process = subprocess.Popen([sys.executable, "-c", code, PROGRAM, "daemon", "--data", data, *LOCAL, "--debug-listen",
                                      "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=a.log, stderr=a.log)
        self.addCleanup(a.stop)
        a.wait_ready()
        status, headers, text = a.http("/debug/pprof/profile?seconds=1")
        self.assertEqual(status, 500, text)
        self.assertEqual(headers["X-Go-Pprof"], "1")
        self.assertIn("gives no timer (operation not permitted)", text)
        findings = json.loads(a.http("/debug/doctor?json")[2])["findings"]
        finding, = [f for f in findings if f["name"] == "timers"]
        self.assertEqual(finding["severity"], "warning")
        self.assertIn("were not sampled", finding["sentence"])

    def test_the_profiler_s_signals_from_outside_do_no_harm(self):
        a = self.lab.daemon()
        for number in (signal.SIGPROF, signal.SIGRTMIN + 5, signal.SIGPROF):
            os.kill(a.process.pid, number)
        self.assertEqual(a.http("/debug/pprof/goroutine?debug=1")[0], 200)
        a.stop()

    # ---- Memory ----

    def test_a_daemon_that_is_refused_memory_answers_or_refuses_and_lives(self):
        paths = ("heap", "goroutine?debug=2", "profile?seconds=1", "trace?seconds=0.2", "allocs?debug=1", "block", "mutex")
        for size in (200, 250, 300, 400, 600):
            a = self.lab.daemon(start=False)
            limit = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (size * MB, limit[1]))
            try:
                a.start()
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limit)
            for path in paths:
                status, _, body = a.http_bytes("/debug/pprof/" + path)
                self.assertIn(status, (200, 408, 500, 503), body[:300])
            a.stop()

    def test_names_that_cannot_be_looked_up_are_said_to_be_missing(self):
        a = self.lab.daemon()
        resource.prlimit(a.process.pid, resource.RLIMIT_AS, (1 * MB, resource.RLIM_INFINITY))
        profile = check(a.http_bytes("/debug/pprof/threadcreate")[2])
        resource.prlimit(a.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertTrue([c for c in profile.comments if c.startswith("names are missing: ")], profile.comments)
        self.assertTrue([name for name, _ in functions(profile) if name.startswith("peerscope!0x")])
        profile = check(a.http_bytes("/debug/pprof/threadcreate")[2])
        self.assertFalse([c for c in profile.comments if c.startswith("names are missing: ")])
        self.assertIn("daemon_run", profile.strings)

    def test_heap_texts_are_right_after_the_rate_was_changed(self):
        a = self.lab.daemon()
        a.http("/debug/pprof/heap", "POST", "rate=4096", {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(a.http("/debug/traces?json&n=100")[0], 200)
        whole = check(a.http_bytes("/debug/pprof/heap")[2]).total(3)
        for path, rate in (("/debug/pprof/heap?debug=1", 2), ("/pprof/heap", 1)):
            text = a.http(path)[2]
            head = re.match(r"heap profile: (\d+): (\d+) \[\d+: \d+\] @ heap(?:_v2)?/(\d+)\n", text)
            self.assertEqual(int(head.group(3)), rate, text[:100])
            self.assertGreater(int(head.group(2)), whole * 0.8)
            self.assertLess(int(head.group(2)), whole * 1.2)

    def test_memory_belongs_to_who_asked_for_it(self):
        a = self.lab.daemon()
        a.http("/debug/pprof/heap", "POST", "rate=512", {"Content-Type": "application/x-www-form-urlencoded"})
        self.busy(a)  # a thread goes on under the old rate until its next sample
        self.wait(lambda: len(check(a.http_bytes("/debug/pprof/allocs")[2]).samples) > 20)
        profile = check(a.http_bytes("/debug/pprof/allocs")[2])
        for sample in profile.samples:
            names = frames(profile, sample)
            self.assertTrue(names[0] not in BELONGS_TO_CALLERS or len(sample.locations) == 1, names)

    # ---- Names ----

    @unittest.skipIf(shutil.which("nm") is None, "needs nm")
    def test_functions_of_one_name_are_told_apart_by_their_files(self):
        a = self.lab.daemon()
        profile = check(a.http_bytes("/debug/pprof/goroutine")[2])
        lines = subprocess.run(["nm", PROGRAM], capture_output=True, text=True, check=True).stdout.splitlines()
        local = [line.split()[2] for line in lines if len(line.split()) == 3 and line.split()[1] == "t"]
        several = {name for name in local if local.count(name) > 1 and "." not in name}
        self.assertIn("on_timer", several)
        met = [(name, system) for name, system in functions(profile) if system in several]
        self.assertTrue(met)
        for name, system in met:
            self.assertRegex(name, rf"^\w+/\w+\.{system}$")

    # ---- Traces ----

    def test_a_chrome_trace_opens_as_speedscope_and_perfetto_read_it(self):
        a = self.lab.daemon()
        self.busy(a)
        trace = json.loads(a.http("/debug/pprof/trace?seconds=1&format=chrome")[2])["traceEvents"]
        open_slices, open_operations, last = {}, {}, {}
        slices = 0
        for e in trace:
            self.assertIn("ph", e)
            self.assertIn("ts", e)
            self.assertTrue(e.get("name"), e)
            if e["ph"] in "BE":
                key = e["pid"], e["tid"]
                self.assertGreater(e["ts"], last.get(key, -1))
                last[key] = e["ts"]
                stack = open_slices.setdefault(key, [])
                if e["ph"] == "B":
                    stack.append((e["name"], e["args"]))
                    slices += 1
                else:
                    self.assertEqual(stack.pop(), (e["name"], e["args"]))
            elif e["ph"] in "be":
                stack = open_operations.setdefault((e["cat"], e["id"]), [])
                if e["ph"] == "b":
                    stack.append(e["name"])
                else:
                    self.assertEqual(stack.pop(), e["name"])
        self.assertGreater(slices, 0)
        self.assertFalse([s for s in (*open_slices.values(), *open_operations.values()) if s], "not ended")

    # ---- HTTP ----

    def test_the_head_of_a_profile_tells_no_length_that_is_not_known(self):
        a = self.lab.daemon()
        for path in ("/debug/pprof/profile", "/debug/pprof/trace", "/debug/pprof/heap?seconds=1", "/pprof/profile",
                     "/debug/flame?profile=heap"):
            status, headers, body = a.http_bytes(path, "HEAD")
            self.assertEqual((status, body), (200, b""), path)
            self.assertNotIn("Content-Length", headers, path)

    def test_one_connection_too_many_gets_a_reason_that_go_s_tool_prints(self):
        a = self.lab.daemon()
        host, port = a.debug_host().split(":")
        waiting = []
        for _ in range(16):
            s = socket.create_connection((host, int(port)), 10)
            self.addCleanup(s.close)
            s.sendall(b"GET /debug/pprof/heap?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            waiting.append(s)
        control = ["curl", "-s", "--unix-socket", a.data / "control.sock", "http://localhost/debug/vars?json"]

        def taken():
            figures = json.loads(subprocess.run(control, capture_output=True, check=True).stdout)
            return figures["debug_http"]["requests"] >= 16
        if shutil.which("curl"):
            self.wait(taken)
        status, headers, text = a.http("/debug/pprof/heap")
        self.assertEqual(status, 503)
        self.assertEqual(headers["X-Go-Pprof"], "1")
        self.assertIn("All connections are in use", text)
        if shutil.which("go"):
            code, _, errors = self.go("-top", f"http://{host}:{port}/debug/pprof/heap")
            self.assertNotEqual(code, 0)
            self.assertIn("All connections are in use", errors)

    def test_the_start_says_where_profiles_and_figures_are(self):
        a = self.lab.daemon()
        self.wait(lambda: "debug listener on" in a.log_text())
        line, = [line for line in a.log_text().splitlines() if "debug listener on" in line]
        self.assertIn("pprof", line)
        self.assertIn("metrics", line)


if __name__ == "__main__":
    unittest.main(verbosity=2)
