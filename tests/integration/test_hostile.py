"""Real daemons beside a hostile peer: a get takes at most three times as long, and the offender is named."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import Case, tree_digest
from proxy import Proxy

HOSTILE = os.environ.get("HOSTILE_PEER", "build/tests/integration/hostile_peer")
DRIP = 6000  # bytes per second
SLACK_SECONDS = 0.3  # what a busy machine adds to any of them
NAMED_SECONDS = 45  # a mute peer is given up after 15 s, when nobody waits any more


class Hostile(Case):
    def hostile(self, does, inventions=20):
        """Its address."""
        peer = subprocess.Popen([HOSTILE, "7", does, str(inventions)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.addCleanup(self.end, peer)
        return peer.stdout.readline().strip()

    def end(self, peer):
        peer.send_signal(signal.SIGKILL)
        peer.wait(10)
        peer.stdout.close()

    def content(self):
        """(IRI, honest daemon): a small folder."""
        folder = self.lab.folder / "content"
        (folder / "sub").mkdir(parents=True)
        for i in range(5):
            (folder / "sub" / f"{i}.txt").write_text(f"{i}\n" * 1000)
        (folder / "big.bin").write_bytes(os.urandom(3_000_000))
        honest = self.lab.daemon()
        self.folder = folder
        return honest.publish(folder)[0], honest

    def get(self, newcomer, iri, addresses):
        target = self.lab.folder / f"got-{newcomer.data.name}"
        run = newcomer.cli("get", iri + "?" + "&".join("peer=" + a for a in addresses), "-o", target, expect=None)
        self.assertEqual(tree_digest(target), tree_digest(self.folder), run.stderr)
        return newcomer.discovery_seconds()

    def benched(self, daemon):
        return json.loads(daemon.http("/debug/peers?json")[2])["benched"]

    def check(self, does, drip=False, inventions=20):
        iri, honest = self.content()
        alone = self.get(self.lab.daemon(), iri, [honest.address()])
        address = self.hostile(does, inventions)
        with Proxy(address, DRIP if drip else 0) as line:
            newcomer = self.lab.daemon()
            beside = self.get(newcomer, iri, [line.address(), honest.address()])
            print(f"{does}: alone {alone:.2f} s, beside {beside:.2f} s")
            self.assertLessEqual(beside, 3 * alone + SLACK_SECONDS)
            self.wait(lambda: self.benched(newcomer), NAMED_SECONDS)
        row = self.benched(newcomer)[0]
        print(f"  {row['why']}")
        peer = address.rsplit("/", 1)[1]
        self.assertEqual(row["peer"], peer)
        self.assertGreater(row["benched_for_ms"], 0)
        self.assertGreater(row["offences"], 0)
        for page in ("/debug/peers", "/debug/peers?text"):
            text = newcomer.http(page)[2]
            self.assertIn(peer, text)
            self.assertIn(row["why"].split(":")[0], text)
        self.assertEqual(newcomer.log_text().count("a peer is left alone for a while"), 1)
        self.assertIn(f"peer={peer}", newcomer.log_text())

    def test_one_that_lists_inventions_and_drips(self):
        self.check("garbage", drip=True)

    def test_one_that_lists_inventions_and_is_silent(self):
        self.check("silent")

    def test_one_that_says_missing_to_what_it_listed(self):
        self.check("missing", inventions=3000)

    def test_one_that_does_not_answer_at_all(self):
        self.check("mute")

    def test_one_that_reconciles_without_end(self):
        self.check("endless")

    def test_one_that_sends_what_was_not_asked(self):
        self.check("unasked")


if __name__ == "__main__":
    unittest.main()
