#!/usr/bin/env python3
"""Traces of real daemons: on the command line, put together from several daemons, and the proof that a stage in which
something was slow is the first thing one reads."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
import unicodedata
import unittest

from harness import NOT_FOUND, PROGRAM, UNREACHABLE, USAGE, Case

SPACE = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
NOWHERE = "0" * 31 + "1"


def width(line):
    """Columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in line)


class SlowWay:
    """A TCP proxy on loopback that holds back what the server says, once, for some seconds."""

    def __init__(self, port, seconds, after_bytes=0):
        self.port, self.seconds, self.after_bytes = port, seconds, after_bytes
        self.held = False
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def address(self):
        return self.listener.getsockname()[1]

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            self.sockets += [client, server]
            threading.Thread(target=self.copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, True), daemon=True).start()

    def copy(self, source, target, is_answer):
        passed = 0
        try:
            while data := source.recv(65536):
                if is_answer and not self.held and passed + len(data) > self.after_bytes:
                    self.held = True
                    time.sleep(self.seconds)
                target.sendall(data)
                passed += len(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for s in self.sockets:
            s.close()


class CommandLine(Case):
    """peerscope trace …"""

    def two_halves(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(__file__, "--as", "/seen")
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "seen")
        return a, b, b.traces("&category=sync.discover")[0]["trace_id"]

    def export(self, daemon, trace, form, *more):
        return json.loads(daemon.cli("trace", "export", trace, "--format", form, *more).stdout)

    def url(self, daemon):
        return f"http://{daemon.debug_host()}"

    def test_an_export_can_have_the_halves_of_both_daemons(self):
        a, b, trace = self.two_halves()
        for form, count in (
                ("chrome", lambda v: len(v["traceEvents"])),
                ("jaeger", lambda v: sum(len(t["spans"]) for t in v["data"])),
                ("json", lambda v: len(v["traces"])),
                ("otlp", lambda v: len(v["resourceSpans"]))):
            one, other = self.export(b, trace, form), self.export(a, trace, form)
            for source in (a.data, self.url(a), f"{self.url(a)}/debug/traces?id={trace}"):
                both = self.export(b, trace, form, "--from", source)
                self.assertEqual(count(both), count(one) + count(other), form)
        both = self.export(b, trace, "jaeger", "--from", self.url(a))["data"]
        self.assertEqual([t["traceID"] for t in both], [trace])
        self.assertEqual(len(both[0]["processes"]), 2)
        self.assertLessEqual({s["processID"] for s in both[0]["spans"]}, both[0]["processes"].keys())

    def test_halves_as_protobuf_are_one_message_behind_the_other(self):
        a, b, trace = self.two_halves()

        def protobuf(daemon, *more):
            return subprocess.run([PROGRAM, "trace", "export", trace, "--format", "otlp-protobuf", "--data", daemon.data,
                                   *more], capture_output=True, check=True).stdout
        one, other = protobuf(b), protobuf(a)
        self.assertEqual(one[0], 0x0a)  # field 1, length-delimited: resource_spans
        self.assertEqual(protobuf(b, "--from", self.url(a)), one + other)

    def test_the_halves_of_a_trace_are_shown_as_one_waterfall(self):
        a, b, trace = self.two_halves()
        for source in (a.data, self.url(a)):
            lines = b.cli("trace", "show", trace, "--from", source).stdout.splitlines()
            discover, peer, serve = (next(i for i, line in enumerate(lines) if re.match(f"^ *{name} ", line)
                                          and " ok " in line + " ok ") for name in
                                     ("sync\\.discover", "sync\\.peer", "sync\\.serve"))
            # The far side's work stands below the session that asked for it.
            self.assertLess(peer, serve)
            self.assertLess(discover, peer)
            indent = [len(lines[i]) - len(lines[i].lstrip()) for i in (peer, serve)]
            self.assertLess(*indent)
            self.assertEqual(sum("recorded by=" in line for line in lines), 3)
            self.assertEqual([line for line in lines if width(line) > 80], [])
            self.assertIn(trace, "".join(lines))

    def test_halves_can_be_had_without_a_daemon_of_ones_own(self):
        a, b, trace = self.two_halves()
        b.stop()
        run = b.cli("trace", "show", trace, "--from", self.url(a))
        self.assertIn("sync.serve", run.stdout)
        self.assertIn("only those of --from are asked", run.stderr)
        b.cli("trace", "show", trace, expect=UNREACHABLE)
        b.cli("trace", "show", NOWHERE, "--from", a.data, expect=NOT_FOUND)

    def test_two_traces_are_compared_in_words_and_in_json(self):
        a, b, first = self.two_halves()
        iri = a.publish(__file__, "--as", "/other")[0]
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "other")
        then = next(t["trace_id"] for t in b.traces("&category=sync.discover") if t["trace_id"] != first)
        text = b.cli("trace", "diff", first, then).stdout
        self.assertIn("local_sync", text)
        self.assertEqual([line for line in text.splitlines() if width(line) > 80], [])
        self.assertTrue(b.json("trace", "diff", first[:12], then[:12]))
        b.cli("trace", "diff", first, NOWHERE, expect=NOT_FOUND)
        b.cli("trace", "diff", first, "nonsense", expect=USAGE)

    def test_list_and_show_fit_into_80_columns(self):
        _, b, trace = self.two_halves()
        for args in (("list",), ("show", trace)):
            text = b.cli("trace", *args).stdout
            self.assertEqual([line for line in text.splitlines() if width(line) > 80], [])

    def test_the_first_digits_of_an_id_are_enough(self):
        _, b, trace = self.two_halves()
        self.assertIn(trace, b.cli("trace", "show", trace[:8]).stdout)
        b.cli("trace", "show", trace[:7] + ("0" if trace[7] != "0" else "1"), expect=NOT_FOUND)
        self.assertIn("first 4 digits", b.cli("trace", "show", trace[:3], expect=USAGE).stderr)

    def test_a_trace_is_kept_and_let_go(self):
        _, b, trace = self.two_halves()
        b.cli("trace", "pin", trace[:8])
        self.assertTrue(b.traces(f"&id={trace}")[0]["pinned"])
        self.assertIn('class="kept"', b.http("/debug/traces?html")[2])
        b.cli("trace", "unpin", trace)
        self.assertFalse(b.traces(f"&id={trace}")[0]["pinned"])
        b.cli("trace", "pin", NOWHERE, expect=NOT_FOUND)

    def test_a_trace_that_nobody_keeps_is_not_found(self):
        a = self.lab.daemon()
        a.cli("trace", "export", NOWHERE, expect=NOT_FOUND)
        a.cli("trace", "nonsense", expect=USAGE)


class Tail(Case):
    def tail(self, daemon, *args):
        tail = subprocess.Popen([PROGRAM, "trace", "tail", "--data", daemon.data, *args], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"})
        self.addCleanup(tail.stderr.close)
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        return tail

    def happen_until_heard(self, daemon, tail, path):
        """The connection takes a moment: things happen until one is told of."""
        def heard():
            daemon.cli("discover", f"hm://{SPACE}{path}", expect=NOT_FOUND)
            return select.select([tail.stdout], [], [], 0.05)[0]
        self.wait(heard)
        return tail.stdout.readline()

    def test_what_ends_is_printed_as_it_ends(self):
        a = self.lab.daemon()
        a.http("/debug/?before")
        tail = self.tail(a)
        line = self.happen_until_heard(a, tail, "/tail")
        self.assertRegex(line, rf"^\d\d:\d\d:\d\d [0-9a-f]{{8}} .* notfound   sync\.discover .*hm://{SPACE[:6]}")
        self.assertLessEqual(width(line.rstrip("\n")), 80)
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(30), 130)

    def test_only_what_was_asked_for(self):
        a = self.lab.daemon()
        tail = self.tail(a, "/wanted", "--json")
        for _ in range(3):
            a.cli("discover", f"hm://{SPACE}/other", expect=NOT_FOUND)
        line = json.loads(self.happen_until_heard(a, tail, "/wanted"))
        self.assertEqual(line["title"], f"hm://{SPACE}/wanted")

    def test_a_daemon_that_comes_back_is_followed_again(self):
        a = self.lab.daemon()
        tail = self.tail(a)
        self.happen_until_heard(a, tail, "/before")
        a.stop()
        a.start()
        self.wait(lambda: "/after" in self.happen_until_heard(a, tail, "/after") or True)
        self.assertIsNone(tail.poll())
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(30), 130)
        self.assertEqual(tail.stderr.read().count("the daemon went away"), 1)

    def test_a_daemon_that_never_was_is_said(self):
        a = self.lab.daemon(start=False)
        tail = self.tail(a)
        self.assertEqual(tail.wait(30), UNREACHABLE)


class Proof(Case):
    """A discovery in which one stage takes two seconds longer."""

    def slow_discovery(self, after_bytes):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(__file__, "--as", "/slow")
        fast, _ = a.publish(__file__, "--as", "/fast")
        _, _, _, _, port, _, peer = a.address().split("/")
        way = SlowWay(int(port), 2, after_bytes)
        self.addCleanup(way.close)
        b.cli("get", f"{iri}?peer=/ip4/127.0.0.1/tcp/{way.address()}/p2p/{peer}", "-o", self.lab.folder / "slow")
        b.cli("get", f"{fast}?peer={a.address()}", "-o", self.lab.folder / "fast")
        self.assertTrue(way.held)
        return b

    def check_index(self, daemon, inner):
        page = daemon.http("/debug/traces?html")[2]
        plain = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page))
        self.assertRegex(plain, r"Slowest of the last 15 minutes: sync\.discover hm://\S* took 2\.\d+ s, "
                                rf"(9[5-9]|100) % in local_sync \(2\.\d+ s\) › sync\.peer: (9[5-9]|100) % in {inner} \(2\.")
        first = page[page.index("<tbody>"):page.index("</tr>", page.index("<tbody>"))]
        self.assertIn("/slow", first)
        # … and in the picture: one segment of the first bar has 95 % of its width.
        widths = [float(w) for w in re.findall(r'<rect class="c\d+" x="[\d.]+%" width="([\d.]+)%"', first)]
        self.assertGreaterEqual(max(widths), 95)

    def check_trace(self, daemon, inner):
        trace = max(daemon.traces("&sort=slowest&category=sync.discover"), key=lambda t: t["duration_ns"])
        self.assertIn(f"in {inner}", daemon.cli("trace", "show", trace["trace_id"]).stdout.splitlines()[1])
        for span in trace["spans"]:
            self.assertEqual(sum(s["duration_ns"] for s in span["stages"]), span["duration_ns"])

    def test_a_handshake_that_stalls_is_what_one_reads_first(self):
        b = self.slow_discovery(0)
        self.check_index(b, "handshake")
        self.check_trace(b, "handshake")

    def test_a_peer_that_stalls_while_it_serves_is_what_one_reads_first(self):
        b = self.slow_discovery(600)
        page = b.http("/debug/traces?html")[2]
        inner = re.search(r"sync\.peer: \d+ % in <i[^>]*></i>([a-z ]+) \(2\.", page).group(1)
        self.assertIn(inner, ("reconcile", "fetch commits", "fetch content"))
        self.check_index(b, inner)
        self.check_trace(b, inner)


class Readers(Case):
    """Ten readers ask for all there is while two daemons work: everything is answered whole."""
    ASKED = ("/debug/traces?html", "/debug/traces?json&n=250", "/debug/traces?text", "/debug/traces?html&q=zz&n=250",
             "/debug/traces?html&sort=newest&n=250", "/debug/traces?format=chrome&n=250", "/debug/traces?html&errored=1",
             "/debug/traces?format=otlp-protobuf", "/debug/vars", "/debug/traces?html&id=%s&with=median")
    ENDS = (b"</html>\n", b"}\n", b"\n", b"</html>\n", b"</html>\n", b"\n", b"</html>\n", b"", b"\n", b"\n")

    def read(self, daemon, n, trace, stop, results):
        path = self.ASKED[n] % trace if "%s" in self.ASKED[n] else self.ASKED[n]
        while not stop.is_set():
            try:
                status, _, body = daemon.http_bytes(path)
                results.append((path, status, body.endswith(self.ENDS[n]) and len(body) > 0))
            except OSError as error:
                results.append((path, error, False))

    def test_ten_readers_get_whole_answers_while_sync_works(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        folder = self.lab.folder / "many"
        folder.mkdir()
        for i in range(300):
            (folder / f"{i}.txt").write_text(f"{i}\n" * (i * 7))
        for name in ("first", "second"):
            iri = a.publish(__file__, "--as", f"/{name}")[0]
            b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / name)
        trace = b.traces("&category=sync.discover")[0]["trace_id"]
        stop, results = threading.Event(), []
        readers = [threading.Thread(target=self.read, args=(b, n, trace, stop, results)) for n in range(len(self.ASKED))]
        for reader in readers:
            reader.start()
        try:
            for i in range(4):
                (folder / "0.txt").write_text(f"version {i}\n")
                iri = a.publish(folder)[0]
                b.cli("get", iri, "-o", self.lab.folder / f"many{i}")
                self.assertSameTree(folder, self.lab.folder / f"many{i}")
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        self.assertGreaterEqual(len(results), len(self.ASKED))
        self.assertEqual([r for r in results if r[1] != 200 or not r[2]], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
