#!/usr/bin/env python3
"""Finished traces are sent to a collector, which may be slow, broken, picky or absent."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest

from harness import DAEMON_ERROR, DAEMON_CONFIG, Case, Lab, closed_port
from otlp_double import Collector, certificate

REFUSED = bytes([0x0A, 0x0B, 0x08, 0x01, 0x12, 0x07]) + b"too old"


def pseudonym(text):
    return text.startswith("~") and len(text) == 17


# In a network of its own, whose name server hears every question and answers none.
SILENT_RESOLVER = """
ip link set lo up
echo "nameserver 127.0.0.1" > "$1/resolv.conf" && mount --bind "$1/resolv.conf" /etc/resolv.conf
echo "hosts: dns" > "$1/nsswitch.conf" && mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
exec "$2" "$3" with-silent-resolver
"""


def with_silent_resolver():
    """Prints the slowest page, whether a name was asked for, and how long stopping took, in seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver, Lab() as lab:
        resolver.bind(("127.0.0.1", 53))
        resolver.settimeout(20)
        a = lab.daemon("--otlp-endpoint", "http://collector.example:4318")
        a.http("/debug/vars")
        asked = b"collector" in resolver.recv(512)
        slowest = 0.0
        for _ in range(100):
            start = time.monotonic()
            a.http("/debug/vars")
            slowest = max(slowest, time.monotonic() - start)
        start = time.monotonic()
        a.stop()
        print(json.dumps({"asked": asked, "slowest": slowest, "stop": time.monotonic() - start}))


class Push(Case):
    def daemon(self, collector, *options, **more):
        url = collector.url if isinstance(collector, Collector) else collector
        return self.lab.daemon("--otlp-endpoint", url, *options, **more)

    def trace_something(self, daemon, times=1):
        for _ in range(times):
            daemon.http("/debug/vars")

    def figures(self, daemon):
        return daemon.json("status")["otlp"]

    def stop_within(self, daemon, seconds):
        start = time.monotonic()
        daemon.stop()
        self.assertLess(time.monotonic() - start, seconds)

    def attribute(self, span, key):
        return next(a["value"] for a in span["attributes"] if a["key"] == key)

    def test_spans_arrive_as_the_schema_wants_them(self):
        with Collector() as collector:
            a = self.daemon(collector)
            folder = self.lab.folder / "secret-name"
            folder.mkdir()
            (folder / "file").write_text("content")
            iri, _ = a.publish(folder)
            a.cli("discover", iri)
            self.wait(lambda: any(s["name"] == "sync.discover" for s in collector.spans()))
            _, path, headers, body = collector.requests[0]
            self.assertEqual((path, headers["Content-Type"]), ("/v1/traces", "application/x-protobuf"))
            self.assertTrue(headers["User-Agent"].startswith("peerscope/"))
            discover = next(s for s in collector.spans() if s["name"] == "sync.discover")
            self.assertTrue(pseudonym(self.attribute(discover, "title")["string_value"]))
            self.assertTrue(pseudonym(discover["instance"]))
            everything = b"".join(request[3] for request in collector.requests)
            status = a.json("status")
            for secret in (iri.encode(), b"secret-name", status["peer_id"].encode(), status["space"].encode()):
                self.assertNotIn(secret, everything)
            self.wait(lambda: self.figures(a)["sent_spans"] >= len(collector.spans()) - 5)
            self.stop_within(a, 2)

    def test_names_are_sent_when_asked_for(self):
        with Collector() as collector:
            a = self.daemon(collector, "--otlp-names", "raw")
            self.trace_something(a)
            self.wait(lambda: collector.requests)
            titles = [self.attribute(s, "title").get("string_value") for s in collector.spans()]
            self.assertIn("GET /debug/vars", titles)
            self.assertEqual(collector.spans()[0]["instance"], a.json("status")["peer_id"])

    def test_what_is_pushed_is_not_traced_in_turn(self):
        with Collector() as collector:
            a = self.daemon(collector)
            self.trace_something(a)
            self.wait(lambda: collector.requests)
            time.sleep(5)  # two batches' time
            self.assertEqual(len(collector.requests), 1)
            self.assertFalse([t for t in a.traces("&n=250") if "post" in t["category"]])

    def test_a_busy_collector_is_asked_again_when_it_says(self):
        with Collector((429, {"Retry-After": "3"}, b""), (503, {}, b""), (200, {}, b"")) as collector:
            a = self.daemon(collector)
            self.trace_something(a)
            self.wait(lambda: len(collector.requests) == 3)
            times = [r[0] for r in collector.requests]
            self.assertGreaterEqual(times[1] - times[0], 2.9)
            self.assertGreaterEqual(times[2] - times[1], 1.4)
            self.assertEqual(len({r[3] for r in collector.requests}), 1, "the same batch")
            self.wait(lambda: self.figures(a)["sent_batches"] == 1)
            self.assertEqual((self.figures(a)["retries"], self.figures(a)["state"]), (2, "on"))

    def test_what_is_refused_for_good_is_given_up_and_counted(self):
        for status in (400, 401, 500, 301):
            with Collector((status, {"Location": "http://127.0.0.1:1/"}, b"no"), (200, {}, REFUSED)) as collector:
                a = self.daemon(collector)
                self.trace_something(a)
                self.wait(lambda: self.figures(a)["dropped_refused"] >= 1)
                self.assertIn(str(status), self.figures(a)["why"])
                self.trace_something(a, 3)
                self.wait(lambda: self.figures(a)["refused_spans"] == 1)
                self.assertEqual(self.figures(a)["failing"], 0)
                self.assertIn("too old", a.log_text())
                a.stop()

    def test_a_collector_that_is_not_there_costs_nothing(self):
        a = self.daemon(f"http://127.0.0.1:{closed_port()}")
        self.trace_something(a, 20)
        self.wait(lambda: self.figures(a)["failing"] >= 2)
        self.assertEqual(self.figures(a)["state"], "failing")
        self.assertEqual(a.log_text().count("does not take traces"), 1)
        self.stop_within(a, 2)

    def test_a_collector_that_hangs_does_not_hold_the_daemon_up(self):
        with Collector("hang") as collector:
            a = self.daemon(collector)
            self.trace_something(a)
            self.wait(lambda: collector.requests)
            start = time.monotonic()
            self.trace_something(a, 50)
            self.assertLess(time.monotonic() - start, 5)
            self.stop_within(a, 2)

    def test_what_finished_last_is_sent_before_the_end(self):
        with Collector() as collector:
            a = self.daemon(collector, "--otlp-names", "raw")
            self.trace_something(a)
            self.stop_within(a, 2)
            self.assertTrue(collector.requests)

    def test_headers_come_from_a_file_or_the_environment(self):
        secret = self.lab.folder / "headers"
        secret.write_text("# for the collector\nauthorization: Bearer s3cret\n\nx-tenant: a b\n")
        secret.chmod(0o600)
        with Collector() as collector:
            a = self.daemon(collector, "--otlp-headers-file", secret)
            self.trace_something(a)
            self.wait(lambda: collector.requests)
            headers = collector.requests[0][2]
            self.assertEqual((headers["authorization"], headers["x-tenant"]), ("Bearer s3cret", "a b"))
            command = pathlib.Path(f"/proc/{a.process.pid}/cmdline").read_text()
            self.assertNotIn("s3cret", command + a.log_text() + str(a.json("status")))
            os.environ["PEERSCOPE_OTLP_HEADERS"] = "x-from: environment"
            try:
                self.trace_something(self.daemon(collector))
            finally:
                del os.environ["PEERSCOPE_OTLP_HEADERS"]
            self.wait(lambda: any(r[2].get("x-from") == "environment" for r in collector.requests))

    def test_bad_settings_are_refused_at_the_start(self):
        open_file, bad = self.lab.folder / "open", self.lab.folder / "bad"
        open_file.write_text("a: b\n")
        open_file.chmod(0o644)
        bad.write_text("good: line\nHost: elsewhere\n")
        bad.chmod(0o600)
        url = "http://127.0.0.1:4318"
        for options, code, word in ((("ftp://host",), DAEMON_CONFIG, "http://"), (("http://user:pw@host",), DAEMON_CONFIG, "password"),
                                    ((url, "--otlp-headers-file", bad), DAEMON_CONFIG, "line 2"),
                                    ((url, "--otlp-headers-file", "/nowhere"), DAEMON_ERROR, "/nowhere"),
                                    ((url, "--otlp-headers-file", open_file), 10, "chmod")):
            a = self.lab.daemon("--otlp-endpoint", *options, start=False)
            a.start(expect_ready=False)
            self.assertEqual(a.process.wait(30), code, a.log_text())
            self.assertIn(word, a.log_text())

    def test_a_name_that_does_not_resolve_does_not_block_the_loop(self):
        command = ["unshare", "-mn", "sh", "-ec", SILENT_RESOLVER, "sh", self.lab.folder, sys.executable, __file__]
        if subprocess.run(["unshare", "-mn", "ip", "link", "set", "lo", "up"], capture_output=True).returncode != 0:
            self.skipTest("it takes the right to make a network namespace")
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
        self.assertTrue(result["asked"])
        self.assertLess(result["slowest"], 2, "a question takes 5 s to go unanswered")
        self.assertLess(result["stop"], 2)

    def test_tls_is_verified(self):
        pem = certificate(self.lab.folder / "pem")
        with Collector(tls=pem) as collector:
            trusting = self.daemon(collector, "--otlp-ca-file", f"{pem}.crt")
            self.trace_something(trusting)
            self.wait(lambda: collector.requests)
            self.wait(lambda: self.figures(trusting)["sent_batches"] >= 1)
            seen = len(collector.requests)
            wary = self.daemon(collector)
            self.trace_something(wary)
            self.wait(lambda: self.figures(wary)["failing"] >= 1)
            self.assertIn("certificate", self.figures(wary)["why"])
            self.assertEqual(len(collector.requests), seen)

    def test_a_certificate_of_another_host_is_refused(self):
        pem = certificate(self.lab.folder / "pem", "DNS:elsewhere.example")
        with Collector(tls=pem) as collector:
            a = self.daemon(collector, "--otlp-ca-file", f"{pem}.crt")
            self.trace_something(a)
            self.wait(lambda: self.figures(a)["failing"] >= 1)
            self.assertFalse(collector.requests)


if __name__ == "__main__":
    if sys.argv[1:] == ["with-silent-resolver"]:
        with_silent_resolver()
    else:
        unittest.main()
