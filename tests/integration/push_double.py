"""A server of profiles and reports that records what comes, and answers as it is told.

It answers as Traceway does: 401 without the token, 400 for bodies it cannot read. `old` is the one before profiles, which takes
nothing that is not compressed; `answers` are given in turn, the last one for good: None = what it thinks itself, (status, headers,
body), "hang", "close", "drip", or "garbage".
"""
import gzip
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse

import profile_rules

TOKEN = "550e8400-e29b-41d4-a716-446655440000"


class Request:
    def __init__(self, handler, body):
        self.time = time.monotonic()
        self.method = handler.command
        self.target = handler.path
        self.path, _, query = handler.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body

    def profile(self):
        return profile_rules.check(self.body)

    def types(self):
        return [t[0] for t in profile_rules.check(self.body).types]

    def report(self):
        return json.loads(gzip.decompress(self.body))


class Server:
    def __init__(self, *answers, tls=None, token=TOKEN, old=False):
        self.answers = list(answers) or [None]
        self.token, self.old = token, old
        self.requests = []
        self.connections = 0
        self.ended = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.connections += 1

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self, body)
                outer.requests.append(request)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if isinstance(answer, str):
                    self.misbehave(answer)
                    return
                status, headers, content = answer or outer.judge(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def misbehave(self, how):
                self.close_connection = True
                if how == "hang":
                    outer.ended.wait(120)
                elif how == "garbage":
                    self.wfile.write(b"\x00\xff is not HTTP at all\r\n\r\n" * 100)
                elif how == "drip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    while not outer.ended.wait(0.2):
                        try:
                            self.wfile.write(b"x")
                        except OSError:
                            return

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{'http' if tls is None else 'https'}://{self.host}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def judge(self, request):
        is_gzip = request.headers.get("content-encoding") == "gzip"
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}, b""
        if self.old and not is_gzip:
            return 400, {}, b'{"error":"gzip: invalid header"}'
        if self.old and request.path == "/api/profiles/ingest":
            return 404, {}, b""
        if is_gzip:
            try:
                gzip.decompress(request.body)
            except (OSError, EOFError):
                return 400, {}, b"Invalid gzip"
        return 200, {"Content-Type": "application/json"}, b"{}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def connection_string(self, path="/api/report"):
        return f"{self.token}@{self.url}{path}"

    def of(self, path):
        return [r for r in self.requests if r.path == path]

    def profiles(self):
        return self.of("/api/profiles/ingest")

    def reports(self):
        return self.of("/api/report")


def authority(folder, name="IP:127.0.0.1"):
    """An authority and a certificate of its for the name: (the authority's file, the server's certificate and key)."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=profiles", "-keyout", "server.key", "-out", "server.csr")
    folder = pathlib.Path(folder)
    (folder / "names").write_text(f"subjectAltName={name}\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names",
            "-out", "server.pem")
    (folder / "both.pem").write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
    return folder / "ca.pem", folder / "both.pem"
