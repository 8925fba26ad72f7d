#!/usr/bin/env python3
"""Pages of the daemon's own: the same figures as HTML, as JSON and as text; and traces on the command line."""
import html.parser
import json
import select
import signal
import subprocess
import unittest

from harness import NOT_FOUND, PROGRAM, USAGE, Case

SPACE = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
PAGES = ("/debug/peers", "/debug/store", "/debug/vars")


class Nesting(html.parser.HTMLParser):
    """Every element is closed where it should be."""
    EMPTY = {"meta", "link", "br", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, data):
        self.text.append(data)


class Pages(Case):
    def html(self, daemon, path):
        status, headers, text = daemon.http(f"{path}?html")
        self.assertEqual(status, 200, text)
        self.assertTrue(headers["Content-Type"].startswith("text/html"))
        page = Nesting()
        page.feed(text)
        self.assertEqual((page.open, page.wrong), ([], []))
        return text, page.text

    def test_every_page_comes_as_html_json_and_text(self):
        a = self.lab.daemon()
        for path in PAGES:
            self.html(a, path)
            value = json.loads(a.http(f"{path}?json")[2])
            _, headers, text = a.http(f"{path}?text")
            self.assertTrue(headers["Content-Type"].startswith("text/plain"))
            first = next(k for k, v in value.items() if not isinstance(v, (dict, list)) or v)
            self.assertIn(first, text)
            self.assertIn(path, self.html(a, "/debug/")[0])

    def test_vars_are_the_status_and_json_for_programs(self):
        a = self.lab.daemon()
        shown = json.loads(a.http("/debug/vars")[2])
        self.assertEqual(shown.keys(), a.json("status").keys())
        self.assertEqual(shown["profiler"].keys(), a.json("status")["profiler"].keys())
        self.assertGreater(shown["loop"]["turns"], 0)

    def test_a_connected_peer_and_its_object_are_on_the_pages(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(__file__, "--as", "/seen")
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "seen")
        peer = a.address().rsplit("/", 1)[1]
        self.assertIn(peer, self.html(b, "/debug/peers")[1])
        self.assertIn(iri, self.html(b, "/debug/store")[1])
        self.assertIn(iri, b.http("/debug/store?text")[2])

    def test_what_others_have_named_cannot_become_markup_or_control_a_terminal(self):
        a = self.lab.daemon()
        a.publish(__file__, "--as", "/<script>x\u00e9")
        text, _ = self.html(a, "/debug/store")
        self.assertNotIn("<script>x", text)
        plain = a.http("/debug/store?text")[2]
        self.assertIn("script", plain)
        self.assertTrue(all(c == "\n" or " " <= c <= "~" for c in plain))


class Traces(Case):
    """peerscope trace …"""

    def two_halves(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(__file__, "--as", "/seen")
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "seen")
        return a, b, b.traces("&category=sync.discover")[0]["trace_id"]

    def export(self, daemon, trace, form, *more):
        return json.loads(daemon.cli("trace", "export", trace, "--format", form, *more).stdout)

    def test_an_export_can_have_the_halves_of_both_daemons(self):
        a, b, trace = self.two_halves()
        for form, count in (
                ("chrome", lambda v: len(v["traceEvents"])),
                ("jaeger", lambda v: sum(len(t["spans"]) for t in v["data"])),
                ("otlp", lambda v: len(v["resourceSpans"]))):
            one, other = self.export(b, trace, form), self.export(a, trace, form)
            both = self.export(b, trace, form, "--from", a.data)
            self.assertEqual(count(both), count(one) + count(other), form)
        both = self.export(b, trace, "jaeger", "--from", a.data)["data"]
        self.assertEqual([t["traceID"] for t in both], [trace])
        self.assertEqual(len(both[0]["processes"]), 2)
        self.assertLessEqual({s["processID"] for s in both[0]["spans"]}, both[0]["processes"].keys())

    def test_two_traces_are_compared_in_words_and_in_json(self):
        a, b, first = self.two_halves()
        iri = a.publish(__file__, "--as", "/other")[0]
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "other")
        then = next(t["trace_id"] for t in b.traces("&category=sync.discover") if t["trace_id"] != first)
        self.assertIn("local_sync", b.cli("trace", "diff", first, then).stdout)
        self.assertTrue(b.json("trace", "diff", first, then))
        b.cli("trace", "diff", first, "0" * 31 + "1", expect=NOT_FOUND)
        b.cli("trace", "diff", first, "nonsense", expect=USAGE)

    def test_tail_prints_what_ends_from_now_on(self):
        a = self.lab.daemon()
        a.http("/debug/?before")
        tail = subprocess.Popen([PROGRAM, "trace", "tail", "--data", a.data], stdout=subprocess.PIPE, text=True)
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.kill)

        def one_line():
            a.cli("discover", f"hm://{SPACE}/tail", expect=NOT_FOUND)
            return select.select([tail.stdout], [], [], 0)[0]
        self.wait(one_line)
        self.assertIn(f"notfound  hm://{SPACE}/tail", tail.stdout.readline())
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(30), 130)

    def test_a_trace_that_nobody_keeps_is_not_found(self):
        a = self.lab.daemon()
        a.cli("trace", "export", "0" * 31 + "1", expect=NOT_FOUND)
        a.cli("trace", "nonsense", expect=USAGE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
