#!/usr/bin/env python3
"""Our DHT node among those of libtorrent and bittorrent-dht: each kind announces, each kind finds.

On 127.0.0.1, where all nodes share an address; in a network namespace where each has an address of its own and libtorrent
enforces BEP 42; and over IPv6 with libtorrent (bittorrent-dht knows only IPv4). What is not installed is left out, and said.
Nothing leaves this machine.
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).parent
ADAPTER = os.environ.get("DHT_ADAPTER", "build/discovery/dht/dht_adapter")
MODULES = os.environ.get("INTEROP_MODULES", "build/interop")
PYTHON = "/usr/bin/python3"  # Debian's modules are Debian's python's
PER_KIND = 6
SETTLE_SECONDS, LOOKUP_SECONDS = 30, 15
PORT = 6881


def has_libtorrent():
    return pathlib.Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True).returncode == 0


def has_bittorrent_dht():
    return shutil.which("node") is not None and (pathlib.Path(MODULES) / "node_modules" / "bittorrent-dht").is_dir()


def commands():
    found = {"ours": [ADAPTER]}
    if has_libtorrent():
        found["libtorrent"] = [PYTHON, str(HERE / "dht_libtorrent.py")]
    if has_bittorrent_dht():
        found["bittorrent-dht"] = ["node", str(HERE / "dht_bittorrent.mjs")]
    return found


COMMANDS = commands()


class Nodes:
    """A process with nodes of one kind."""

    def __init__(self, command, prefix):
        env = dict(os.environ, INTEROP_MODULES=str(pathlib.Path(MODULES).resolve()), PYTHONDONTWRITEBYTECODE="1")
        self.process = subprocess.Popen([*prefix, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env)

    def __call__(self, op, **request):
        self.process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the nodes' process ended at {op}")
        answer = json.loads(line)
        if answer.get("error"):
            raise AssertionError(f"{op}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def text(place):
    ip, port = place
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Net:
    """Nodes of several kinds that know some of each other."""

    def __init__(self, kinds, place, prefix=(), settings=None):
        self.kinds, self.place = kinds, place
        self.ids = {kind: list(range(k * PER_KIND, (k + 1) * PER_KIND)) for k, kind in enumerate(kinds)}
        self.nodes = {kind: Nodes(COMMANDS[kind], prefix) for kind in kinds}
        bootstrap = [place(ids[0]) for ids in self.ids.values()]
        for kind, ids in self.ids.items():
            self.nodes[kind]("start", nodes=[{"id": i, "ip": place(i)[0], "port": place(i)[1]} for i in ids], bootstrap=bootstrap,
                             settings=settings or {})
        self.introduce()

    def introduce(self):
        count = len(self.kinds) * PER_KIND
        for kind, ids in self.ids.items():
            for i in ids:
                self.nodes[kind]("addnode", node=i, addrs=[self.place((i + d) % count) for d in (1, 2, 3, 5)])

    def close(self):
        for nodes in self.nodes.values():
            nodes.close()

    def settle(self):
        """Until every node knows half of the others, or has had its time."""
        end = time.monotonic() + SETTLE_SECONDS
        enough = len(self.kinds) * PER_KIND // 2
        while time.monotonic() < end:
            sizes = {kind: [n["good"] for n in nodes("stat")["nodes"].values()] for kind, nodes in self.nodes.items()}
            if min(map(min, sizes.values())) >= enough:
                break
            time.sleep(0.5)
        print("# nodes in the tables:", sizes, flush=True)

    def announce(self, kind):
        node = self.ids[kind][1]
        key = hashlib.sha1(f"announced by {kind}".encode()).hexdigest()
        port = self.nodes[kind]("announce", node=node, hash=key, port=9000 + node)["port"]
        return key, text((self.place(node)[0], port))

    def find(self, kind, key, wanted):
        """By the first node of the kind and the last; announcements need their time, so it asks until it is there."""
        for node in (self.ids[kind][0], self.ids[kind][-1]):
            end = time.monotonic() + LOOKUP_SECONDS
            while wanted not in (peers := self.nodes[kind]("lookup", node=node, hash=key, timeout=3)["peers"]):
                if time.monotonic() > end:
                    raise AssertionError(f"{kind} node {node} found {peers}, not {wanted}")


@unittest.skipUnless(pathlib.Path(ADAPTER).exists() and len(COMMANDS) > 1, "neither python3-libtorrent nor npm's bittorrent-dht is here")
class Interop(unittest.TestCase):
    def every_direction(self, kinds, place, **options):
        net = Net(kinds, place, **options)
        self.addCleanup(net.close)
        net.settle()
        for announcer in kinds:
            key, wanted = net.announce(announcer)
            for finder in kinds:
                with self.subTest(announced_by=announcer, looked_up_by=finder):
                    net.find(finder, key, wanted)

    def test_on_one_address(self):
        print("# kinds:", *COMMANDS, flush=True)
        self.every_direction(list(COMMANDS), lambda i: ("127.0.0.1", 27000 + i))


def may_make_namespaces():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"psdht-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return False
    # Where the root folder is no mount of its own they can be made, but not entered.
    entered = subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return entered


@unittest.skipUnless(may_make_namespaces(), "needs root and network namespaces")
class OwnAddresses(Interop):
    """In a namespace where whole networks are local, so that each node can have an address that counts as public."""

    test_on_one_address = None

    def setUp(self):
        self.name = f"psdht-{os.getpid()}"
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.name], capture_output=True)
        for command in (["ip", "netns", "add", self.name], ["ip", "-n", self.name, "link", "set", "lo", "up"],
                        ["ip", "-n", self.name, "route", "add", "local", "198.18.0.0/15", "dev", "lo"],
                        [*self.prefix(), "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.ip_nonlocal_bind=1"],
                        ["ip", "-n", self.name, "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"]):
            subprocess.run(command, check=True, capture_output=True)

    def prefix(self):
        return ["ip", "netns", "exec", self.name]

    def test_with_ids_bound_to_addresses(self):
        self.every_direction(list(COMMANDS), lambda i: (f"198.18.{i}.1", PORT), prefix=self.prefix(),
                             settings={"dht_enforce_node_id": True})

    @unittest.skipUnless("libtorrent" in COMMANDS, "python3-libtorrent is not here")
    def test_over_ipv6(self):
        self.every_direction(["ours", "libtorrent"], lambda i: (f"2001:db8:{i:x}::1", PORT), prefix=self.prefix())


if __name__ == "__main__":
    missing = [what for what, here in (("python3-libtorrent", has_libtorrent()), ("bittorrent-dht", has_bittorrent_dht())) if not here]
    if missing:
        print("# left out, not installed:", *missing, flush=True)
    if len(COMMANDS) == 1:
        print("skipped: no other implementation is installed")
        sys.exit(77)
    unittest.main(verbosity=2)
