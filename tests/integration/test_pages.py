#!/usr/bin/env python3
"""Pages of the daemon's own: the same figures as HTML, as JSON and as text."""
import html.parser
import json
import unittest

from harness import Case

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
        self.assertEqual(shown.keys(), a.json("status").keys() | {"cmdline", "memstats", "memstats_source"})
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
