"""Real daemons for tests: port 0, temporary folders, driven by the command line and by HTTP.

    with Lab() as lab:
        a, b = lab.daemon(), lab.daemon()
        iri, version = a.publish("/some/folder")
        b.get(iri + "?peer=" + a.address())

Only loopback is used. Every process started here is ended here.
"""
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("PEERSCOPE", ROOT / "build" / "daemon" / "peerscope"))
START_SECONDS = 30
STOP_SECONDS = 40

# Exit codes, as the README lists them.
OK, FAILED, USAGE, UNREACHABLE, PARTIAL, NOT_FOUND, TIMEOUT, BUSY, CONFLICT, DISK_FULL, DENIED, NO_PEER = range(12)
# Nothing is said to other machines.
LOCAL = ("--listen", "127.0.0.1:0", "--dht", "off", "--lan", "off")
DAEMON_ERROR, DAEMON_CONFIG, DAEMON_LOCKED = 1, 2, 3


class Daemon:
    """One daemon process and its data folder, which outlives restarts."""

    def __init__(self, folder, *options):
        self.data = folder
        self.options = options
        self.process = None
        self.wrapper = ()  # a program that runs it

    def start(self, *options, expect_ready=True):
        command = [*self.wrapper, PROGRAM, "daemon", "--data", self.data, *LOCAL, "--debug-listen", "127.0.0.1:0", *self.options, *options]
        self.log = open(f"{self.data}.log", "a+b")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        if expect_ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while not (self.data / "debug.addr").exists():  # the last thing it does
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log_text()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the daemon is not ready:\n{self.log_text()}")
            time.sleep(0.01)

    def stop(self, expect=0):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        self.log.close()
        if code != expect:
            raise AssertionError(f"the daemon ended with {code}:\n{self.log_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        self.log.close()
        for name in ("control.sock", "debug.addr"):
            (self.data / name).unlink(missing_ok=True)

    def log_text(self):
        return pathlib.Path(f"{self.data}.log").read_text(errors="replace")[-8000:]

    # ---- command line ----

    def cli(self, verb, *args, expect=OK, timeout=600, env=None, cwd=None):
        run = subprocess.run([PROGRAM, verb, "--data", self.data, *args], capture_output=True, text=True,
                             timeout=timeout, stdin=subprocess.DEVNULL, cwd=cwd, env={**os.environ, **(env or {})})
        if expect is not None and run.returncode != expect:
            raise AssertionError(f"peerscope {verb} {' '.join(map(str, args))} ended with {run.returncode}, not {expect}\n"
                                 f"stdout: {run.stdout[-2000:]}\nstderr: {run.stderr[-2000:]}")
        return run

    def json(self, verb, *args, **options):
        return json.loads(self.cli(verb, "--json", *args, **options).stdout)

    def publish(self, path, *args):
        """(IRI, version)."""
        lines = self.cli("publish", path, *args).stdout.split()
        return lines[0], lines[1]

    def address(self):
        """A multiaddr with /p2p, as another daemon takes it."""
        addresses = [a for a in self.json("status")["listen"] if "/127.0.0.1/" in a]
        return addresses[0]

    # ---- HTTP ----

    def debug_host(self):
        text = (self.data / "debug.addr").read_text().strip()
        return re.search(r"([0-9.]+|\[::1\]):\d+", text).group(0)

    def http(self, path, method="GET", body=None, headers=None):
        """(status, headers, text)."""
        status, got, content = self.http_bytes(path, method, body, headers)
        return status, got, content.decode()

    def http_bytes(self, path, method="GET", body=None, headers=None):
        connection = http.client.HTTPConnection(self.debug_host(), timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def control(self, method, path, body=None, content_type="application/json"):
        """(status, text) of the control socket."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(str(self.data / "control.sock"))
        try:
            connection.request(method, path, body, {"Content-Type": content_type})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def discovery_seconds(self):
        """How long the last discovery took: a get without the writing of files."""
        found = [t for t in self.traces() if t["category"] == "sync.discover"]
        return max(found, key=lambda t: t["start"])["duration_ns"] / 1e9

    def traces(self, query=""):
        return json.loads(self.http(f"/debug/traces?json{query}")[2])["traces"]


class Lab:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="peerscope-test-"))
        self.daemons = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for daemon in self.daemons:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait(STOP_SECONDS)
        if kind is not None:
            for daemon in self.daemons:
                print(f"---- {daemon.data.name} ----\n{daemon.log_text()}")
        shutil.rmtree(self.folder, onerror=make_writable)

    def daemon(self, *options, start=True):
        daemon = Daemon(self.folder / f"node{len(self.daemons)}", *options)
        self.daemons.append(daemon)
        return daemon.start() if start else daemon


def make_writable(function, path, _):
    os.chmod(os.path.dirname(path), 0o700)
    os.chmod(path, 0o700)
    function(path)


def tree_digest(root):
    """One line per entry: kind, mode, path, content hash or link text. Equal lists mean equal trees."""
    lines = []
    root = pathlib.Path(root)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            lines.append(f"l - {name} -> {os.readlink(path)}")
        elif path.is_dir():
            lines.append(f"d {path.stat().st_mode & 0o777:o} {name}")
        else:
            lines.append(f"f {path.stat().st_mode & 0o777:o} {name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return lines


def closed_port():
    """A loopback port on which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Case(unittest.TestCase):
    """A test with a lab of its own."""

    def setUp(self):
        self.lab = self.enterContext(Lab()) if hasattr(self, "enterContext") else self.enter(Lab())

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def wait(self, condition, seconds=30):
        """Until it is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not come true in time")
            time.sleep(0.05)

    def assertSameTree(self, a, b):
        self.assertEqual(tree_digest(a), tree_digest(b))
