#!/usr/bin/env python3
"""Three daemons on loopback find each other through a DHT of their own, and through nothing else."""
import socket
import unittest

from harness import NOT_FOUND, USAGE, Case


def free_port():
    """A port number that is free for both TCP and UDP, now."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return tcp.getsockname()[1]


class Dht(Case):
    def daemons(self, count, *options):
        ports = [free_port() for _ in range(count)]
        routers = [o for port in ports for o in ("--dht-router", f"127.0.0.1:{port}")]
        return [self.lab.daemon("--dht", "private", "--listen", f"127.0.0.1:{port}", *routers, *options) for port in ports]

    def joined(self, *daemons):
        for daemon in daemons:
            self.wait(lambda: daemon.json("status")["dht"]["state"] == "on")

    def announced(self, daemon, keys):
        """So many keys, none of them due, and as many stores acknowledged: what settles is not due either."""
        def done():
            dht = daemon.json("status")["dht"]
            return dht["announcements"] == keys and dht["announcements_due"] == 0 and dht["announces"] >= keys
        self.wait(done)

    def test_an_object_is_found_through_the_dht_alone(self):
        a, b, c = self.daemons(3)
        self.joined(a, b, c)
        self.assertEqual(a.json("status")["dht"]["port"], int(a.address().split("/")[4]))
        iri, _ = a.publish(__file__, "--as", "/found")
        self.announced(a, 2)
        target = self.lab.folder / "found"
        c.cli("get", iri, "-o", target)
        self.assertSameTree(__file__, target)
        span = next(s for t in c.traces("&category=sync.discover") for s in t["spans"] if s["category"] == "sync.discover")
        self.assertEqual(span["outcome"], "dht")
        marks = [m["text"] for m in span["marks"]]
        for mark in ("DHT lookup start", "DHT peer sync start"):
            self.assertIn(mark, marks)
        self.assertLess(marks.index("DHT lookup start"), marks.index("DHT peer sync start"))

    def test_what_nobody_announced_is_not_found(self):
        a, b = self.daemons(2)
        self.joined(a, b)
        iri = a.publish(__file__, "--as", "/there")[0].replace("/there", "/elsewhere")
        run = b.cli("discover", iri, "--timeout", "60s", expect=None)
        self.assertEqual(run.returncode, NOT_FOUND, run.stderr)

    def test_a_subscription_is_announced_once_it_is_in_sync(self):
        a, b, c = self.daemons(3)
        iri, _ = a.publish(__file__, "--as", "/kept")
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "first")
        b.cli("subscribe", iri)
        self.joined(a, b, c)
        self.wait(lambda: b.json("subscriptions")["subscriptions"][0]["last_ok"])
        b.cli("subscribe", f"{iri}/below")  # told that something changed, it looks again
        self.announced(b, 2)
        a.stop()
        c.cli("get", iri, "-o", self.lab.folder / "second")
        b.cli("unsubscribe", iri)
        self.announced(b, 0)

    def test_an_announcement_is_a_trace(self):
        a, b = self.daemons(2)
        self.joined(a, b)
        a.publish(__file__, "--as", "/traced")
        self.announced(a, 2)
        span = next(s for t in a.traces("&category=dht.announce") for s in t["spans"])
        self.assertEqual(span["category"], "dht.announce")
        attributes = span["attrs"]
        for name in ("queries", "replies", "timeouts", "rounds", "stored"):
            self.assertIn(name, attributes)
        self.assertGreater(attributes["stored"], 0)
        self.assertTrue(any(m["text"].startswith("round 1: ") for m in span["marks"]), span["marks"])

    def test_a_flood_costs_little_and_sync_goes_on(self):
        a, b = self.daemons(2)
        self.joined(a, b)
        iri, _ = a.publish(__file__, "--as", "/flooded")
        self.announced(a, 2)
        target = ("127.0.0.1", a.json("status")["dht"]["port"])
        packets = [bytes(range(256)), b"d" * 1400, b"d1:ad2:id20:" + b"x" * 20 + b"e1:q4:ping1:t2:aa1:y1:qe",
                   b"d1:rd2:id20:" + b"x" * 20 + b"5:nodes1300:" + b"y" * 1300 + b"e1:t4:zzzz1:y1:re",
                   b"d1:eli203e4:evile1:t4:zzzz1:y1:ee", b"d1:q9:get_peers1:t" + b"9999999:x"]
        sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(20)]
        before = a.json("status")["dht"]
        for round_ in range(300):
            for s in sockets:
                for packet in packets:
                    s.sendto(packet, target)
            if round_ == 150:
                b.cli("get", iri, "-o", self.lab.folder / "flooded")
        for s in sockets:
            s.close()
        self.assertSameTree(__file__, self.lab.folder / "flooded")
        after = a.json("status")["dht"]
        for counter in ("dropped_malformed", "dropped_limit", "dropped_stray"):
            self.assertGreater(after[counter], before[counter], counter)
        self.assertLess(after["bytes_out"] - before["bytes_out"], (after["bytes_in"] - before["bytes_in"]) / 10)

    def test_nodes_are_remembered_over_a_restart(self):
        a, b = self.daemons(2)
        self.joined(a, b)
        b.stop()
        self.assertTrue((b.data / "dht.state").read_bytes().startswith(b"PDHT"))
        self.assertEqual((b.data / "dht.state").stat().st_mode & 0o777, 0o600)
        b.start("--dht-router", "127.0.0.1:9")
        self.joined(b)

    def test_a_damaged_state_file_is_left_behind(self):
        a, b = self.daemons(2)
        self.joined(a, b)
        b.stop()
        (b.data / "dht.state").write_bytes(b"PDHT\x01nonsense")
        b.start()
        self.joined(b)
        b.stop()
        self.assertGreater((b.data / "dht.state").stat().st_size, 20)

    def test_a_private_dht_without_routers_asks_nobody(self):
        a = self.lab.daemon("--dht", "private")
        status = a.json("status")["dht"]
        self.assertEqual((status["state"], status["packets_out"]), ("bootstrapping", 0))

    def test_a_router_that_is_none_is_a_usage_error(self):
        a = self.lab.daemon(start=False)
        for router in ("nonsense", "host:", ":1", "host:70000", "127.0.0.1:1,,127.0.0.1:2"):
            run = a.cli("daemon", "--check-config", "--dht-router", router, expect=USAGE)
            self.assertIn("HOST:PORT", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
