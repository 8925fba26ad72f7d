#!/usr/bin/env python3
"""A daemon at home, behind a router, and one on the internet: three network namespaces, made and removed here.

    home 192.168.77.2 -- 192.168.77.1 router 11.0.0.1 -- 11.0.0.2 net

Needs root and nft, and skips what it cannot have. Nothing leaves the namespaces.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import harness
from namespaces import may_make_namespaces, run

GATEWAY = pathlib.Path(__file__).with_name("gateway.py")
OUTSIDE, INSIDE = "11.0.0.1", "192.168.77.1"
NAT = """
table ip nat {{
    chain pre {{ type nat hook prerouting priority -100; }}
    chain post {{ type nat hook postrouting priority 100; oifname "wan" masquerade; }}
}}
"""
CLOSED = """
table ip filter {
    chain in { type filter hook input priority 0; ct state new tcp flags & (syn | ack) == syn drop; }
}
"""


class Homes:
    """The namespaces and their cables."""

    def __init__(self):
        self.names = {h: f"psnat-{os.getpid()}-{h}" for h in ("home", "router", "net")}
        self.processes = []

    def __enter__(self):
        for name in self.names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.cable("home", "lan", "router", "lan")
        self.cable("net", "wan", "router", "wan")
        self.address("router", "wan", f"{OUTSIDE}/24")
        self.address("net", "wan", "11.0.0.2/24")
        self.inside("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def cable(self, a, link_a, b, link_b):
        run("ip", "link", "add", link_a, "netns", self.names[a], "type", "veth", "peer", "name", link_b, "netns", self.names[b])

    def address(self, host, link, address):
        run("ip", "-n", self.names[host], "addr", "add", address, "dev", link)
        run("ip", "-n", self.names[host], "link", "set", link, "up")

    def behind_nat(self):
        self.address("router", "lan", f"{INSIDE}/24")
        self.address("home", "lan", "192.168.77.2/24")
        run("ip", "-n", self.names["home"], "route", "add", "default", "via", INSIDE)
        self.inside("router", "nft", "-f", "-", input=NAT.format())

    def with_addresses_of_its_own(self):
        self.address("router", "lan", "12.0.0.1/24")
        self.address("home", "lan", "12.0.0.2/24")
        run("ip", "-n", self.names["home"], "route", "add", "default", "via", "12.0.0.1")
        run("ip", "-n", self.names["net"], "route", "add", "default", "via", OUTSIDE)

    def command(self, host, *args):
        return ["ip", "netns", "exec", self.names[host], *map(str, args)]

    def inside(self, host, *args, **options):
        return run(*self.command(host, *args), **options)

    def spawn(self, host, *args, **options):
        process = subprocess.Popen(self.command(host, *args), stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process


class HomeDaemon(harness.Daemon):
    """A daemon in a namespace; the command line reaches it through the data folder."""

    def __init__(self, folder, homes, host, listen, *options):
        super().__init__(folder, "--listen", listen, *options)
        self.homes, self.host = homes, host

    def start(self, *_, **__):
        self.log = open(f"{self.data}.log", "a+b")
        self.process = self.homes.spawn(self.host, harness.PROGRAM, "daemon", "--data", self.data, *harness.LOCAL, "--debug-listen",
                                        "127.0.0.1:0", *self.options, stdout=self.log, stderr=self.log)
        self.wait_ready()
        return self

    def network(self):
        return self.json("status")["network"]


@unittest.skipUnless(may_make_namespaces() and shutil.which("nft"), "needs root, network namespaces and nft")
class Nat(unittest.TestCase):
    wait = harness.Case.wait

    def setUp(self):
        self.homes = Homes()
        self.addCleanup(self.homes.__exit__)
        self.homes.__enter__()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="psnat-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, host, listen, *options):
        return HomeDaemon(self.folder / host, self.homes, host, listen, *options).start()

    def pair(self, *options):
        """One at home and one outside, connected by the one at home."""
        home, net = self.daemon("home", "0.0.0.0:4001", *options), self.daemon("net", "11.0.0.2:4001")
        home.cli("peers", "add", self.address_of(net))
        return home, net

    def address_of(self, daemon):
        return daemon.json("status")["listen"][0]

    def gateway(self, kind):
        log = self.folder / "gateway.log"
        self.homes.spawn("router", sys.executable, GATEWAY, kind, OUTSIDE, INSIDE, log)
        self.wait(lambda: log.exists() and "ready" in log.read_text())
        return log

    def diagnosed(self, daemon, expected, seconds=30):
        deadline = time.monotonic() + seconds
        while daemon.network()["diagnosis"] != expected:
            self.assertLess(time.monotonic(), deadline, daemon.network())
            time.sleep(0.1)
        return daemon.network()

    def reached(self, daemon, seconds=30):
        """With LAN and DHT off that does not make it found, and it does not say so."""
        self.wait(lambda: daemon.network()["reachable"] == "yes", seconds)
        said = daemon.network()
        self.assertEqual(said["diagnosis"], "alone")
        self.assertIn("peers outside can connect", said["sentence"])
        return said

    def test_behind_a_nat_it_says_so_and_the_other_is_reached(self):
        self.homes.behind_nat()
        home, net = self.pair()
        said = self.diagnosed(home, "nat")
        self.assertEqual((said["reachable"], said["asked"], said["reached"]), ("no", 1, 0))
        self.assertTrue(said["seen"].startswith(f"/ip4/{OUTSIDE}/tcp/4001"), said)
        self.assertIn("NATed", home.cli("status").stdout)
        page = subprocess.run(self.homes.command("home", "curl", "-s", f"http://{home.debug_host()}/debug/peers?text"),
                              capture_output=True, text=True).stdout
        self.assertRegex(page.splitlines()[0], "^summary +NATed: ")
        self.reached(net)
        # Dialing back left no second connection, and the far side kept its record.
        self.assertEqual([d.json("status")["net"]["conns"] for d in (home, net)], [1, 1])
        self.assertEqual(net.json("status")["sync"]["dialbacks_in"], 1)
        self.assertIn("sync.dialback", home.cli("trace", "list").stdout)
        for daemon in (home, net):
            daemon.stop()

    def test_a_firewall_is_told_from_a_nat(self):
        self.homes.with_addresses_of_its_own()
        self.homes.inside("home", "nft", "-f", "-", input=CLOSED)
        home, _ = self.pair()
        self.assertIn("port 4001", self.diagnosed(home, "firewall")["sentence"])

    def opened(self, kind, external):
        self.homes.behind_nat()
        log = self.gateway(kind)
        home, net = self.pair("--nat", "on")
        said = self.reached(home, seconds=90)
        self.assertEqual(said["nat"]["state"], "mapped")
        self.assertTrue(said["nat"]["external"].startswith(f"/ip4/{OUTSIDE}/tcp/{external}"), said)
        home.stop()
        self.assertIn("unmap tcp", log.read_text())
        net.stop()
        return log

    def test_nat_pmp_opens_a_port_and_closes_it_at_the_end(self):
        log = self.opened("natpmp", 14001)
        self.assertIn("map tcp 14001 192.168.77.2 4001", log.read_text())

    def test_upnp_opens_a_port_and_closes_it_at_the_end(self):
        log = self.opened("upnp", 4001)
        self.assertIn("map tcp 4001 192.168.77.2 4001", log.read_text())

    def test_what_the_dht_announces_is_the_outer_port(self):
        self.homes.behind_nat()
        self.gateway("natpmp")
        net = self.daemon("net", "11.0.0.2:4001", "--dht", "private")
        home = self.daemon("home", "0.0.0.0:4001", "--nat", "on", "--dht", "private", "--dht-router", "11.0.0.2:4001")
        self.wait(lambda: home.network()["nat"]["state"] == "mapped" and home.json("status")["dht"]["state"] == "on")
        iri, _ = home.publish(__file__, "--as", "/outer")
        self.wait(lambda: net.json("status")["dht"]["stored_keys"] == 2)  # the object's and the space's
        net.cli("get", iri, "-o", self.folder / "got")
        self.assertEqual(harness.tree_digest(__file__), harness.tree_digest(self.folder / "got"))
        self.assertIn("dht.announce", home.cli("trace", "list").stdout)
        net.stop()
        home.stop()

    def hostile(self, kind):
        self.homes.behind_nat()
        log = self.gateway(kind)
        home, _ = self.pair("--nat", "on")
        said = self.diagnosed(home, "nat refused", seconds=60)
        self.assertEqual(said["nat"]["failed"], 1, said)
        self.assertLess(home.json("status")["loop"]["max_us"], 1000000)
        home.stop()
        return log.read_text()

    def test_a_gateway_that_answers_nonsense_costs_nothing(self):
        self.assertIn("asked", self.hostile("garbage"))

    def test_a_gateway_that_never_ends_is_cut_off(self):
        self.assertIn("fetched", self.hostile("drip"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
