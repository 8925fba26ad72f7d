#!/usr/bin/env python3
"""A crowd on one machine, with made-up keys, wants all of a daemon: others are served all the same, and its memory is bounded."""
import json
import os
import pathlib
import signal
import subprocess
import unittest

import harness

NODE = os.environ.get("CROWD_NODE", str(harness.ROOT / "build" / "sync" / "crowd_node"))
MIB = 1 << 20
# Buffers of all strangers, and as much again for what the allocator keeps, stacks, caches and the file itself.
GROWTH_MAX = 2 * 64 * MIB


def resident_bytes(daemon):
    for line in pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Shares(harness.Case):
    def publisher(self):
        daemon = self.lab.daemon()
        path = self.lab.folder / "film"
        path.write_bytes(os.urandom(16 * MIB))
        iri, version = daemon.publish(path)
        return daemon, iri, version

    def crowd(self, daemon, iri, version, keys, streams, kind):
        process = subprocess.Popen([NODE, daemon.address(), iri, version, str(keys), str(streams), kind],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(json.loads(process.stdout.readline())["ready"])
        return process

    def figures(self, daemon):
        return json.loads(daemon.http("/debug/vars?json")[2])

    def assertServed(self, daemon, iri):
        other = self.lab.daemon()
        out = self.lab.folder / f"got-{other.data.name}"
        other.cli("get", f"{iri}?peer={daemon.address()}", "-o", out, timeout=240)
        self.assertEqual((self.lab.folder / "film").read_bytes(), out.read_bytes())

    def test_sixteen_keys_with_sixteen_idle_streams_each_keep_nobody_out(self):
        daemon, iri, version = self.publisher()
        crowd = self.crowd(daemon, iri, version, 16, 16, "idle")
        self.wait(lambda: self.figures(daemon)["sync"]["active_serves"] >= 16)
        self.assertServed(daemon, iri)
        sync = self.figures(daemon)["sync"]
        self.assertLess(sync["active_serves"], 256)
        self.assertGreater(sync["turned_away"] + sync["gave_way"], 0)
        page = json.loads(daemon.http("/debug/peers?json")[2])["peers"]
        self.assertEqual(16, sum(peer.get("agent") == "crowd" and peer["rank"] == "stranger" for peer in page))
        crowd.send_signal(signal.SIGTERM)
        told = json.loads(crowd.stdout.readline())
        self.assertGreater(told["refused"] + told["lost"], 0)

    def test_forty_peers_that_ask_and_do_not_read_take_little_memory(self):
        daemon, iri, version = self.publisher()
        before = resident_bytes(daemon)
        self.crowd(daemon, iri, version, 40, 16, "unread")
        self.wait(lambda: self.figures(daemon)["sync"]["room_waits"] > 0)
        self.assertServed(daemon, iri)
        figures = self.figures(daemon)
        self.assertLessEqual(figures["sync"]["held_peak_bytes"], 24 * MIB)
        self.assertLess(resident_bytes(daemon) - before, GROWTH_MAX)
        self.assertGreater(figures["sync"]["unread"], 0)


if __name__ == "__main__":
    unittest.main()
