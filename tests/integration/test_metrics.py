#!/usr/bin/env python3
"""/debug/vars and /debug/metrics: complete, of one mind, and without a word about peers and objects."""
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import Case

MEMSTATS = """Alloc TotalAlloc Sys Lookups Mallocs Frees HeapAlloc HeapSys HeapIdle HeapInuse HeapReleased HeapObjects
StackInuse StackSys MSpanInuse MSpanSys MCacheInuse MCacheSys BuckHashSys GCSys OtherSys NextGC LastGC PauseTotalNs
PauseNs PauseEnd NumGC NumForcedGC GCCPUFraction EnableGC DebugGC BySize""".split()

# Figures that no metric repeats: told by process_*, by the histogram of the loop, or no figures at all.
ELSEWHERE = re.compile(r"(v|pid|uptime_s|uptime_ms|dht\.(up_ms|port)|loop\.(turns|busy_us|max_us|p50_us|p99_us|over_\w+|"
                       r"cpu_over_1ms)|memstats\..*)$")
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)$')


def leaves(value, path=""):
    for key, below in value.items():
        if isinstance(below, dict):
            yield from leaves(below, f"{path}{key}.")
        elif isinstance(below, (int, float)) and not isinstance(below, bool):
            yield path + key


def metric_of(path):
    """Names that the figure may have."""
    name = path.replace(".", "_").replace("memory_live_count", "memory_live_blocks")
    name = name.replace("memory_total_count", "memory_allocations").replace("last_status", "last_http_status")
    name = re.sub(r"_(us|ms|ns|s)$", "_seconds", name)
    if name.startswith("discovery_outcomes_"):
        name = "discovery_outcomes"
    return {f"peerscope_{name}", f"peerscope_{name}_total"}


def samples(text):
    """{name: [(labels, value)]}; every sample stands behind the TYPE of its family."""
    found, family = {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family = line.split()[2]
        elif not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            assert name.startswith(family), line
            found.setdefault(name, []).append((labels or "", float(value)))
    return found


class Metrics(Case):
    def worked(self):
        """A daemon that has got something from another, with its figures."""
        a, b = self.lab.daemon(), self.lab.daemon()
        source = self.lab.folder / "source"
        source.mkdir()
        (source / "file").write_bytes(os.urandom(1 << 20))
        self.iri, _ = a.publish(source)
        b.cli("get", f"{self.iri}?peer={a.address()}", "-o", self.lab.folder / "copy")
        return b

    def test_vars_begin_as_expvar_s_and_hold_all_of_go_s_memstats(self):
        a = self.lab.daemon()
        status, headers, text = a.http("/debug/vars")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json; charset=utf-8"))
        self.assertTrue(text.startswith('{\n"cmdline": ["'))
        self.assertTrue(text.endswith("\n}\n"))
        figures = json.loads(text)
        self.assertEqual(list(figures), sorted(figures))
        self.assertEqual(figures["cmdline"][1], "daemon")
        memory = figures["memstats"]
        self.assertEqual(list(memory), MEMSTATS)
        self.assertEqual((len(memory["PauseNs"]), len(memory["PauseEnd"])), (256, 256))
        self.assertFalse(memory["EnableGC"])
        self.assertGreater(memory["HeapAlloc"], 1 << 16)
        self.assertGreaterEqual(memory["HeapSys"], memory["HeapInuse"])
        for part in ("store", "sync", "discovery", "dht", "net", "loop", "profiler", "trace", "memstats_source"):
            self.assertIsInstance(figures[part], dict, part)

    def test_every_figure_is_a_metric_with_help_and_type(self):
        a = self.worked()
        text = a.http("/debug/metrics")[2]
        found = samples(text)
        missing = [path for path in leaves(json.loads(a.http("/debug/vars")[2]))
                   if not ELSEWHERE.match(path) and not metric_of(path) & set(found)]
        self.assertEqual(missing, [])
        families = re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text)
        self.assertEqual(len(families), len(set(families)))
        self.assertEqual(re.findall(r"(?m)^# HELP (\S+) .+$", text), [name for name, _ in families])
        for name, kind in families:
            self.assertEqual(name.endswith("_total"), kind == "counter", name)

    def test_histograms_add_up(self):
        found = samples(self.worked().http("/debug/metrics")[2])
        for name in ("peerscope_loop_lag_seconds", "peerscope_trace_duration_seconds"):
            series = {}
            for labels, value in found[name + "_bucket"]:
                series.setdefault(re.sub(r',?le="[^"]*"', "", labels).replace("{}", ""), []).append(value)
            counts = dict(found[name + "_count"])
            self.assertEqual(set(series), set(counts))
            for labels, values in series.items():
                self.assertEqual(values, sorted(values))
                self.assertEqual(values[-1], counts[labels])
        durations = dict(found["peerscope_trace_duration_seconds_count"])
        self.assertEqual(durations['{category="sync.discover"}'], 1)

    def test_no_label_tells_of_objects_or_peers(self):
        a = self.worked()
        text = a.http("/debug/metrics")[2]
        for word in ("hm://", "z6Mk", "12D3", "127.0.0.1", self.iri):
            self.assertNotIn(word, text)
        labels = set(re.findall(r'[{,](\w+)="', text))
        self.assertLessEqual(labels, {"version", "le", "category", "how", "outcome"})

    @unittest.skipIf(shutil.which("promtool") is None, "needs promtool")
    def test_promtool_has_nothing_to_say(self):
        for path in ("/debug/metrics", "/metrics"):
            text = self.worked().http(path)[2] if path == "/metrics" else self.lab.daemon().http(path)[2]
            run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
            self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))

    def test_openmetrics_is_for_who_asks_for_it(self):
        a = self.worked()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
        status, headers, text = a.http("/metrics", headers=accept)
        self.assertEqual(headers["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(text.endswith("\n# EOF\n"))
        for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text):
            self.assertFalse(name.endswith(("_total", "_info")), name)
            if kind == "counter":
                self.assertRegex(text, rf"(?m)^{name}_total[ {{]")
        self.assertEqual(a.http("/metrics")[1]["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")


if __name__ == "__main__":
    unittest.main(verbosity=2)
