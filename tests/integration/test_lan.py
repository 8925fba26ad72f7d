#!/usr/bin/env python3
"""Peers on a LAN without internet: two network namespaces and a virtual cable between them, made and removed here.

Needs root, and skips what it cannot have. Nothing leaves the namespaces. With Avahi at hand (installed, or unpacked into the
folder $AVAHI_ROOT) it is the judge of what we say on the network.
"""
import json
import os
import pathlib
import queue
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import harness
from namespaces import LanCase, NamespaceDaemon, run

NODE = os.environ.get("LAN_NODE", str(harness.ROOT / "build" / "discovery" / "mdns" / "lan_node"))
AVAHI = os.environ.get("AVAHI_ROOT", "")
WAIT_SECONDS = 20
SERVICE = "_peerscope._tcp"


class Node:
    """A lan_node; its lines are read as they come."""

    def __init__(self, lan, host, seed, listen, *args):
        self.process = lan.spawn(host, NODE, seed, listen, *args, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def wait(self, condition, what, seconds=WAIT_SECONDS):
        """The first line from now on that meets the condition."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{what}; got only {self.seen}") from None
            self.seen.append(line)
            if condition(line):
                return line

    def wait_peer(self):
        return self.wait(lambda line: "peer" in line, "no peer was found")

    def wait_state(self, state, peers=None):
        return self.wait(lambda line: line.get("state") == state and peers in (None, line["peers"]),
                         f"not in state '{state}' with {peers} peers")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return self.wait(lambda line: "closed" in line, "it did not close")


class TwoHosts(LanCase):
    def test_they_find_each_other_and_hear_goodbye(self):
        self.lan.up4()
        a, b = Node(self.lan, "a", 1, "0.0.0.0:4001"), Node(self.lan, "b", 2, "0.0.0.0:4002")
        found = a.wait_peer()
        self.assertEqual(found["dht"], 4002)
        self.assertTrue(found["addrs"][0].startswith("/ip4/192.0.2.2/tcp/4002/p2p/"), found)
        self.assertTrue(b.wait_peer()["addrs"][0].startswith("/ip4/192.0.2.1/tcp/4001/p2p/"))
        a.wait_state("", peers=1)
        end = b.stop()
        a.wait_state("", peers=0)
        self.assertEqual((end["conflicts"], end["malformed"]), (0, 0))

    def test_ipv6_alone_will_do(self):
        for host in "ab":
            self.lan.ip(host, "link", "set", "lan", "up")
        self.lan.up({"a": "fd00:77::1/64", "b": "fd00:77::2/64"})
        a, b = Node(self.lan, "a", 1, "[::]:4001"), Node(self.lan, "b", 2, "[::]:4002")
        self.assertTrue(a.wait_peer()["addrs"][0].startswith("/ip6/fd00:77::2/tcp/4002/p2p/"))
        b.wait_peer()

    def test_link_local_addresses_come_with_their_interface(self):
        for host in "ab":
            self.lan.ip(host, "link", "set", "lan", "up")
        a, b = Node(self.lan, "a", 1, "[::]:4001"), Node(self.lan, "b", 2, "[::]:4002")
        for node, port in ((a, 4002), (b, 4001)):
            self.assertRegex(node.wait_peer()["addrs"][0], f"^/ip6zone/lan/ip6/fe80::[0-9a-f:]+/tcp/{port}/p2p/")

    def test_two_on_one_host_find_each_other(self):
        self.lan.up4()
        one, two = Node(self.lan, "a", 1, "0.0.0.0:4001"), Node(self.lan, "a", 2, "0.0.0.0:4002")
        self.assertTrue(one.wait_peer()["addrs"][0].startswith("/ip4/192.0.2.1/tcp/4002/"))
        two.wait_peer()

    def test_one_that_listens_on_loopback_finds_but_is_not_found(self):
        self.lan.up4()
        b = Node(self.lan, "b", 2, "127.0.0.1:4002")
        a = Node(self.lan, "a", 1, "0.0.0.0:4001")
        b.wait_peer()
        b.wait_state("", peers=1)
        # A third one hears of a by what is said now, and would of b.
        c = Node(self.lan, "b", 3, "0.0.0.0:4003")
        self.assertIn("/tcp/4001/", c.wait_peer()["addrs"][0])
        self.assertIn("/tcp/4003/", a.wait_peer()["addrs"][0])
        self.assertEqual(c.wait_state("")["peers"], 1)

    def test_interfaces_may_come_change_and_go(self):
        a, b = Node(self.lan, "a", 1, "0.0.0.0:4001"), Node(self.lan, "b", 2, "0.0.0.0:4002")
        a.wait_state("no network with multicast")
        self.lan.up4()
        a.wait_peer()
        b.wait_peer()
        a.wait_state("", peers=1)
        self.lan.ip("b", "link", "set", "lan", "down")
        b.wait_state("no network with multicast", peers=0)
        self.lan.ip("b", "addr", "flush", "dev", "lan")
        self.lan.up({"b": "192.0.2.7/24"})
        b.wait_peer()
        b.wait_state("", peers=1)
        # The old address dies out with its time to live, the new one is there at once.
        c = Node(self.lan, "a", 3, "0.0.0.0:4003")
        addresses = c.wait(lambda line: any("/tcp/4002/" in x for x in line.get("addrs", [])), "no b")["addrs"]
        self.assertEqual([x.split("/")[2] for x in addresses], ["192.0.2.7"])

    def test_networks_with_tags_keep_apart(self):
        self.lan.up4()
        red, plain = Node(self.lan, "a", 1, "0.0.0.0:4001", "red"), Node(self.lan, "a", 2, "0.0.0.0:4002")
        also_red = Node(self.lan, "b", 3, "0.0.0.0:4003", "red")
        self.assertIn("/tcp/4003/", red.wait_peer()["addrs"][0])
        self.assertIn("/tcp/4001/", also_red.wait_peer()["addrs"][0])
        self.assertEqual(plain.wait_state("")["peers"], 0)


QUERY = f"""
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
s.settimeout(20)
name = b"".join(bytes([len(x)]) + x for x in b"{SERVICE}.local".split(b".")) + b"\\0"
s.sendto(struct.pack("!6H", 4711, 0, 1, 0, 0, 0) + name + struct.pack("!HH", 12, 1), ("224.0.0.251", 5353))
print(s.recv(9000).hex())
"""


class LegacyAsker(LanCase):
    def test_it_gets_an_answer_of_its_own(self):
        self.lan.up4()
        a = Node(self.lan, "a", 1, "0.0.0.0:4001")
        label = a.wait_state("")["label"]
        reply = bytes.fromhex(run(*self.lan.inside("b", sys.executable, "-c", QUERY, "192.0.2.2")))
        ident, flags, questions, answers, _, additional = struct.unpack("!6H", reply[:12])
        self.assertEqual((ident, flags & 0x8000, questions, answers), (4711, 0x8000, 1, 1))
        self.assertGreaterEqual(additional, 3)
        self.assertIn(label.encode(), reply)


# ---- Beside and against Avahi ----

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy>
</busconfig>
"""
CONFIG = """[server]
host-name=host-{host}
allow-interfaces=lan
disallow-other-stacks={alone}
[publish]
publish-workstation=no
publish-hinfo=no
"""
# A daemon of its own /run, and with the user that it looks up even when it keeps root's rights.
START = """mount -t tmpfs none /run; mkdir -p /run/avahi-daemon
for f in passwd group; do mount --bind {folder}/$f /etc/$f; done
exec {avahi} -f {folder}/avahi.conf --no-drop-root --no-chroot --no-rlimits
"""


def avahi_tool(name):
    for folder in ("usr/sbin", "usr/bin"):
        path = pathlib.Path(AVAHI or "/", folder, name)
        if path.exists():
            return str(path)
    return None


HAVE_AVAHI = all(map(avahi_tool, ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon")))


@unittest.skipUnless(HAVE_AVAHI and shutil.which("unshare"), "needs Avahi and D-Bus")
class Avahi(LanCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pslan-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.env = dict(os.environ)
        if AVAHI:
            self.env["LD_LIBRARY_PATH"] = f"{AVAHI}/usr/lib/{os.uname().machine}-linux-gnu"

    def start(self, host, alone="no"):
        folder = self.folder / host
        folder.mkdir()
        bus = folder / "bus"
        (folder / "bus.conf").write_text(BUS.format(bus=bus))
        (folder / "avahi.conf").write_text(CONFIG.format(host=host, alone=alone))
        for name in ("passwd", "group"):
            text = pathlib.Path("/etc", name).read_text()
            user = "avahi:x:65533:65533::/:/bin/false\n" if name == "passwd" else "avahi:x:65533:\n"
            (folder / name).write_text(text if "\navahi:" in text else text + user)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.lan.spawn(host, avahi_tool("dbus-daemon"), f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile",
                       env=self.env, **quiet)
        self.eventually(bus.exists, "no bus")
        self.env["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={bus}"
        self.lan.spawn(host, "unshare", "-m", "sh", "-c", START.format(folder=folder, avahi=avahi_tool("avahi-daemon")),
                       env=self.env, **quiet)
        self.eventually(lambda: self.browse(host, "-apt") is not None, "no avahi-daemon")

    def eventually(self, condition, what, seconds=WAIT_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(what)
            time.sleep(0.2)

    def tool_env(self, host):
        return {**self.env, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.folder}/{host}/bus"}

    def browse(self, host, *args):
        """Lines of avahi-browse, or None when it cannot ask."""
        done = subprocess.run(self.lan.inside(host, avahi_tool("avahi-browse"), *args), env=self.tool_env(host),
                              capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines() if done.returncode == 0 else None

    def resolved(self, host, label):
        lines = self.browse(host, "-rpt", SERVICE) or []
        return [line.split(";") for line in lines if line.startswith("=") and f";{label};" in line]

    def check_resolved(self, host, label):
        rows = []
        self.eventually(lambda: rows.extend(self.resolved(host, label)) or rows, f"{label} is not resolved on {host}")
        row = next(r for r in rows if r[2] == "IPv4")
        self.assertEqual(row[4], SERVICE)
        self.assertEqual((row[6], row[7], row[8]), (f"{label}.local", "192.0.2.1", "4001"))
        self.assertIn('"v=1"', row[9])
        self.assertIn('"id=12D3KooW', row[9])

    def test_it_shows_and_resolves_us_near_and_far(self):
        self.lan.up4()
        for host in "ab":
            self.start(host)
        a = Node(self.lan, "a", 1, "0.0.0.0:4001")
        label = a.wait_state("")["label"]
        self.check_resolved("b", label)
        self.check_resolved("a", label)
        watcher = self.lan.spawn("b", avahi_tool("avahi-browse"), "-p", SERVICE, env=self.tool_env("b"),
                                 stdout=subprocess.PIPE, text=True)
        lines = iter(watcher.stdout.readline, "")
        self.assertTrue(next(lines).startswith("+;lan;"))
        self.assertEqual(a.stop()["conflicts"], 0)
        self.assertTrue(any(line.startswith("-;") and label in line for line in lines))

    def test_we_find_what_it_publishes(self):
        self.lan.up4()
        self.start("b")
        a = Node(self.lan, "a", 1, "0.0.0.0:4001")
        a.wait_state("")
        peer = "12D3KooW9xCm2jWjNVrwh51SWCQBMYdMyeU3NpT85QhLVkF6PcNM"
        self.lan.spawn("b", avahi_tool("avahi-publish"), "-s", "A Name.of two", SERVICE, "4242", "v=1", f"id={peer}",
                       env=self.tool_env("b"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = a.wait_peer()
        self.assertEqual((found["peer"], found["dht"]), (peer, 0))
        # Whichever of the two links was first.
        self.assertRegex(found["addrs"][0], f"^/(ip4/192.0.2.2|ip6zone/lan/ip6/fe80::[0-9a-f:]+)/tcp/4242/p2p/{peer}$")

    def test_where_it_wants_the_port_for_itself_we_only_look(self):
        self.lan.up4()
        self.start("a", alone="yes")
        a, b = Node(self.lan, "a", 1, "0.0.0.0:4001"), Node(self.lan, "b", 2, "0.0.0.0:4002")
        self.assertIn("/tcp/4002/", a.wait_peer()["addrs"][0])
        a.wait_state("found by nobody: another program keeps port 5353 for itself", peers=1)
        self.assertEqual(b.wait_state("")["peers"], 0)


# ---- The daemon ----

class Daemons(LanCase):
    wait = harness.Case.wait

    def test_a_folder_travels_without_any_configuration(self):
        self.lan.up4()
        self.travel()

    def test_a_folder_travels_over_link_local_addresses(self):
        for host in "ab":
            self.lan.ip(host, "link", "set", "lan", "up")
        self.travel()

    def test_a_folder_travels_where_ipv6_is_switched_off(self):
        self.lan.without_ipv6().up4()
        self.travel()

    def test_a_network_of_ipv6_alone_is_enough(self):
        for host in "ab":
            self.lan.ip(host, "link", "set", "lan", "up")
        self.lan.up({"a": "fd00:77::1/64", "b": "fd00:77::2/64"})
        self.travel()

    def test_who_listens_where_nobody_can_come_is_told(self):
        self.lan.up({"a": "fd00:77::1/64", "b": "fd00:77::2/64"})
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pslan-"))
        self.addCleanup(shutil.rmtree, folder)
        a = NamespaceDaemon(folder / "a", self.lan, "a", "--listen", "0.0.0.0:0").start()
        network = a.json("status")["network"]
        self.assertEqual(network["diagnosis"], "no address")
        self.assertIn("--listen [::]:", network["sentence"])
        doctor = a.json("diag", "doctor", expect=None)
        self.assertEqual([f["name"] for f in doctor["findings"] if f["severity"] == "warning"], ["network"])
        self.lan.ip("a", "addr", "add", "192.0.2.1/24", "dev", "lan")
        self.wait(lambda: a.json("status")["network"]["diagnosis"] == "lan only")
        a.stop()

    def test_what_is_got_right_after_the_start_waits_for_the_first_answer(self):
        self.lan.up4()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pslan-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "file").write_text("at once\n")
        a = NamespaceDaemon(folder / "a", self.lan, "a").start()
        iri, _ = a.publish(folder / "file")
        self.wait(lambda: a.json("status")["lan"]["state"] == "on")
        b = NamespaceDaemon(folder / "b", self.lan, "b").start()
        b.cli("get", iri, "-o", folder / "got")
        self.assertEqual((folder / "got").read_text(), "at once\n")
        for daemon in (a, b):
            daemon.stop()

    def test_a_machine_that_was_cloned_is_found_out(self):
        self.lan.without_ipv6().up4()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pslan-"))
        self.addCleanup(shutil.rmtree, folder)
        a = NamespaceDaemon(folder / "a", self.lan, "a").start()
        twin = NamespaceDaemon(folder / "b", self.lan, "b")
        twin.data.mkdir(mode=0o700)
        shutil.copy(a.data / "node.key", twin.data / "node.key")
        twin.start()

        def found(daemon):
            return [f["sentence"] for f in daemon.json("diag", "doctor", expect=None)["findings"] if f["name"] == "twin"]

        self.wait(lambda: found(a) and found(twin))
        self.assertIn(" at /ip4/192.0.2.2/", found(a)[0])
        self.assertIn(" at /ip4/192.0.2.1/", found(twin)[0])
        for daemon in (a, twin):
            daemon.stop()

    def travel(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="pslan-"))
        self.addCleanup(shutil.rmtree, folder)
        source = folder / "source"
        source.mkdir()
        (source / "a file").write_text("over the LAN\n")
        a = NamespaceDaemon(folder / "a", self.lan, "a").start()
        b = NamespaceDaemon(folder / "b", self.lan, "b").start()
        iri, _ = a.publish(source)
        for daemon in (a, b):
            self.wait(lambda: daemon.json("status")["lan"]["peers"] == 1)
            self.wait(lambda: daemon.json("status")["lan"]["state"] == "on")
        b.cli("get", iri, "-o", folder / "got")
        self.assertEqual(harness.tree_digest(source), harness.tree_digest(folder / "got"))
        for daemon in (a, b):
            daemon.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
