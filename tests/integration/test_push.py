#!/usr/bin/env python3
"""Profiles are pushed to a server, and discoveries reported to it; it may be slow, broken, picky or absent."""
import base64
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time
import unittest
import uuid

import profile_rules
from harness import PROGRAM, Case, closed_port
from push_double import TOKEN, Server, authority

PROFILES, REPORTS = "PEERSCOPE_PUSH_PROFILES", "PEERSCOPE_PUSH_REPORTS"
QUICK = ("--push-interval", "2s")  # a window of 1 s


class PushCase(Case):
    def daemon(self, *options, profiles=None, reports=None, **more):
        """With connection strings in its environment."""
        strings = {PROFILES: profiles, REPORTS: reports}
        before = dict(os.environ)
        os.environ.update({name: value for name, value in strings.items() if value is not None})
        try:
            return self.lab.daemon(*options, **more)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def skip_if_sanitized(self, daemon):
        """Whose functions' names are not C, and whose allocator is not sampled."""
        if "are not watched" in daemon.http("/debug/pprof/mutex?debug=1")[2]:
            self.skipTest("built with a sanitizer")

    def figures(self, daemon, what="push"):
        return daemon.json("status")[what]

    def flush(self, daemon, seconds=1):
        status, _, text = daemon.http(f"/debug/traceway/flush?seconds={seconds}", "POST")
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def stop_within(self, daemon, seconds):
        start = time.monotonic()
        daemon.stop()
        self.assertLess(time.monotonic() - start, seconds)

    def secret_file(self, text, mode=0o600):
        path = self.lab.folder / "connection"
        path.write_text(text)
        path.chmod(mode)
        return path

    def log_lines(self, daemon, text):
        return [line for line in daemon.log_text().splitlines() if text in line]


@contextlib.contextmanager
def busy(daemon):
    """It has something to do meanwhile."""
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            daemon.http("/debug/pprof/goroutine?debug=2")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Profiles(PushCase):
    def test_nothing_is_sent_unless_asked_for(self):
        with Server() as server:
            a = self.daemon(*QUICK)
            time.sleep(5)
            self.assertEqual(server.connections, 0)
            self.assertEqual((self.figures(a)["state"], self.figures(a, "report")["state"]), ("off", "off"))
            self.assertEqual(a.http("/debug/traceway/flush", "POST")[0], 404)

    def test_a_cycle_is_two_requests_as_the_server_wants_them(self):
        with Server() as server:
            a = self.daemon("--push-service", "caf\u00e9 & co", "--push-server", "a/b c", profiles=server.connection_string())
            done = self.flush(a)
            self.assertEqual((done["sent_cpu"], done["sent_heap"]), (1, 1))
            self.assertEqual([(r.method, r.path) for r in server.requests], [("POST", "/api/profiles/ingest")] * 2)
            for r in server.requests:
                self.assertEqual(r.headers["authorization"], f"Bearer {TOKEN}")
                self.assertEqual(r.headers["content-type"], "application/octet-stream")
                self.assertEqual(int(r.headers["content-length"]), len(r.body))
                self.assertNotIn("content-encoding", r.headers)
                version = a.json("status")["version"]
                self.assertEqual(r.query, {"service": "caf\u00e9 & co", "serverName": "a/b c", "appVersion": version})
                self.assertIn("service=caf%C3%A9%20%26%20co&serverName=a%2Fb%20c&", r.target)
            self.assertEqual(sum(len(r.body) for r in server.requests), done["sent_bytes"])
            cpu, heap = (r.profile() for r in server.requests)
            self.assertIn(("cpu", "nanoseconds"), cpu.types)
            self.assertLessEqual({"inuse_space", "alloc_space"}, {t for t, _ in heap.types})
            self.assertGreater(server.requests[1].time, server.requests[0].time)

    def test_a_strict_server_finds_names_in_it(self):
        with Server() as server:
            a = self.daemon(profiles=server.connection_string())
            self.skip_if_sanitized(a)
            with busy(a):
                self.flush(a, 3)
            for r in server.requests:
                p = r.profile()
                value = [t for t, _ in p.types].index("cpu" if "cpu" in r.types() else "inuse_space")
                total = sum(abs(s.values[value]) for s in p.samples)
                named = sum(abs(s.values[value]) for s in p.samples if all(n for at in s.locations for n in p.names_at(at)))
                self.assertGreater(total, 0, r.types())
                self.assertGreaterEqual(named, total * 0.95)
            if shutil.which("go") is not None:
                for i, r in enumerate(server.requests):
                    path = self.lab.folder / f"{i}.pb.gz"
                    path.write_bytes(r.body)
                    raw = subprocess.run(["go", "tool", "pprof", "-raw", path], capture_output=True, text=True, check=True).stdout
                    self.assertIn("Samples:", raw)

    def test_the_first_cycle_begins_one_interval_after_the_start(self):
        with Server() as server:
            start = time.monotonic()
            a = self.daemon("--push-interval", "4s", profiles=server.connection_string())
            self.wait(lambda: len(server.requests) >= 4)
            self.assertGreaterEqual(server.requests[0].time - start, 6, "one interval and half of it, which is measured")
            self.assertGreaterEqual(server.requests[2].time - server.requests[0].time, 3.5)
            self.assertEqual([("cpu" in r.types(), "inuse_space" in r.types()) for r in server.requests[:4]],
                             [(True, False), (False, True)] * 2)
            # Of what was asked: half the interval.
            self.assertAlmostEqual(server.requests[0].profile().duration / 1e9, 2, delta=0.5)
            self.stop_within(a, 2)

    def test_names_that_are_not_set_are_the_programs_and_the_hosts(self):
        with Server() as server:
            a = self.daemon(profiles=server.connection_string())
            self.flush(a)
            self.assertEqual(server.requests[0].query["service"], PROGRAM.name)
            self.assertEqual(server.requests[0].query["serverName"], socket.gethostname().split(".")[0])

    def test_where_requests_go_follows_from_the_connection_string(self):
        with Server() as server:
            for string in (f"{TOKEN}@http://{server.host}", f"{TOKEN}@http://{server.host}/some/odd/path?x=1#y",
                           f"{TOKEN}@http://user:pass@{server.host}/x"):
                server.requests.clear()
                a = self.daemon(profiles=string)
                self.assertEqual(self.flush(a)["sent_heap"], 1)
                self.assertEqual({r.path for r in server.requests}, {"/api/profiles/ingest"})
                self.assertEqual(server.requests[0].headers["authorization"], f"Bearer {TOKEN}")
                a.stop()

    def test_a_file_names_the_server_too_and_goes_first(self):
        with Server() as server:
            path = self.secret_file(server.connection_string() + "\n")
            a = self.daemon("--push-profiles-file", path, profiles="nonsense")
            self.assertEqual(self.flush(a)["sent_cpu"], 1)

    def test_a_malformed_string_is_said_once_and_the_daemon_comes_up(self):
        for string in ("", "no-at-sign", f"@http://127.0.0.1/", f"{TOKEN}@127.0.0.1/api", f"{TOKEN}@http://127.0.0.1:99999/",
                       f"{TOKEN}@http://", f"{TOKEN}@ftp://127.0.0.1/", f"a b@http://127.0.0.1/", f"{TOKEN}@"):
            a = self.daemon(*QUICK, profiles=string)
            self.assertEqual(self.figures(a)["state"], "off")
            self.assertIn(PROFILES, self.figures(a)["why"])
            said = self.log_lines(a, "profiles are not pushed")
            self.assertEqual(len(said), 1, string)
            self.assertIn(f"setting={PROFILES}", said[0])
            self.assertNotIn(TOKEN, a.log_text())
            a.stop()

    def test_a_file_that_others_may_read_is_not_used(self):
        with Server() as server:
            a = self.daemon("--push-profiles-file", self.secret_file(server.connection_string(), 0o644))
            self.assertIn("chmod 600", self.figures(a)["why"])
            self.assertIn("setting=push-profiles-file", a.log_text())
            gone = self.daemon("--push-profiles-file", self.lab.folder / "gone")
            self.assertEqual(self.figures(gone)["state"], "off")
            self.assertEqual(server.connections, 0)

    def test_a_bad_string_for_profiles_leaves_reports_alone(self):
        with Server() as server:
            a = self.daemon(profiles="bad", reports=server.connection_string())
            self.assertEqual((self.figures(a)["state"], self.figures(a, "report")["state"]), ("off", "on"))
            discover_something(self, a)
            self.wait(lambda: server.reports())

    def test_the_token_shows_nowhere(self):
        with Server() as server:
            a = self.daemon("--log-level", "debug", profiles=server.connection_string(), reports=server.connection_string())
            self.flush(a)
            discover_something(self, a)
            self.wait(lambda: server.reports())
            places = [a.http(path)[2] for path in ("/debug/vars", "/debug/pprof/cmdline", "/debug/sys?json", "/debug/logs?text", "/debug/doctor?json",
                                                   "/debug/traces?json&n=250")]
            places.append(a.cli("config", "show", "--origin", expect=None, env={PROFILES: server.connection_string()}).stdout)
            places.append(pathlib.Path(f"/proc/{a.process.pid}/cmdline").read_text())
            bundle = self.lab.folder / "bundle.zip"
            a.cli("diag", "bundle", "--seconds", "0", "--no-binary", "--output", bundle, env={PROFILES: server.connection_string()})
            shutil.unpack_archive(bundle, self.lab.folder / "bundle")
            files = [p for p in (self.lab.folder / "bundle").rglob("*") if p.is_file()]
            self.assertGreater(len(files), 5)
            places += [p.read_bytes().decode(errors="replace") for p in files] + [a.log_text()]
            for text in places:
                self.assertNotIn(TOKEN, text)
                self.assertNotIn(TOKEN.split("-")[-1], text)


def discover_something(case, daemon, name="secret-name"):
    folder = case.lab.folder / name
    if not folder.exists():
        folder.mkdir()
        (folder / "file").write_text("content")
    iri, _ = daemon.publish(folder)
    daemon.cli("discover", iri)
    return iri


class Failures(PushCase):
    def test_a_failure_of_one_profile_does_not_keep_the_other(self):
        for answer in ((500, {}, b"no"), "close", "garbage", (302, {"Location": "http://127.0.0.1:1/"}, b"")):
            with Server(answer, None) as server:
                a = self.daemon(profiles=server.connection_string())
                done = self.flush(a)
                self.assertEqual((done["sent_cpu"], done["sent_heap"], done["failed_uploads"]), (0, 1, 1), answer)
                self.assertEqual(len(server.requests), 2, "not again")
                self.assertFalse(self.log_lines(a, "level=warn") + self.log_lines(a, "level=error"), "silent")
                a.stop()

    def test_a_failure_is_told_when_debugging(self):
        a = self.daemon("--log-level", "info,daemon=debug", profiles=f"{TOKEN}@http://127.0.0.1:{closed_port()}/")
        done = self.flush(a)
        self.assertEqual(done["failed_uploads"], 2)
        self.assertEqual([line.count("profile=cpu") for line in self.log_lines(a, "was not pushed")], [1, 0])
        self.assertEqual((self.figures(a)["failing"], self.figures(a)["state"]), (2, "failing"))

    def test_a_refused_token_is_warned_of_once_and_left_alone(self):
        with Server((401, {}, b"")) as server:
            a = self.daemon(*QUICK, profiles=server.connection_string())
            self.wait(lambda: self.figures(a)["skipped_held"] >= 2)
            self.assertEqual(len(server.requests), 1, "neither the heap nor another cycle")
            self.assertEqual(len(self.log_lines(a, "refuses the token")), 1)
            self.assertIn(f"server={server.url}", self.log_lines(a, "refuses the token")[0])
            figures = self.figures(a)
            self.assertEqual((figures["unauthorized"], figures["held"], figures["last_status"]), (1, 1, 401))

    def test_a_busy_server_is_asked_again_once_when_it_says(self):
        with Server((503, {"Retry-After": "3"}, b'{"error":"ingest saturated, retry later"}'), None) as server:
            a = self.daemon("--push-interval", "60s", profiles=server.connection_string())
            done = self.flush(a)
            self.assertEqual((done["sent_cpu"], done["sent_heap"], done["failed_uploads"]), (1, 1, 0))
            self.assertEqual(len(server.requests), 3)
            self.assertGreaterEqual(server.requests[1].time - server.requests[0].time, 2.9)
            self.assertEqual(server.requests[0].body, server.requests[1].body)
            self.assertEqual(self.figures(a)["retries"], 1)

    def test_a_server_that_wants_peace_for_longer_has_it(self):
        with Server((429, {"Retry-After": "7"}, b""), None) as server:
            a = self.daemon(*QUICK, profiles=server.connection_string())
            self.wait(lambda: len(server.requests) >= 3)
            self.assertGreaterEqual(server.requests[1].time - server.requests[0].time, 6.9)
            figures = self.figures(a)
            self.assertGreaterEqual(figures["skipped_held"], 2)
            self.assertEqual((figures["held"], figures["retries"]), (1, 0))

    def test_what_is_refused_is_not_sent_again(self):
        for status in (400, 413):
            with Server((status, {}, b"profiling: parse pprof")) as server:
                a = self.daemon(profiles=server.connection_string())
                self.assertEqual(self.flush(a)["failed_uploads"], 2)
                self.assertEqual((len(server.requests), self.figures(a)["retries"]), (2, 0))
                a.stop()

    def test_a_server_from_before_profiles_is_told_once_and_takes_reports(self):
        with Server(old=True) as server:
            a = self.daemon(*QUICK, profiles=server.connection_string(), reports=server.connection_string())
            discover_something(self, a)
            self.wait(lambda: len(server.profiles()) >= 4 and server.reports())
            self.wait(lambda: self.figures(a, "report")["sent_tasks"] == 1)
            self.assertEqual(len(self.log_lines(a, "too old")), 1)

    def test_a_hung_server_costs_neither_memory_nor_time_nor_a_queue(self):
        with Server("hang") as server:
            a = self.daemon(*QUICK, profiles=server.connection_string())
            self.wait(lambda: server.requests)
            before = a.json("status")
            slowest = 0.0
            for _ in range(100):
                start = time.monotonic()
                a.http("/debug/pprof/cmdline")
                slowest = max(slowest, time.monotonic() - start)
                time.sleep(0.05)
            after = a.json("status")
            self.assertEqual(len(server.requests), 1, "the next cycles are left out")
            self.assertGreaterEqual(after["push"]["skipped_busy"], 2)
            self.assertLess(after["memory"]["live_bytes"] - before["memory"]["live_bytes"], 512 << 10)
            self.assertLess(slowest, 1)
            self.stop_within(a, 2)

    def test_answers_that_drip_or_do_not_end_are_cut(self):
        with Server("drip") as server:
            a = self.daemon(*QUICK, profiles=server.connection_string())
            self.wait(lambda: server.requests)
            time.sleep(1)
            self.assertEqual(self.figures(a)["doing"], "sending")
            self.stop_within(a, 2)

    def test_the_end_waits_for_neither_capture_nor_upload(self):
        with Server() as server:
            a = self.daemon("--push-interval", "20s", profiles=server.connection_string())
            flush = threading.Thread(target=a.http, args=("/debug/traceway/flush", "POST"))
            flush.start()
            self.wait(lambda: self.figures(a)["doing"] == "capturing")
            self.stop_within(a, 2)
            flush.join()
            self.assertFalse(server.requests)

    def test_tls_is_verified(self):
        ca, pem = authority(self.lab.folder)
        with Server(tls=pem) as server:
            trusting = self.daemon("--push-ca-file", ca, profiles=server.connection_string())
            self.assertEqual(self.flush(trusting)["sent_heap"], 1)
            seen = len(server.requests)
            wary = self.daemon(profiles=server.connection_string())
            self.assertEqual(self.flush(wary)["failed_uploads"], 2)
            self.assertEqual(len(server.requests), seen)

    def test_a_certificate_of_another_host_is_refused(self):
        ca, pem = authority(self.lab.folder, "DNS:elsewhere.example")
        with Server(tls=pem) as server:
            a = self.daemon("--push-ca-file", ca, profiles=server.connection_string())
            self.assertEqual(self.flush(a)["failed_uploads"], 2)
            self.assertFalse(server.requests)

    def test_a_proxy_of_the_environment_is_used(self):
        with Server(token=TOKEN) as proxy:
            os.environ["http_proxy"] = proxy.url
            self.addCleanup(os.environ.pop, "http_proxy")
            a = self.daemon(profiles=f"{TOKEN}@http://profiles.example/")
            self.assertEqual(self.flush(a)["sent_heap"], 1)
            self.assertTrue(proxy.requests[0].target.startswith("http://profiles.example/api/profiles/ingest?"))

    def test_a_proxy_of_the_environment_has_no_part_in_this_machine(self):
        with Server(token=TOKEN) as server:
            os.environ["http_proxy"] = f"http://127.0.0.1:{closed_port()}"
            self.addCleanup(os.environ.pop, "http_proxy")
            a = self.daemon(profiles=server.connection_string())
            self.assertEqual(self.flush(a)["sent_heap"], 1)


class Sharing(PushCase):
    def test_whoever_asks_for_a_profile_gets_it_while_one_is_taken(self):
        with Server() as server:
            a = self.daemon("--push-interval", "8s", profiles=server.connection_string())
            self.wait(lambda: self.figures(a)["doing"] == "capturing")
            answers = []
            asked = [threading.Thread(target=lambda: answers.append(a.http_bytes("/debug/pprof/profile?seconds=2&hz=250"))) for _ in range(8)]
            for thread in asked:
                thread.start()
            self.wait(lambda: a.json("status")["profiler"]["cpu_captures"] == 9)
            for thread in asked:
                thread.join()
            self.assertEqual([status for status, _, _ in answers], [200] * 8)
            for _, _, body in answers:
                self.assertAlmostEqual(profile_rules.check(body).duration / 1e9, 2, delta=1)
            self.wait(lambda: len(server.requests) >= 2)
            self.assertAlmostEqual(server.requests[0].profile().duration / 1e9, 4, delta=1.5)
            self.assertEqual(self.figures(a)["failed_captures"], 0)

    def test_one_cycle_at_a_time_by_hand(self):
        with Server("hang") as server:
            a = self.daemon(profiles=server.connection_string())
            threading.Thread(target=a.http, args=("/debug/traceway/flush?seconds=1", "POST"), daemon=True).start()
            self.wait(lambda: server.requests)
            self.assertEqual(a.http("/debug/traceway/flush", "POST")[0], 409)
            for seconds in ("0", "31", "-1", "1x", ""):
                self.assertEqual(a.http(f"/debug/traceway/flush?seconds={seconds}", "POST")[0], 400)
            self.assertEqual(a.http("/debug/traceway/flush")[0], 405, "a GET changes nothing")
            self.stop_within(a, 2)


class Pyroscope(PushCase):
    def test_profiles_go_to_its_ingest_endpoint(self):
        with Server(token=None) as server:
            a = self.daemon("--push-format", "pyroscope", "--push-service", "my app", "--push-server", "web{1}", profiles=f"@{server.url}/prefix/")
            start = int(time.time())
            done = self.flush(a, 2)
            self.assertEqual((done["sent_cpu"], done["sent_heap"]), (1, 1))
            self.assertEqual({r.path for r in server.requests}, {"/prefix/ingest"})
            version = a.json("status")["version"]
            for r in server.requests:
                self.assertNotIn("authorization", r.headers)
                self.assertEqual(r.query["name"], f"my_app{{server=web_1_,version={version}}}")
                self.assertEqual((r.query["format"], r.query["spyName"]), ("pprof", "peerscope"))
                self.assertGreaterEqual(int(r.query["from"]), start)
                self.assertIn(int(r.query["until"]) - int(r.query["from"]), (1, 2, 3))
                r.profile()
            self.assertEqual(server.requests[0].query["sampleRate"], "100")
            self.assertIn("inuse_space", server.requests[1].types())

    def test_what_was_allocated_is_sent_as_a_difference(self):
        with Server(token=None) as server:
            a = self.daemon("--push-format", "pyroscope", profiles=f"@{server.url}")
            self.skip_if_sanitized(a)
            with busy(a):
                time.sleep(2)
            before = self.heap(profile_rules.check(a.http_bytes("/debug/pprof/heap")[2]))
            self.flush(a, 1)
            difference = self.heap(server.requests[1].profile())
            self.assertLess(difference["alloc_space"], max(1, before["alloc_space"]))
            self.assertGreater(difference["inuse_space"], before["inuse_space"] / 4, "what is in use is told as it is")

    def heap(self, profile):
        return {t: sum(s.values[i] for s in profile.samples) for i, (t, _) in enumerate(profile.types)}

    def test_profiles_are_pushed_as_json(self):
        with Server(token=None) as server:
            a = self.daemon("--push-format", "pyroscope-push", "--push-service", 'quo"ted', profiles=f"user:pass@{server.url}")
            self.assertEqual(self.flush(a)["sent_heap"], 1)
            for r, kind in zip(server.requests, ("process_cpu", "memory")):
                self.assertEqual((r.path, r.headers["content-type"]), ("/push.v1.PusherService/Push", "application/json"))
                self.assertEqual(base64.b64decode(r.headers["authorization"].removeprefix("Basic ")), b"user:pass")
                series, = json.loads(r.body)["series"]
                labels = {label["name"]: label["value"] for label in series["labels"]}
                self.assertEqual((labels["__name__"], labels["service_name"]), (kind, 'quo"ted'))
                sample, = series["samples"]
                self.assertEqual(uuid.UUID(sample["ID"]).version, 4)
                profile_rules.check(base64.b64decode(sample["rawProfile"], validate=True))


class Parca(PushCase):
    def test_it_is_scraped_as_parca_does(self):
        """Its scraper asks for these, and takes what is gzip and parses."""
        a = self.daemon()
        self.skip_if_sanitized(a)
        with busy(a):
            for path, kind in (("allocs", "alloc_space"), ("block", "contentions"), ("goroutine", "goroutine"), ("mutex", "contentions"),
                               ("profile?seconds=1", "cpu")):
                status, headers, body = a.http_bytes(f"/debug/pprof/{path}", headers={"Accept-Encoding": "gzip", "User-Agent": "parca"})
                self.assertEqual((status, headers.get("Content-Type")), (200, "application/octet-stream"))
                self.assertNotIn("Content-Encoding", headers)
                self.assertIn(kind, {t for t, _ in profile_rules.check(body).types})


class Reports(PushCase):
    def rfc3339(self, text):
        self.assertRegex(text, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
        return datetime.datetime.fromisoformat(text[:26] + "+00:00").timestamp()

    def check_task(self, task):
        """The types of the protocol's specification, and what it says in words."""
        self.assertEqual(set(task), {"id", "endpoint", "duration", "recordedAt", "statusCode", "bodySize", "clientIP", "attributes", "spans", "isTask"})
        self.assertEqual((task["endpoint"], task["isTask"], task["statusCode"], task["bodySize"], task["clientIP"]), ("sync.discover", True, 0, 0, ""))
        self.assertTrue(all(isinstance(v, str) for v in task["attributes"].values()))
        self.assertTrue(isinstance(task["duration"], int) and task["duration"] > 0)
        ids = [task["id"]] + [span["id"] for span in task["spans"]]
        self.assertEqual([uuid.UUID(i).version for i in ids], [4] * len(ids))
        self.assertEqual(len(set(ids)), len(ids))
        start = self.rfc3339(task["recordedAt"])
        self.assertLess(abs(start - time.time()), 60)
        starts = [self.rfc3339(span["startTime"]) for span in task["spans"]]
        self.assertEqual(starts, sorted(starts))
        self.assertGreaterEqual(starts[0], start - 1e-6)
        self.assertLessEqual(sum(span["duration"] for span in task["spans"]), task["duration"])
        self.assertTrue(all(set(span) == {"id", "name", "startTime", "duration"} for span in task["spans"]))

    def test_discoveries_are_tasks_with_their_stages_as_spans(self):
        with Server() as server:
            a = self.daemon(reports=server.connection_string())
            iri = discover_something(self, a)
            a.cli("discover", iri)
            self.wait(lambda: self.figures(a, "report")["sent_tasks"] == 2)
            request = server.reports()[0]
            self.assertEqual((request.headers["content-type"], request.headers["content-encoding"]), ("application/json", "gzip"))
            self.assertEqual(request.headers["authorization"], f"Bearer {TOKEN}")
            report = request.report()
            self.assertEqual(set(report), {"collectionFrames", "appVersion", "serverName"})
            tasks = [t for r in server.reports() for frame in r.report()["collectionFrames"] for t in frame["traces"]]
            self.assertEqual([(frame["stackTraces"], frame["metrics"]) for frame in report["collectionFrames"]], [([], [])])
            for task in tasks:
                self.check_task(task)
            self.assertEqual([s["name"] for s in tasks[0]["spans"]][:3], ["start", "entry", "local"])
            self.assertEqual(tasks[0]["attributes"]["object"], tasks[1]["attributes"]["object"], "the same object, the same pseudonym")
            self.assertRegex(tasks[0]["attributes"]["object"], "^~[0-9a-f]{16}$")
            status = a.json("status")
            for secret in (iri, "secret-name", status["peer_id"], status["space"]):
                self.assertNotIn(secret, json.dumps(report))
            self.assertFalse(server.profiles(), "profiles are another thing")

    def test_pseudonyms_outlive_a_restart(self):
        with Server() as server:
            a = self.daemon(reports=server.connection_string(), start=False)
            os.environ[REPORTS] = server.connection_string()
            self.addCleanup(os.environ.pop, REPORTS)
            seen = []
            for run in (1, 2):
                a.start()
                discover_something(self, a)
                self.wait(lambda: len(server.reports()) == run)
                seen.append(server.reports()[-1].report()["collectionFrames"][0]["traces"][0]["attributes"]["object"])
                a.stop()
            self.assertEqual(seen[0], seen[1])

    def test_a_busy_server_is_asked_again_when_it_says(self):
        with Server((503, {"Retry-After": "6"}, b""), None) as server:
            a = self.daemon(reports=server.connection_string())
            discover_something(self, a)
            self.wait(lambda: self.figures(a, "report")["sent_tasks"] == 1)
            first, second = server.reports()
            self.assertGreaterEqual(second.time - first.time, 5.9)
            self.assertEqual(first.body, second.body)

    def test_a_refused_token_is_warned_of_once(self):
        with Server((401, {}, b"")) as server:
            a = self.daemon(reports=server.connection_string())
            discover_something(self, a)
            self.wait(lambda: self.figures(a, "report")["dropped_failed"] == 1)
            discover_something(self, a)
            time.sleep(6)
            self.assertEqual((len(server.requests), len(self.log_lines(a, "refuses the token"))), (1, 1))
            self.assertIn(f"url={server.url}", self.log_lines(a, "refuses the token")[0])
            self.assertEqual(self.figures(a, "report")["queued"], 1)
            self.stop_within(a, 2)

    def test_a_server_that_hangs_does_not_hold_up_the_end(self):
        with Server("hang") as server:
            a = self.daemon(reports=server.connection_string())
            discover_something(self, a)
            self.wait(lambda: server.requests)
            self.stop_within(a, 2)


if __name__ == "__main__":
    unittest.main()
