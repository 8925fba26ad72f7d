#!/usr/bin/env python3
"""Who may ask: every rule of debug_http/guard.c tried against a real daemon, one request each.

The debug pages have no password. What must be kept out is other people's code on this machine: a web page in the user's
browser (tests/browser/front.test.js tries those in Chromium), a proxy that makes us public, another user of the machine.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import unittest

from harness import DAEMON_CONFIG, LOCAL, PROGRAM, Case

PAGE = "/debug/pprof/cmdline"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"


class Guard(Case):
    def setUp(self):
        super().setUp()
        self.a = self.lab.daemon()
        host = self.a.debug_host()
        self.address = host.rsplit(":", 1)[0], int(host.rsplit(":", 1)[1])
        self.port = self.address[1]

    def raw(self, request, timeout=10):
        """The whole answer to these bytes."""
        with socket.create_connection(self.address, timeout=timeout) as s:
            s.sendall(request if isinstance(request, bytes) else request.encode())
            answer = b""
            while True:
                try:
                    more = s.recv(65536)
                except ConnectionResetError:
                    break
                if not more:
                    break
                answer += more
        return answer.decode(errors="replace")

    def status(self, *headers, path=PAGE, method="GET", host=None, body=""):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'localhost:{self.port}'}", "Connection: close", *headers]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        answer = self.raw("\r\n".join(lines) + "\r\n\r\n" + body)
        self.assertRegex(answer, r"^HTTP/1\.1 \d{3} ")
        self.last = answer
        return int(answer.split()[1])

    def figures(self):
        return json.loads(self.a.http("/debug/vars?json")[2])

    def captures(self):
        return self.figures()["profiler"]["captures"]

    def rate(self):
        return re.search(r'aria-label="mutex rate"', self.a.http("/debug/pprof/")[2]) and re.search(
            r'value="(\d+)" aria-label="mutex rate"', self.a.http("/debug/pprof/")[2]).group(1)

    # X1, X2, X3: Host

    def test_names_of_this_machine_are_served(self):
        for host in (f"localhost:{self.port}", f"127.0.0.1:{self.port}", f"[::1]:{self.port}", "LOCALHOST", "localhost.",
                     "foo.localhost", "127.5.6.7", "localhost:19099"):
            self.assertEqual(self.status(host=host), 200, host)

    def test_names_of_others_are_refused_and_told_why(self):
        for host in (f"evil.com:{self.port}", "127.0.0.1.evil.com", "localhost.evil.com", f"0.0.0.0:{self.port}",
                     "2130706433", "192.168.1.5"):
            self.assertEqual(self.status(host=host), 403, host)
            self.assertIn("Host header does not name this machine", self.last)
            self.assertIn("ssh -L", self.last)
        for host in ("evil.com@localhost", " "):
            self.assertEqual(self.status(host=host), 400, host)

    def test_two_hosts_or_a_target_elsewhere_are_refused(self):
        self.assertIn(self.status("Host: evil.com"), (400, 403))
        answer = self.raw("GET http://evil.com/debug/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.assertRegex(answer, r"^HTTP/1\.1 40[03] ")

    # X4, X5, X6, X7: what browsers say about who started the request

    def test_fetch_metadata_decides_where_it_is_sent(self):
        for site, expected in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            self.assertEqual(self.status(f"Sec-Fetch-Site: {site}"), expected, site)
        self.assertEqual(self.status(), 200)

    def test_a_rebound_name_gets_no_profile(self):
        before = self.captures()
        self.assertEqual(self.status(f"User-Agent: {BROWSER}", host=f"evil.com:{self.port}", path="/debug/pprof/heap"), 403)
        self.assertEqual(self.captures(), before)

    def test_origins_of_others_are_refused(self):
        for origin in ("http://evil.com", "null", f"https://localhost:{self.port}", f"http://localhost:{self.port + 1}"):
            self.assertEqual(self.status(f"Origin: {origin}"), 403, origin)
        self.assertEqual(self.status(f"Origin: http://localhost:{self.port}"), 200)

    def test_an_image_of_another_page_starts_no_capture(self):
        before = self.captures()
        for path in ("/debug/pprof/profile?seconds=1", "/debug/pprof/heap", "/debug/bundle", "/debug/flame?profile=heap"):
            self.assertEqual(self.status("Referer: http://evil.com/", f"User-Agent: {BROWSER}", path=path), 403, path)
        self.assertEqual(self.captures(), before)
        self.assertFalse(json.loads(self.a.http("/debug/bundle/status")[2])["active"])

    # X8, X9: changes

    def test_a_form_of_another_site_changes_nothing(self):
        form = "Content-Type: application/x-www-form-urlencoded"
        before = self.rate()
        for path, body in (("/debug/pprof/mutex", "rate=1"), ("/debug/pprof/block", "rate=1"),
                           ("/debug/logs/level", "sub=net&level=debug"), ("/debug/bundle", "seconds=1"),
                           ("/debug/pprof-mutex/", "fraction=1"), ("/debug/bundle/cancel", "")):
            self.assertEqual(self.status("Origin: http://evil.com", form, path=path, method="POST", body=body), 403, path)
            self.assertEqual(self.status(f"User-Agent: {BROWSER}", form, path=path, method="POST", body=body), 403, path)
        self.assertEqual(self.rate(), before)

    def test_curl_may_change_and_our_own_form_too(self):
        self.assertEqual(self.status(path="/debug/pprof/mutex?rate=7", method="POST"), 200)
        self.assertEqual(self.rate(), "7")
        self.assertEqual(self.status(f"Origin: http://localhost:{self.port}", f"User-Agent: {BROWSER}",
                                     "Sec-Fetch-Site: same-origin", "Accept: text/html",
                                     "Content-Type: application/x-www-form-urlencoded", path="/debug/pprof/mutex",
                                     method="POST", body="rate=10"), 303)
        self.assertEqual(self.rate(), "10")

    # X10: proxies

    def test_headers_of_a_proxy_are_refused(self):
        for header in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 x", "X-Real-IP: 127.0.0.1",
                       "X-Forwarded-Host: localhost"):
            self.assertEqual(self.status(header), 403, header)
            self.assertIn("not for proxies", self.last)

    @unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
    def test_nginx_in_front_of_it_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            free.close()
            temp = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            pathlib.Path(folder, "nginx.conf").write_text(
                f"daemon off; pid {folder}/pid; error_log {folder}/error; events {{}} http {{ access_log off; {temp}"
                f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{self.port}; "
                "proxy_set_header X-Forwarded-For $remote_addr; } } }")
            nginx = subprocess.Popen(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error"])
            try:
                for _ in range(100):
                    try:
                        with socket.create_connection(("127.0.0.1", port), timeout=1):
                            break
                    except OSError:
                        time.sleep(0.05)
                run = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                                      f"http://127.0.0.1:{port}/debug/"], capture_output=True, text=True, timeout=30)
                self.assertEqual(run.stdout, "403")
            finally:
                nginx.terminate()
                nginx.wait(10)

    # X11, X12: other sites' scripts and frames

    def test_a_preflight_is_not_answered_with_permission(self):
        status = self.status("Origin: http://evil.com", "Access-Control-Request-Method: POST",
                             "Access-Control-Request-Private-Network: true", method="OPTIONS")
        self.assertIn(status, (403, 405))
        self.assertNotIn("access-control-", self.last.lower())

    def paths(self):
        return [p["path"] for p in json.loads(self.a.http("/debug/?json")[2])["pages"]]

    def test_every_page_forbids_frames_and_foreign_code(self):
        for path in [*self.paths(), "/debug/", "/debug/nothing", "/debug/assets/page.css"]:
            self.status(path=path)
            head = self.last.split("\r\n\r\n")[0].lower()
            self.assertIn("content-security-policy: default-src 'none'", head, path)
            self.assertIn("frame-ancestors 'none'", head, path)
            for header in ("x-frame-options: deny", "x-content-type-options: nosniff", "referrer-policy:",
                           "cross-origin-resource-policy: same-origin", "cross-origin-opener-policy: same-origin",
                           "cache-control: no-store"):
                self.assertIn(header, head, path)
            self.assertNotIn("access-control-", head, path)

    # X13: secrets

    def test_no_page_shows_a_key(self):
        secrets = [p.read_bytes() for p in self.a.data.iterdir() if p.name.endswith(".key")]
        self.assertTrue(secrets)
        pages = "".join(self.a.http(f"{path}?json")[2] + self.a.http(f"{path}?html")[2]
                        for path in [*self.paths(), "/debug/", PAGE])
        for secret in secrets:
            for form in (secret.hex(), secret.decode(errors="replace").strip()):
                self.assertNotIn(form, pages)

    # X14: where it listens

    def test_an_address_that_others_reach_is_refused_at_the_start(self):
        for where in ("0.0.0.0:0", "192.0.2.1:9", "[::]:0"):
            with tempfile.TemporaryDirectory() as folder:
                run = subprocess.run([PROGRAM, "daemon", "--data", f"{folder}/node", *LOCAL, "--debug-listen", where],
                                     capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, DAEMON_CONFIG, run.stderr)
            self.assertIn("ssh -L", run.stderr)

    # X15: hostile names

    def test_a_hostile_name_is_escaped_in_every_form(self):
        iri, _ = self.a.publish(__file__, "--as", "/<script>alert(1)</script>")
        self.a.cli("get", iri, "-o", self.lab.folder / "out")
        for path in ("/debug/traces", "/debug/store", "/debug/"):
            for form in ("html", "json", "text"):
                status, headers, text = self.a.http(f"{path}?{form}")
                self.assertEqual(status, 200)
                if form == "html":
                    self.assertNotIn("<script>alert", text, path)
                elif form == "json":
                    json.loads(text)
                    self.assertTrue(headers["Content-Type"].startswith("application/json"))
                else:
                    self.assertTrue(headers["Content-Type"].startswith("text/plain"))

    # X16: the socket

    def test_the_unix_socket_is_for_its_owner_only(self):
        path = self.lab.folder / "debug.sock"
        b = self.lab.daemon(start=False)
        b.options = ("--debug-listen", f"unix:{path}")
        b.start()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        run = subprocess.run(["curl", "-s", "--unix-socket", path, "http://localhost/debug/"], capture_output=True, text=True)
        self.assertIn("peerscope pid", run.stdout)
        if os.getuid() == 0:
            os.chmod(self.lab.folder, 0o755)
            code = f"import os,socket; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(path)!r})"
            other = subprocess.run(["python3", "-c", code], capture_output=True, text=True)
            self.assertIn("PermissionError", other.stderr)

    # X17: floods

    def rss_kb(self):
        text = pathlib.Path(f"/proc/{self.a.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def test_floods_are_bounded_and_leave_others_room(self):
        before = self.rss_kb()
        answer = self.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n")
        self.assertRegex(answer or "HTTP/1.1 431 ", r"^HTTP/1\.1 4\d\d ")
        answer = self.raw(f"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 30}\r\n\r\n")
        self.assertRegex(answer, r"^HTTP/1\.1 413 ")
        idle = []
        for _ in range(200):
            try:
                idle.append(socket.create_connection(self.address, timeout=1))
            except OSError:
                break
        for s in idle[:50]:
            try:
                s.sendall(b"GET / HT")  # and no more
            except OSError:
                pass
        self.assertEqual(self.a.json("status")["state"], "ready")  # its other door is open
        self.assertLess(self.rss_kb() - before, 32 << 10)
        for s in idle:
            s.close()
        self.wait(lambda: self.a.http(PAGE)[0] == 200)

    # X18: reading

    def test_reading_twice_changes_nothing(self):
        def state():
            f = self.figures()
            return (self.rate(), f["log_level"], f["store"]["objects"], f["store"]["subscriptions"],
                    self.a.http("/debug/logs?json")[2] and json.loads(self.a.http("/debug/config?json")[2]))
        paths = [*self.paths(), "/debug/pprof/mutex?rate=1", "/debug/pprof/heap?rate=1", "/debug/pprof-mutex/?fraction=1",
                 "/debug/logs/level?sub=net&level=debug", "/debug/bundle/cancel", "/debug/traces/pin?id=1"]
        before = state()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(2):
                list(pool.map(lambda path: self.a.http_bytes(path), paths))
        self.assertEqual(state(), before)
        self.assertEqual(self.a.http("/debug/bundle/cancel")[0], 405)

    # X19: several users

    def test_the_docs_say_who_can_read(self):
        readme = "\n".join(p.read_text() for p in (pathlib.Path(__file__).resolve().parents[2] / "docs").glob("*.md"))
        readme += (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
        self.assertIn("unix:", readme)
        self.assertRegex(readme, r"(?i)(any|every|other|all) (local )?users?")


if __name__ == "__main__":
    unittest.main(verbosity=2)
