#!/usr/bin/env python3
"""Diagnostics of a daemon that is well, busy, hung, or not there: doctor, bundle, log, system facts."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import threading
import unittest
import zipfile

from harness import FAILED, OK, PARTIAL, PROGRAM, UNREACHABLE, USAGE, Lab

STACKS = PROGRAM.parent / "peerscope-stacks"


def unzip(content):
    archive = zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content)
    assert archive.testzip() is None
    return {name: archive.read(name) for name in archive.namelist()}


def manifest(parts):
    return {part["name"]: part for part in json.loads(parts["MANIFEST.json"])["parts"]}


class Diagnostics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.daemon = cls.lab.daemon()
        document = cls.lab.folder / "canary-file.txt"
        document.write_text("canary-content")
        cls.iri, cls.version = cls.daemon.publish(document, "--as", "/canary-path/canary-page")
        cls.daemon.cli("discover", cls.iri)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()
        cls.lab.__exit__(None, None, None)

    def bundle(self, *options, expect=OK, daemon=None, env=None):
        with tempfile.TemporaryDirectory() as folder:
            run = (daemon or self.daemon).cli("diag", "bundle", "--seconds", "1", *options, expect=expect, cwd=folder, env=env)
            found = list(pathlib.Path(folder).iterdir())
            self.assertEqual([str(f.name) for f in found], [run.stdout.strip()])
            self.assertRegex(run.stdout, r"^peerscope-bundle-\d{8}T\d{6}Z\.zip$")
            return unzip(found[0])

    # ---- The bundle ----

    def test_a_bundle_has_every_part_and_each_is_what_it_says(self):
        parts = self.bundle()
        table = manifest(parts)
        self.assertNotIn("errors.txt", parts)
        for name, part in table.items():
            self.assertIn(part["result"], ("ok", "skipped"), part)
            if part["result"] == "ok":
                self.assertEqual(part["sha256"], hashlib.sha256(parts[name]).hexdigest(), name)
                self.assertEqual(part["bytes"], len(parts[name]))
        for name in ("vars.json", "sysinfo.json", "version.json", "traces.json", "traces.chrome.json"):
            json.loads(parts[name])
        for name in ("heap.pprof", "goroutine.pprof", "cpu.pprof"):
            self.assertGreater(len(gzip.decompress(parts[name])), 20)
        for name in ("goroutines-start.stacks", "goroutines-end.stacks"):
            self.assertTrue(parts[name].startswith(b"goroutine "), parts[name][:80])
        self.assertIn(b"msg=ready", parts["log.txt"])
        self.assertIn(b"sync.discover", parts["traces.txt"])
        self.assertIn(b"debug-listen", parts["config.txt"])
        self.assertEqual(parts["bin/peerscope"], PROGRAM.read_bytes())
        self.assertEqual(json.loads(parts["MANIFEST.json"])["daemon"], "answers")

    def test_the_binary_is_the_one_that_the_profiles_are_of(self):
        parts = self.bundle()
        build_id = json.loads(parts["version.json"])["build_id"]
        self.assertRegex(build_id, "^[0-9a-f]{40}$")
        self.assertIn(build_id.encode(), gzip.decompress(parts["cpu.pprof"]))
        self.assertIn(bytes.fromhex(build_id), parts["bin/peerscope"])

    def test_the_commands_of_its_readme_work(self):
        parts = self.bundle("--no-binary")
        commands = [line.split() for line in parts["README.txt"].decode().splitlines() if line.startswith("  ")]
        commands = [c for c in commands if c[0] in ("python3", "go") and "-http=:" not in c]
        self.assertEqual(len(commands), 2)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in parts.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            for command in commands:
                if shutil.which(command[0]):
                    subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def secrets(self):
        host = os.uname().nodename
        status = self.daemon.json("status")
        keys = [(self.daemon.data / name).read_bytes() for name in ("node.key", "space.key")]
        names = [self.iri.split("//")[1].split("/")[0], status["peer_id"]]
        texts = ["canary-content", "canary-path", "canary-page", "canary-home", str(self.daemon.data)]
        return [t.encode() for t in texts + names] + keys + ([host.encode()] if len(host) > 8 else [])

    def plain(self, parts):
        for name, content in parts.items():
            if name.startswith("bin/"):
                continue
            yield name, content
            if content[:2] == b"\x1f\x8b":
                yield name, gzip.decompress(content)

    def test_names_and_secrets_do_not_get_out(self):
        home = self.lab.folder / "canary-home"
        home.mkdir(exist_ok=True)
        daemon = Lab.daemon(self.lab, "--log-level", "debug", start=False)
        os.environ["HOME"], before = str(home), os.environ.get("HOME")
        try:
            daemon.start()
            page = home / "canary-page.txt"
            page.write_text("canary-content")
            iri, _ = daemon.publish(page, "--as", "/canary-path/canary-page" + "x" * 200)
            daemon.cli("discover", iri)
            daemon.cli("discover", "hm://" + self.iri.split("//")[1].split("/")[0] + "/canary-path/none", expect=None)
            daemon.http("/debug/traces?text&q=" + iri.replace("/", "%2F").replace(":", "%3A"))
            self.assertIn(b"canary-path", b"".join(c for _, c in self.plain(self.bundle("--raw", daemon=daemon))))
            keys = [bytes.fromhex((daemon.data / n).read_bytes().hex()) for n in ("node.key", "space.key")]
            space = iri.split("//")[1].split("/")[0].encode()
            wanted = self.secrets() + keys + [space, str(daemon.data).encode(), daemon.json("status")["peer_id"].encode()]
            for parts in (self.bundle(daemon=daemon),
                          unzip(daemon.http_bytes("/debug/bundle?seconds=0&binary=0")[2])):
                for name, content in self.plain(parts):
                    for secret in wanted:
                        self.assertNotIn(secret, content, f"{secret} in {name}")
        finally:
            os.environ["HOME"] = before or "/root"
            daemon.stop()

    @staticmethod
    def canary(length):
        """No hexadecimal digit is in it, so that it is nowhere by chance."""
        return "".join(random.choice("ghjkquvwxyz") for _ in range(length))

    def assertNoPieces(self, parts, canaries):
        """Nothing of them is there, be it six characters."""
        pieces = {c[i:i + 6].encode(): c for c in canaries for i in range(len(c) - 5)}
        for name, content in self.plain(parts):
            content = content.lower() if name.endswith(".txt") else content
            found = {content[i:i + 6] for i in range(len(content) - 5)} & pieces.keys()
            for piece in found:
                at = content.index(piece)
                self.fail(f"{piece} of {pieces[piece]} in {name}: {content[max(at - 80, 0):at + 60]}")

    def test_no_piece_of_a_name_gets_out_wherever_it_entered(self):
        names = [self.canary(n) for n in (6, 7, 8, 11, 17, 40, 64, 100, 200, 255, 200, 64, 33, 6)]
        data, config, file, query, missing, setting = (self.canary(n) for n in (20, 12, 30, 10, 80, 9))
        folder = self.lab.folder / config
        folder.mkdir()
        (folder / f"{config}.conf").write_text("log-level = debug\n")
        daemon = self.lab.daemon("--config", folder / f"{config}.conf", start=False)
        daemon.data = self.lab.folder / data
        daemon.start()
        try:
            source = self.lab.folder / file
            source.mkdir()
            (source / f"{file}.txt").write_text(self.canary(1000))
            path = ""
            for name in names:  # each depth of the path is an object of its own
                path = f"{path}/{name}" if len(path) + len(name) < 480 else f"/{name}"
                iri, _ = daemon.publish(source, "--as", path)
                daemon.cli("discover", iri)
            peer = "12D3KooWEraWG3PqSLbZL5HHzEPb2QqCzxXe7SjnU8Vmc89fS3ii"
            space = iri.split("//")[1].split("/")[0]
            strange = f"hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/{missing}"
            daemon.cli("discover", f"{strange}?peer=/ip6/fd12:3456:789a::7/tcp/9/p2p/{peer}", expect=None)
            daemon.cli("peers", "add", f"/ip4/127.0.0.1/tcp/9/p2p/{peer}", expect=None)
            for request in (f"/debug/traces?text&q={query}", f"/v1/objects?iri=hm%3A%2F%2F{query}", f"/{setting}?q={query}",
                            f"/debug/traces?{setting}={query}"):
                daemon.http(request)
                self.ask_socket(daemon, request)
            secrets = [*names, data, config, file, query, missing, setting, peer[8:], space[4:], daemon.json("status")["peer_id"][8:],
                       "fd12:3456:789a::7", str(self.lab.folder).rsplit("-", 1)[1]]
            raw = b"".join(c for _, c in self.plain(self.bundle("--raw", "--no-binary", daemon=daemon)))
            for secret in (names[1], names[9][:100], missing, data, config):
                self.assertIn(secret.encode(), raw)
            self.assertNoPieces(self.bundle("--no-binary", daemon=daemon), secrets)
            self.assertNoPieces(unzip(daemon.http_bytes("/debug/bundle?seconds=0&binary=0")[2]), secrets)
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                self.assertNoPieces(self.bundle("--no-binary", daemon=daemon, expect=PARTIAL), secrets)
            finally:
                daemon.process.send_signal(signal.SIGCONT)
        finally:
            daemon.stop()
        self.assertNoPieces(self.bundle("--no-binary", daemon=daemon), secrets)

    def ask_socket(self, daemon, path):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(daemon.data / "control.sock"))
            s.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            while s.recv(65536):
                pass

    def test_codes_are_the_same_throughout_one_bundle_only(self):
        def code(parts):
            found = set(re.findall(rb"peer-[0-9a-f]{10}", parts["vars.json"]))
            self.assertTrue(found & set(re.findall(rb"peer-[0-9a-f]{10}", parts["log.txt"])))
            return found
        self.assertFalse(code(self.bundle("--no-binary")) & code(self.bundle("--no-binary")))

    def test_nothing_is_kept_by_the_daemon(self):
        before = sorted(p.name for p in self.daemon.data.iterdir())
        self.bundle()
        self.daemon.http_bytes("/debug/bundle?seconds=0&binary=0")
        self.assertEqual(before, sorted(p.name for p in self.daemon.data.iterdir()))

    def test_curl_gets_it_with_a_name(self):
        with tempfile.TemporaryDirectory() as folder:
            url = f"http://{self.daemon.debug_host()}/debug/bundle?seconds=1"
            subprocess.run(["curl", "-sfOJ", url], cwd=folder, check=True)
            found = list(pathlib.Path(folder).iterdir())
            self.assertRegex(found[0].name, r"^peerscope-bundle-\d{8}T\d{6}Z\.zip$")
            self.assertEqual(manifest(unzip(found[0]))["cpu.pprof"]["result"], "ok")

    def test_asking_for_the_head_collects_nothing(self):
        before = json.loads(self.daemon.http("/debug/bundle/status")[2])
        code, headers, body = self.daemon.http("/debug/bundle?seconds=60", "HEAD")
        self.assertEqual((code, body), (200, ""))
        self.assertIn(".zip", headers["Content-Disposition"])
        self.assertEqual(json.loads(self.daemon.http("/debug/bundle/status")[2]), before)
        self.assertFalse(before["active"])

    def test_one_at_a_time_with_progress_and_an_early_end(self):
        got = []
        first = threading.Thread(target=lambda: got.append(self.daemon.http_bytes("/debug/bundle?seconds=60&binary=0")))
        first.start()
        for _ in range(200):
            status = json.loads(self.daemon.http("/debug/bundle/status")[2])
            if status["active"] and status["name"] == "profiles over time":
                break
            time.sleep(0.05)
        self.assertGreater(status["step"], 10)
        code, headers, text = self.daemon.http("/debug/bundle")
        self.assertEqual(code, 409)
        self.assertIn("Retry-After", headers)
        self.assertEqual(self.daemon.http("/debug/bundle/cancel", "POST")[0], 204)
        first.join(20)
        parts = unzip(got[0][2])
        self.assertTrue(json.loads(parts["MANIFEST.json"])["cancelled"])
        self.assertEqual(manifest(parts)["cpu.pprof"]["why"], "cancelled")
        self.assertEqual(manifest(parts)["vars.json"]["result"], "ok")
        self.assertEqual(self.daemon.http("/debug/bundle/cancel", "POST")[0], 409)

    def test_a_client_that_leaves_makes_room_for_the_next(self):
        run = subprocess.run(["curl", "-s", "-o", "/dev/null", "--max-time", "1",
                              f"http://{self.daemon.debug_host()}/debug/bundle?seconds=60"])
        self.assertEqual(run.returncode, 28)
        for _ in range(100):
            if not json.loads(self.daemon.http("/debug/bundle/status")[2])["active"]:
                break
            time.sleep(0.1)
        self.assertEqual(self.daemon.http_bytes("/debug/bundle?seconds=0&binary=0")[0], 200)

    def test_ctrl_c_keeps_what_there_is(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.Popen([PROGRAM, "diag", "bundle", "--data", self.daemon.data, "--seconds", "60"],
                                   cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            time.sleep(2)
            run.send_signal(signal.SIGINT)
            out, _ = run.communicate(timeout=20)
            self.assertEqual(run.returncode, PARTIAL)
            parts = unzip(pathlib.Path(folder) / out.strip())
            self.assertTrue(json.loads(parts["MANIFEST.json"])["cancelled"])

    def test_other_origins_cannot_start_one(self):
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            for method in ("GET", "POST"):
                self.assertEqual(self.daemon.http("/debug/bundle?seconds=0", method, headers=headers)[0], 403)

    def test_wrong_seconds_are_refused(self):
        for text in ("x", "-1", "301", "1.5"):
            self.assertEqual(self.daemon.http(f"/debug/bundle?seconds={text}")[0], 400)

    # ---- The other diagnostics ----

    def test_profiles_become_files_with_the_time_in_their_names(self):
        with tempfile.TemporaryDirectory() as folder:
            for kind, options in (("cpu", ["--seconds", "1"]), ("heap", []), ("heap", []), ("goroutine", [])):
                name = self.daemon.cli("diag", kind, *options, cwd=folder).stdout.strip()
                self.assertRegex(name, rf"^peerscope-{kind}-\d{{8}}T\d{{6}}Z(-\d)?\.pprof$")
                gzip.decompress((pathlib.Path(folder) / name).read_bytes())
            self.assertEqual(len(list(pathlib.Path(folder).iterdir())), 4)

    def test_a_cancelled_profile_saves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.Popen([PROGRAM, "diag", "cpu", "--data", self.daemon.data], cwd=folder,
                                   stderr=subprocess.PIPE, text=True)
            time.sleep(1)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=10)
            self.assertEqual(run.returncode, 130)
            self.assertIn("cancelled, nothing saved", errors)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])

    def test_sys_has_kubos_keys(self):
        for facts in (json.loads(self.daemon.cli("diag", "sys").stdout), json.loads(self.daemon.http("/debug/sys")[2])):
            self.assertGreater(facts["diskinfo"]["free_space"], 0)
            self.assertEqual(facts["runtime"]["os"], "linux")
            self.assertGreater(facts["memory"]["virt"], 0)
            self.assertIn("interface_addresses", facts["net"])
            self.assertIn("libuv", facts["build"]["libraries"])
            self.assertEqual({a["address"] for a in facts["net"]["interface_addresses"]}, {""})

    def test_pages_come_in_three_forms(self):
        for page in ("doctor", "sys", "config", "buildinfo", "logs"):
            json.loads(self.daemon.http(f"/debug/{page}?json")[2])
            self.assertIn("<h1>", self.daemon.http(f"/debug/{page}", headers={"Accept": "text/html"})[2])
            self.assertNotIn("<", self.daemon.http(f"/debug/{page}?text")[2])

    def test_doctor_and_healthy_say_that_it_is_well(self):
        self.assertEqual(self.daemon.cli("diag", "healthy").stdout, "")
        self.assertIn(json.loads(self.daemon.cli("diag", "doctor", "--json").stdout)["verdict"], ("fine", "warning"))

    def test_levels_go_back_by_themselves(self):
        self.daemon.cli("log", "level", "net", "debug", "--for", "1s")
        self.assertEqual(self.daemon.json("log", "level")["net"]["level"], "debug")
        for _ in range(100):
            if self.daemon.json("log", "level")["net"]["level"] == "info":
                break
            time.sleep(0.05)
        self.assertEqual(self.daemon.json("log", "level")["net"], {"level": "info", "seconds_left": 0})
        self.assertIn("no such part", self.daemon.cli("log", "level", "nothing", "debug", expect=USAGE).stderr)
        self.assertIn("1 s or more", self.daemon.cli("diag", "cpu", "--seconds", "0", expect=USAGE).stderr)
        self.assertEqual(self.daemon.http("/debug/logs/level?part=net&level=debug")[0], 405)

    def test_the_log_is_filtered_and_followed(self):
        lines = self.daemon.cli("diag", "log", "--part", "daemon", "--level", "info").stdout.splitlines()
        self.assertTrue(any("msg=ready" in line for line in lines))
        self.assertTrue(all(" sub=daemon " in line for line in lines))
        self.assertEqual(json.loads(self.daemon.http("/debug/logs?json&q=nosuchtext")[2])["lines"], [])
        tail = subprocess.Popen([PROGRAM, "log", "tail", "--data", self.daemon.data], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.daemon.cli("log", "level", "trace", "warn", "--for", "1s")
        self.assertIn("log level changed", tail.stdout.readline())
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(10), OK)
        tail.stdout.close()

    def test_an_iri_still_has_its_versions(self):
        self.assertIn(self.version.split(".")[0], self.daemon.cli("log", self.iri).stdout)

    # ---- What the manual shows ----

    def test_every_example_of_the_manual_runs(self):
        manual = self.daemon.cli("man").stdout
        examples = manual.split(".SH EXAMPLES")[1].split(".fi")[0].replace("\\-", "-").splitlines()
        examples = [line.split() for line in examples if line.startswith("peerscope ")]
        self.assertGreater(len(examples), 5)
        with tempfile.TemporaryDirectory() as folder:
            for _, verb, *rest in examples:
                self.daemon.cli(verb, *rest, cwd=folder)

    def test_the_manual_and_the_completions_are_well_formed(self):
        if shutil.which("man"):
            run = subprocess.run(["man", "-l", "--warnings=w", "-"], input=self.daemon.cli("man").stdout, text=True,
                                 capture_output=True, env={**os.environ, "MANWIDTH": "100"})
            self.assertEqual(run.stderr, "")
            self.assertIn("EXIT STATUS", run.stdout)
        for shell in ("bash", "zsh", "fish"):
            script = self.daemon.cli("completion", shell).stdout
            self.assertIn("bundle", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)
        self.daemon.cli("completion", "tcsh", expect=USAGE)

    def test_bash_completes_verbs_options_and_values(self):
        script = self.daemon.cli("completion", "bash").stdout
        for words, wanted in ((["peerscope", "dia"], "diag"), (["peerscope", "diag", "bun"], "bundle"),
                              (["peerscope", "diag", "bundle", "--no-b"], "--no-binary"),
                              (["peerscope", "daemon", "--dht", "pri"], "private")):
            line = script + "COMP_WORDS=(%s); COMP_CWORD=%d; _peerscope; echo \"${COMPREPLY[@]}\"" % (
                " ".join(words), len(words) - 1)
            run = subprocess.run(["bash"], input=line, text=True, capture_output=True, check=True)
            self.assertEqual(run.stdout.split(), [wanted])

    def test_settings_show_their_origin(self):
        self.assertIn('dht = "on" # default', self.daemon.cli("config", "show", "--origin").stdout)
        shown = self.daemon.cli("config", "show", "--origin", env={"PEERSCOPE_LAN": "off"}).stdout
        self.assertIn('lan = "off" # PEERSCOPE_LAN', shown)
        self.assertIn("node.key", self.daemon.cli("paths").stdout)


class WithoutAnAnswer(unittest.TestCase):
    """The daemon hangs, or is not there."""

    def read(self, daemon, expect):
        with tempfile.TemporaryDirectory() as folder:
            run = daemon.cli("diag", "bundle", expect=expect, cwd=folder)
            return unzip(pathlib.Path(folder) / run.stdout.strip())

    def test_a_hung_daemon_is_looked_at_from_outside(self):
        with Lab() as lab:
            daemon = lab.daemon()
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                doctor = daemon.cli("diag", "doctor", expect=FAILED).stdout
                self.assertIn("does not answer", doctor)
                daemon.cli("diag", "healthy", expect=FAILED)
                daemon.cli("diag", "cpu", expect=UNREACHABLE)
                parts = self.read(daemon, PARTIAL)
            finally:
                daemon.process.send_signal(signal.SIGCONT)
            table = manifest(parts)
            self.assertEqual(json.loads(parts["MANIFEST.json"])["daemon"], "does not answer")
            self.assertIn(b"State:\tT (stopped)", parts["proc/status"])
            self.assertIn(b"does not answer", parts["doctor-outside.txt"])
            self.assertEqual(parts["bin/peerscope"], PROGRAM.read_bytes())
            self.assertGreater(json.loads(parts["sysinfo.json"])["limits"]["descriptors"], 5)
            if STACKS.exists():
                self.assertIn(b"goroutine ", parts.get("threads.stacks", b""), table["threads.stacks"])
            self.assertEqual(table["vars.json"]["result"], "skipped")
            daemon.stop()

    def test_a_daemon_that_hangs_meanwhile_costs_only_what_is_left(self):
        with Lab() as lab:
            daemon = lab.daemon()
            run = subprocess.Popen([PROGRAM, "diag", "bundle", "--data", daemon.data, "--seconds", "2", "-o", "b.zip", "--json"],
                                   cwd=lab.folder, stdout=subprocess.PIPE, text=True)
            time.sleep(1.5)
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                out, _ = run.communicate(timeout=120)
            finally:
                daemon.process.send_signal(signal.SIGCONT)
            self.assertEqual(run.returncode, PARTIAL)
            self.assertGreater(json.loads(out)["failed"], 0)
            parts = unzip(lab.folder / "b.zip")
            self.assertIn("no answer within", parts["errors.txt"].decode())
            self.assertEqual(json.loads(parts["MANIFEST.json"])["daemon"], "has ceased to answer")
            self.assertIn("vars.json", parts)
            self.assertIn("doctor-outside.txt", parts)
            daemon.stop()

    def test_without_a_daemon_there_is_still_something_to_send(self):
        with Lab() as lab:
            daemon = lab.daemon(start=False)
            self.assertIn("No daemon is running", daemon.cli("diag", "doctor", expect=FAILED).stdout)
            json.loads(daemon.cli("diag", "sys").stdout)
            daemon.cli("diag", "vars", expect=UNREACHABLE)
            daemon.cli("diag", "stacks", expect=UNREACHABLE)
            parts = self.read(daemon, OK)
            self.assertEqual(json.loads(parts["MANIFEST.json"])["daemon"], "is not running")
            self.assertIn("sysinfo.json", parts)

    def test_the_doctor_reads_a_wrong_configuration(self):
        with Lab() as lab:
            daemon = lab.daemon(start=False)
            config = lab.folder / "x.conf"
            config.write_text("lisen = 1\n")
            out = daemon.cli("diag", "doctor", "--config", config, expect=FAILED).stdout
            self.assertIn("The configuration is wrong", out)
            self.assertIn("x.conf:1", out)
            daemon.cli("diag", "sys", "--config", config, expect=USAGE)

    def test_it_ends_in_time_while_a_bundle_is_collected(self):
        with Lab() as lab:
            daemon = lab.daemon()
            run = subprocess.Popen(["curl", "-s", "-o", "/dev/null", f"http://{daemon.debug_host()}/debug/bundle?seconds=60"])
            time.sleep(1)
            start = time.monotonic()
            daemon.stop()
            self.assertLess(time.monotonic() - start, 10)
            run.wait(10)


if __name__ == "__main__":
    unittest.main()
