#!/usr/bin/env python3
"""Traces of real work in the forms of other viewers, held against what those ask for: the published messages of OTLP, the trace
event format, what the Jaeger UI reads from a file."""
import json
import re
import unittest

import otlp_double as otlp
from harness import Case

# The JSON mapping of OTLP 1: lowerCamelCase names, ids in hex, 64-bit numbers as decimal strings, enums as numbers.
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


def camel(name):
    return re.sub("_(.)", lambda m: m.group(1).upper(), name)


def from_json(value, message, path="request"):
    """The same dictionary that otlp.decode makes of protobuf; an unknown name or a wrong type is an error."""
    names = {camel(name.lstrip("*")): (name, kind) for name, kind in message.values()}
    result = {name[1:]: [] for name, _ in message.values() if name.startswith("*")}
    for key, given in value.items():
        name, kind = names[key]
        if name.startswith("*"):
            result[name[1:]] = [from_json(v, kind, f"{path}.{key}") for v in given]
        elif isinstance(kind, dict):
            result[name] = from_json(given, kind, f"{path}.{key}")
        elif kind == "bytes":
            assert re.fullmatch("([0-9a-f]{2})*", given), f"{path}.{key} is not hex"
            result[name] = bytes.fromhex(given)
        elif kind in ("fixed64", "int64"):
            assert isinstance(given, str) and NUMBER.fullmatch(given), f"{path}.{key} is no number in a string"
            result[name] = int(given)
        else:
            assert isinstance(given, str if kind == "string" else int), f"{path}.{key} is {given!r}"
            result[name] = int(given) if kind == "varint" else given
    return result


def spans_in(request):
    return [s for r in request["resource_spans"] for c in r["scope_spans"] for s in c["spans"]]


class Exports(Case):
    def worked(self):
        """Two daemons that published, found, failed to find, and served pages."""
        a, b = self.lab.daemon(), self.lab.daemon()
        folder = self.lab.folder / 'wörk <img src=x onerror=alert(1)> "&'
        folder.mkdir()
        for i in range(30):
            (folder / f"file{i}").write_bytes(bytes([i]) * 5000)
        iri, _ = a.publish(folder, "--as", "/notes")
        b.cli("discover", f"{iri}?peer={a.address()}", "--recursive")
        b.cli("discover", iri + "/nothing-here", "--timeout", "2s", expect=None)
        b.http("/debug/traces?q=%3Cb%3E%22")
        b.http("/debug/nowhere")
        return b

    def export(self, daemon, form):
        return daemon.http_bytes(f"/debug/traces?format={form}&n=250&sort=slowest")[2]

    def test_otlp_is_of_the_published_messages_in_both_forms(self):
        b = self.worked()
        packed = spans_in(otlp.decode(self.export(b, "otlp-protobuf"), otlp.REQUEST))
        mapped = spans_in(from_json(json.loads(self.export(b, "otlp")), otlp.REQUEST))
        for spans in (packed, mapped):
            self.assertGreater(len(spans), 3)
            known = {s["span_id"] for s in spans}
            self.assertEqual(len(known), len(spans), "span ids are unique")
            for span in spans:
                otlp.check_span(span)
                if span["kind"] == 1 and span.get("parent_span_id"):
                    self.assertIn(span["parent_span_id"], known)
                for event in span["events"]:
                    self.assertLessEqual(event["time_unix_nano"], span["end_time_unix_nano"] + 1)
        both = {s["span_id"] for s in packed} & {s["span_id"] for s in mapped}
        self.assertGreater(len(both), 3)
        names = {s["span_id"]: (s["name"], s["start_time_unix_nano"]) for s in packed}
        for span in mapped:
            if span["span_id"] in names:
                self.assertEqual(names[span["span_id"]], (span["name"], span["start_time_unix_nano"]))

    def test_trace_events_nest_on_every_lane(self):
        events = json.loads(self.export(self.worked(), "chrome"))["traceEvents"]
        lanes, flows, named = {}, {}, set()
        for event in events:
            self.assertIn(event["ph"], "XBiMsf")
            self.assertIsInstance(event["pid"], int)
            if event["ph"] == "M":
                self.assertTrue(event["args"]["name"])
                named.add(event.get("tid"))
                continue
            self.assertGreaterEqual(event["ts"], 0)
            self.assertTrue(event["name"])
            if event["ph"] in "XB":
                lanes.setdefault(event["tid"], []).append(event)
            elif event["ph"] == "i":
                self.assertIn(event["s"], ("t", "p", "g"))
            else:
                flows.setdefault(event["id"], set()).add(event["ph"])
        self.assertGreater(sum(map(len, lanes.values())), 10)
        self.assertLessEqual(lanes.keys(), named)
        self.assertTrue(all(ends == {"s", "f"} for ends in flows.values()), flows)
        for lane in lanes.values():
            open_until = []
            for event in sorted(lane, key=lambda e: (e["ts"], -e.get("dur", float("inf")))):
                end = event["ts"] + event["dur"] if event["ph"] == "X" else float("inf")
                while open_until and open_until[-1] <= event["ts"] + 1e-6:
                    open_until.pop()
                if open_until:
                    self.assertLessEqual(end, open_until[-1] + 1e-3, event)
                open_until.append(end)

    def test_jaeger_ui_finds_what_it_needs(self):
        for trace in json.loads(self.export(self.worked(), "jaeger"))["data"]:
            ids = {s["spanID"] for s in trace["spans"]}
            self.assertEqual(len(ids), len(trace["spans"]))
            self.assertTrue(all(p["serviceName"] for p in trace["processes"].values()))
            for span in trace["spans"]:
                self.assertEqual(span["traceID"], trace["traceID"])
                self.assertRegex(span["traceID"] + span["spanID"], "^[0-9a-f]{48}$")
                self.assertGreater(span["startTime"], 0)
                self.assertGreaterEqual(span["duration"], 0)
                self.assertTrue(span["operationName"])
                self.assertIn(span["processID"], trace["processes"])
                for reference in span["references"]:
                    self.assertIn(reference["refType"], ("CHILD_OF", "FOLLOWS_FROM"))
                self.check_tags(span["tags"])
                for log in span["logs"]:
                    self.assertGreaterEqual(log["timestamp"], span["startTime"])
                    self.check_tags(log["fields"])

    def check_tags(self, tags):
        types = {"string": str, "bool": bool, "int64": int, "float64": float}
        for tag in tags:
            self.assertTrue(tag["key"])
            self.assertIsInstance(tag["value"], types[tag["type"]], tag)


if __name__ == "__main__":
    unittest.main()
