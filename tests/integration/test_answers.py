#!/usr/bin/env python3
"""What the command line says is true: success only when the answer arrived, a reason for every failure, an end to every wait."""
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

import doubles
from doubles import Double
from harness import DISK_FULL, FAILED, NO_PEER, NOT_FOUND, OK, PARTIAL, PROGRAM, UNREACHABLE, Case

SPACE = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
IRI = f"hm://{SPACE}/x"
PEER = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
TRACE = "0123456789abcdef0123456789abcdef"

# Every verb that asks the daemon.
ASKING = [
    ("status",), ("peers",), ("peers", "add", f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}"), ("peers", "rm", PEER), ("objects",),
    ("objects", IRI), ("log", IRI), ("log", "level"), ("log", "level", "store", "debug"), ("log", "tail"), ("subscriptions",),
    ("subscribe", IRI), ("unsubscribe", IRI), ("discover", IRI), ("get", IRI, "-o", f"/tmp/peerscope-answers-{os.getpid()}"), ("publish", __file__),
    ("publish", "--delete", "--as", "/x"), ("trace", "list"), ("trace", "show", TRACE), ("trace", "show", "0123"), ("trace", "tail"),
    ("trace", "export"), ("trace", "export", TRACE, "--format", "otlp-protobuf"), ("trace", "diff", TRACE, TRACE),
    ("trace", "pin", TRACE), ("diag", "vars"), ("diag", "traces"), ("diag", "log"), ("diag", "heap", "-o", "-"),
    ("diag", "cpu", "--seconds", "1", "-o", "-"), ("diag", "stacks"),
]
# Those that need none.
ALONE = [
    ("version",), ("help",), ("help", "get"), ("version", "--json"), ("completion", "bash"), ("man",), ("paths",), ("paths", "--json"),
    ("config", "show"), ("diag", "sys"), ("diag", "bundle", "--list"), ("daemon", "--check-config"), ("get", "--help"),
]


def run(data, verb, stdout=subprocess.PIPE, env=None, prefix=()):
    command = [*prefix, str(PROGRAM), verb[0], "--data", str(data), *verb[1:]]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace",
                          timeout=120, env={**os.environ, **(env or {})})


class Answers(Case):
    def check_reason(self, verb, code, stderr):
        """Not only that it failed."""
        lines = [line for line in stderr.splitlines() if line.startswith("peerscope: ")]
        self.assertTrue(lines, f"{verb} ended with {code} and said nothing: {stderr!r}")
        for line in lines:
            self.assertRegex(line, r"^peerscope: (?=.*[A-Za-z]{3}).{8,}$", verb)
            self.assertNotRegex(line, r"(: |\(\)|:)$", verb)

    # ---- Output ----

    def all_verbs(self, daemon, iri):
        trace = daemon.json("discover", iri)["trace_id"]
        swap = {IRI: iri, TRACE: trace, "0123": trace[:8]}
        # Not those that print nothing, go on for ever, or need a peer.
        silent = {"tail", "rm", "add", "pin", "level", "subscribe", "unsubscribe", "get"}
        asking = [tuple(swap.get(word, word) for word in verb) for verb in ASKING if not silent & set(verb[:2])]
        more = [("log", "level"), ("status", "--json"), ("peers", "--json"), ("objects", "--json"), ("log", iri, "--json"),
                ("discover", iri, "--json"), ("discover", iri, "--trace"), ("trace", "list", "--json"), ("wait", "--json"),
                ("get", iri, "-o", str(self.lab.folder / "out")), ("diag", "bundle", "--seconds", "0", "--no-binary", "-o", "-"),
                ("diag", "doctor"), ("subscriptions", "--json")]
        return asking + more + ALONE

    def prepared(self):
        daemon = self.lab.daemon()
        iri, _ = daemon.publish(__file__)
        daemon.publish(__file__, "--as", "/x")
        daemon.cli("subscribe", iri)
        daemon.cli("peers", "add", f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}", expect=NO_PEER)
        return daemon, self.all_verbs(daemon, iri)

    def test_an_answer_that_does_not_arrive_is_no_success(self):
        daemon, verbs = self.prepared()
        for verb in verbs:
            with self.subTest(verb=verb), open("/dev/full", "w") as full:
                got = run(daemon.data, verb, stdout=full)
                self.assertIn(got.returncode, (DISK_FULL, FAILED), got.stderr)
                self.assertIn("no space left", got.stderr.lower())
            (self.lab.folder / "out").unlink(missing_ok=True)

    def test_a_closed_output_is_no_success_and_nothing_else_is_written_to(self):
        daemon, verbs = self.prepared()
        for verb in verbs:
            with self.subTest(verb=verb):
                got = run(daemon.data, verb, prefix=("sh", "-c", 'exec "$@" >&-', "sh"))
                self.assertEqual(got.stdout, "")
                self.assertIn(got.returncode, (FAILED, DISK_FULL), got.stderr)
                self.check_reason(verb, got.returncode, got.stderr)
            (self.lab.folder / "out").unlink(missing_ok=True)

    def test_a_reader_that_leaves_is_noticed(self):
        daemon = self.lab.daemon()
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            got = run(daemon.data, ("status",), stdout=pipe)
        self.assertEqual(got.returncode, FAILED)
        self.assertIn("broken pipe", got.stderr.lower())

    # ---- Daemons that hang ----

    def start_all(self, data, verbs):
        return [(verb, subprocess.Popen([PROGRAM, verb[0], "--data", data, *verb[1:]], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) for verb in verbs]

    def end_of_all(self, data, verbs):
        """All at once: each waits its five seconds."""
        started = time.monotonic()
        for verb, process in self.start_all(data, verbs):
            _, stderr = process.communicate(timeout=60)
            with self.subTest(verb=verb):
                self.assertEqual(process.returncode, UNREACHABLE, stderr)
                self.assertIn("peerscope diag doctor", stderr)
        return time.monotonic() - started

    def test_every_verb_gives_up_on_a_daemon_that_takes_requests_and_is_silent(self):
        double = Double(self.lab.folder / "double")
        self.addCleanup(double.close)
        self.assertGreater(self.end_of_all(double.data, ASKING), 4.9)

    def test_every_verb_gives_up_on_a_stopped_daemon(self):
        daemon = self.lab.daemon()
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            self.end_of_all(daemon.data, [verb for verb in ASKING if verb != ("diag", "stacks")])
            got = run(daemon.data, ("wait", "--ready", "1s"))
            self.assertNotEqual(got.returncode, OK)
        finally:
            daemon.process.send_signal(signal.SIGCONT)

    def silent_peer(self):
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        return f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{PEER}"

    def test_an_answer_line_by_line_has_a_line_every_two_seconds(self):
        daemon = self.lab.daemon()
        link = socket.socket(socket.AF_UNIX)
        self.addCleanup(link.close)
        link.connect(str(daemon.data / "control.sock"))
        body = json.dumps({"iri": f"{IRI}?peer={self.silent_peer()}"}).encode()
        link.sendall(b"POST /v1/discover HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        link.settimeout(4)  # 1.5 s, on a machine that is busy
        answer, started = b"", time.monotonic()
        while b'"result"' not in answer:
            answer += link.recv(65536)
        self.assertGreater(time.monotonic() - started, 4.1, "the peer was not silent long enough to show anything")

    def test_an_answer_that_stops_half_way_is_not_waited_for(self):
        daemon = self.lab.daemon()
        asked = f"{IRI}?peer={self.silent_peer()}"
        out = str(self.lab.folder / "out")
        tails = self.start_all(daemon.data, [("log", "tail"), ("trace", "tail")])
        time.sleep(6)  # longer than a silent daemon is waited for
        running = tails + self.start_all(daemon.data, [("discover", asked), ("get", asked, "-o", out)])
        time.sleep(2)  # shorter than a silent peer is
        early = [verb for verb, process in running if process.poll() is not None]
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            for verb, process in running:
                _, stderr = process.communicate(timeout=60)
                with self.subTest(verb=verb):
                    self.assertEqual(process.returncode, UNREACHABLE, stderr)
                    self.assertIn("peerscope diag doctor", stderr)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual(early, [])

    def test_who_was_stopped_itself_does_not_blame_the_daemon(self):
        daemon = self.lab.daemon()
        tail = subprocess.Popen([PROGRAM, "log", "--data", daemon.data, "tail"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        tail.send_signal(signal.SIGSTOP)
        time.sleep(6)
        tail.send_signal(signal.SIGCONT)
        time.sleep(2)
        self.assertIsNone(tail.poll())
        daemon.stop()
        _, stderr = tail.communicate(timeout=60)
        self.assertEqual(tail.returncode, UNREACHABLE)
        self.check_reason(("log", "tail"), tail.returncode, stderr)

    def test_a_daemon_that_works_on_a_long_answer_is_waited_for(self):
        daemon = self.lab.daemon()
        address = self.silent_peer()
        started = time.monotonic()
        got = daemon.cli("peers", "add", address, "--timeout", "7s", expect=NO_PEER)
        self.assertGreater(time.monotonic() - started, 6, got.stderr)

    # ---- Reasons ----

    def test_every_failure_has_a_reason_whatever_the_daemon_answers(self):
        cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"a\":"
        answers = {
            "none": None, "500": doubles.http(500, b""), "500 with an empty reason": doubles.http(500, b'{"error":"","status":-20001}'),
            "404": doubles.http(404, b""), "400": doubles.http(400, b""), "nothing": doubles.http(200, b""), "garbage": doubles.http(200, b"\xff\x00<>garbage"),
            "cut": cut, "no HTTP": b"220 mail ESMTP\r\n", "hung up": b"",
        }
        for name, answer in answers.items():
            folder = self.lab.folder / name.replace(" ", "")
            folder.mkdir()
            if answer is not None:
                double = Double(folder, answer)
                self.addCleanup(double.close)
            for verb in ASKING:
                with self.subTest(answer=name, verb=verb):
                    got = run(folder, verb)
                    if got.returncode != OK:
                        self.check_reason(verb, got.returncode, got.stderr)
                    elif name != "garbage" and verb[-1] != "tail" and verb not in (("peers", "rm", PEER), ("diag", "log")):
                        self.fail(f"success with {name}: {got.stdout!r}")

    def test_wrong_arguments_are_explained(self):
        for verb in (("get",), ("get", "a", "b"), ("publish",), ("publish", "/nonexistent"), ("publish", "--delete"), ("log",),
                     ("trace", "nonsense"), ("trace", "show", "x" * 40), ("peers", "add", "x"), ("peers", "rm", "x"), ("diag",),
                     ("diag", "x"), ("config",), ("paths", "x"), ("status", "x"), ("discover", "\udcff"), ("get", "hm://"),
                     ("publish", __file__, "--as", "/a//b"), ("publish", __file__, "--parent", "x"), ("daemon", "x"),
                     ("completion", "x"), ("x",), ("status", "--nonsense"), ("get", IRI, "--timeout", "x"), ("log", "level", "x")):
            with self.subTest(verb=verb):
                got = run(self.lab.folder, verb)
                self.assertNotIn(got.returncode, (OK, PARTIAL))
                self.check_reason(verb, got.returncode, got.stderr)

    def test_refused_memory_is_said(self):
        """The n-th allocation of the command line fails: it goes on without it, or says why not."""
        daemon, _ = self.prepared()
        failed = 0
        for verb in (("status",), ("objects",), ("publish", __file__), ("discover", IRI), ("trace", "list")):
            for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233):
                with self.subTest(verb=verb, n=n):
                    got = run(daemon.data, verb, env={"PEERSCOPE_TEST_REFUSE_MEMORY": str(n)})
                    self.assertGreaterEqual(got.returncode, 0, got.stderr)
                    if got.returncode != OK:
                        self.check_reason(verb, got.returncode, got.stderr)
                        failed += 1
        if failed == 0:
            self.skipTest("built without the hook")

    # ---- Small ones ----

    def test_help_and_version_are_to_be_had_everywhere(self):
        broken = self.lab.folder / "broken.conf"
        broken.write_text("nonsense = 1\n")
        for verb in ("status", "get", "daemon", "trace", "diag", "help", "version", "paths"):
            for flag in ("-h", "--help"):
                got = run(self.lab.folder, (verb, flag, "--config", str(broken)))
                self.assertEqual((got.returncode, got.stdout[:6]), (OK, "usage:"), got.stderr)
            for flag in ("-V", "--version"):
                got = run(self.lab.folder, (verb, flag, "--config", str(broken)))
                self.assertRegex(got.stdout, r"^peerscope \d+\.\d+", got.stderr)
                self.assertEqual(got.returncode, OK)
        for flag in ("-V", "--version", "-h", "--help"):
            got = subprocess.run([PROGRAM, flag], capture_output=True, text=True)
            self.assertEqual(got.returncode, OK, got.stderr)

    def test_one_is_not_several(self):
        daemon = self.lab.daemon()
        folder = self.lab.folder / "one"
        folder.mkdir()
        (folder / "file").write_text("x")
        said = daemon.cli("publish", folder)
        self.assertIn("1 file,", said.stderr)
        said = daemon.cli("objects").stdout + daemon.cli("status").stdout + daemon.cli("get", said.stdout.split()[0], "-o",
                                                                                        self.lab.folder / "copy").stderr
        self.assertIn("1 version", said)
        self.assertNotRegex(said, r"(?<![\d.])1 (files|versions|objects|peers|blobs|sessions|scopes|nodes|conflicts)\b")

    def test_one_subscription_more_costs_one(self):
        daemon = self.lab.daemon()
        control = http.client.HTTPConnection("localhost")
        control.sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(control.close)
        control.sock.connect(str(daemon.data / "control.sock"))

        def subscribe(first, count):
            started = time.monotonic()
            for i in range(first, first + count):
                control.request("POST", f"/v1/subscriptions?iri=hm://{SPACE}/s{i}&kind=exact")
                reply = control.getresponse()
                self.assertEqual((reply.status, json.loads(reply.read())["changed"]), (200, True))
            return time.monotonic() - started

        few = subscribe(0, 300)
        subscribe(300, 2400)
        many = subscribe(2700, 300)
        # It was nine times as much; a busy machine makes some of it.
        self.assertLess(many, few * 5 + 2)
        self.assertEqual(daemon.json("status")["discovery"]["subscriptions"], 3000)

    def test_who_comes_in_a_flood_waits_as_long_as_it_is_told(self):
        daemon = self.lab.daemon()
        for i in range(600):
            got = http.client.HTTPConnection("localhost")
            got.sock = socket.socket(socket.AF_UNIX)
            got.sock.connect(str(daemon.data / "control.sock"))
            got.request("POST", "/v1/discover", json.dumps({"iri": f"hm://{SPACE}/flood{i}"}))
            told = json.loads(got.getresponse().read().splitlines()[-1])
            got.close()
            if told.get("again_in_ms", 0) > 0:
                break
        else:
            self.skipTest("this machine is too slow for a flood")
        self.assertEqual(daemon.cli("get", IRI, "-o", self.lab.folder / "x", expect=None).returncode, NOT_FOUND)

    def test_a_missing_folder_is_not_a_missing_object(self):
        daemon, nowhere = self.lab.daemon(), self.lab.folder / "nowhere"
        for verb in (("diag", "heap", "-o", nowhere / "x"), ("diag", "bundle", "--seconds", "0", "-o", nowhere / "x"), ("publish", nowhere)):
            got = run(daemon.data, verb)
            self.assertEqual(got.returncode, FAILED, (verb, got.stderr))
            self.assertIn(str(nowhere), got.stderr)
        self.assertEqual(run("/proc/nowhere", ("daemon",)).returncode, FAILED)

    def test_a_deleted_object_is_listed_as_deleted(self):
        daemon = self.lab.daemon()
        iri, _ = daemon.publish(__file__, "--as", "/gone")
        self.assertNotIn("deleted", daemon.cli("objects").stdout)
        daemon.cli("publish", "--delete", "--as", "/gone")
        self.assertRegex(daemon.cli("objects").stdout, r"/gone  .*  2 versions  deleted\n")
        self.assertTrue(daemon.json("objects", iri)["objects"][0]["tombstone"])


class RefusedMemory(Case):
    """The daemon, when one allocation of a request fails: it says so, or does without, and lives."""

    MOST = 60  # allocations of a request that are refused in turn

    def ask(self, daemon, method, path, body, n):
        link = http.client.HTTPConnection("localhost", timeout=20)
        link.sock = socket.socket(socket.AF_UNIX)
        link.sock.settimeout(20)
        link.sock.connect(str(daemon.data / "control.sock"))
        try:
            link.request(method, path, body, {"Content-Type": "application/json", "X-Test-Refuse-Memory": str(n)})
            reply = link.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        except (http.client.RemoteDisconnected, ConnectionError, http.client.IncompleteRead):
            return 0, ""  # no memory for an answer at all; the command line says that the daemon hung up
        finally:
            link.close()

    def test_every_endpoint_says_why_it_failed(self):
        a = self.lab.daemon()
        source = self.lab.folder / "notes.txt"
        source.write_text("x\n")
        iri, version = a.publish(source)
        space = iri.rsplit("/", 1)[0]
        # JSON bodies have a test of their own: libjansson ends the program when a string cannot grow.
        asked = [("GET", "/v1/status", None), ("GET", f"/v1/resolve?iri={iri}", None), ("GET", f"/v1/log?iri={iri}", None),
                 ("GET", "/v1/objects", None), ("GET", "/v1/peers", None), ("GET", f"/v1/blob/{version}", None),
                 ("GET", "/v1/subscriptions", None), ("POST", f"/v1/subscriptions?iri={iri}&kind=exact", None)]
        failed = silent = 0
        for method, path, body in asked:
            for n in range(1, self.MOST):
                self.assertIsNone(a.process.poll(), (path, n, a.log_text()))
                status, text = self.ask(a, method, path, body, n)
                self.assertIsNone(a.process.poll(), (path, n, a.log_text()))
                silent += status == 0
                if status >= 400:
                    failed += 1
                    self.assertGreater(len(text.strip()), 10, (path, n, status))
                    if text.startswith("{"):
                        self.assertTrue(json.loads(text)["error"], (path, n))
        self.assertGreater(failed, len(asked))
        self.assertLess(silent, failed)
        self.ask(a, "GET", "/v1/status", None, 0)
        a.cli("status")

    def test_a_body_for_which_there_is_no_memory_is_refused_and_the_daemon_lives(self):
        a = self.lab.daemon()
        limit = resource.prlimit(a.process.pid, resource.RLIMIT_AS)
        size = int(re.search(r"VmSize:\s+(\d+)", pathlib.Path(f"/proc/{a.process.pid}/status").read_text())[1]) << 10
        resource.prlimit(a.process.pid, resource.RLIMIT_AS, (size, limit[1]))
        refused = 0
        for kib in (1, 100, 400):
            for _ in range(5):
                status, text = self.ask(a, "POST", "/v1/discover", json.dumps({"iri": "x" * (kib << 10)}), 0)
                self.assertIsNone(a.process.poll(), a.log_text())
                self.assertTrue(status == 0 or status >= 400, (status, text))
                if "memory" in text:
                    refused += 1
                    self.assertGreaterEqual(status, 500, text)  # not the asker's fault
        self.assertGreater(refused, 0)
        resource.prlimit(a.process.pid, resource.RLIMIT_AS, limit)
        a.cli("status")


if __name__ == "__main__":
    import unittest
    unittest.main()
