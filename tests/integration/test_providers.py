"""Real daemons behind slow and unplugged lines: a provider more never makes a get slower."""
import os
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import Case, tree_digest
from proxy import Proxy

MEGABYTES = int(os.environ.get("PROVIDERS_MB", "16"))
FAST = 4_000_000  # bytes per second: what a proxy carries even on a busy machine
SLACK_SECONDS = 0.5  # what a busy machine adds to any of them


class Providers(Case):
    def make(self, count):
        """Daemons that all hold one folder; its IRI."""
        folder = self.lab.folder / "content"
        folder.mkdir()
        for i in range(MEGABYTES):
            (folder / f"{i}.bin").write_bytes(os.urandom(1_000_000))
        daemons = [self.lab.daemon() for _ in range(count)]
        iri, _ = daemons[0].publish(folder)
        for other in daemons[1:]:
            other.cli("get", f"{iri}?peer={daemons[0].address()}", "-o", self.lab.folder / f"copy-{other.data.name}")
        self.folder = folder
        return daemons, iri

    def get(self, iri, proxies, unplug=None, after=0.0):
        """Seconds that a newcomer takes to bring it here through these proxies, with one unplugged meanwhile."""
        newcomer = self.lab.daemon()
        hints = "&".join(f"peer={p.address()}" for p in proxies)
        target = self.lab.folder / f"got-{newcomer.data.name}"
        timer = threading.Timer(after, unplug.unplug) if unplug else None
        if timer:
            timer.start()
        newcomer.cli("get", f"{iri}?{hints}", "-o", target, expect=None)
        if timer:
            timer.join()
        self.assertEqual(tree_digest(target), tree_digest(self.folder))
        took = newcomer.discovery_seconds()
        newcomer.stop()
        return took

    def test_a_slow_provider_makes_it_no_slower(self):
        (fast, slow), iri = self.make(2)
        with Proxy(fast.address(), FAST) as a:
            alone = self.get(iri, [a])
        for rate in (125_000, 20_000):
            with Proxy(fast.address(), FAST) as a, Proxy(slow.address(), rate) as b:
                beside = self.get(iri, [b, a])
            print(f"{MEGABYTES} MB: alone {alone:.2f} s, beside one at {rate * 8 // 1000} kbit/s {beside:.2f} s")
            self.assertLessEqual(beside, 1.1 * alone + SLACK_SECONDS)

    def test_one_unplugged_of_three_is_hardly_missed(self):
        daemons, iri = self.make(3)
        with Proxy(daemons[0].address(), FAST) as a, Proxy(daemons[1].address(), FAST) as b:
            two = self.get(iri, [a, b])
        with Proxy(daemons[0].address(), FAST) as a, Proxy(daemons[1].address(), FAST) as b, \
                Proxy(daemons[2].address(), FAST) as c:
            three = self.get(iri, [a, b, c], unplug=c, after=two / 4)
        print(f"{MEGABYTES} MB: from two {two:.2f} s, one of three unplugged {three:.2f} s")
        self.assertLessEqual(three, 1.3 * two + SLACK_SECONDS)


if __name__ == "__main__":
    unittest.main()
