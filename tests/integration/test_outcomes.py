"""What an answer is worth: old files are never passed off as new ones, and our own failures never as other people's."""
import json
import os
import resource
import unittest

import harness
from harness import DISK_FULL, NO_PEER, NOT_FOUND, PARTIAL, Case

FULL = 4 << 20  # bytes that a file may have when "the disk" is full: more than the log needs


class Filling(harness.Daemon):
    """A daemon whose files can be kept from growing, which is to it what a full disk is."""

    def fill(self, full):
        size = max(FULL, *(f.stat().st_size for f in self.data.iterdir())) if full else resource.RLIM_INFINITY
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Outcomes(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.lab.folder / "notes"
        self.folder.mkdir()
        self.target = self.lab.folder / "copy"

    def filling(self):
        daemon = Filling(self.lab.folder / f"node{len(self.lab.daemons)}")
        self.lab.daemons.append(daemon)
        return daemon.start()

    def publish(self, daemon, text, size=0):
        (self.folder / "note").write_text(text)
        if size:
            (self.folder / "big").write_bytes(os.urandom(size))
        return daemon.publish(self.folder)

    def read(self):
        return (self.target / "note").read_text()

    def test_old_files_of_a_peer_that_is_gone_are_written_and_said_to_be_old(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = self.publish(a, "one")
        hinted = f"{iri}?peer={a.address()}"
        b.cli("get", hinted, "-o", self.target)
        self.publish(a, "two")
        a.stop()
        run = b.cli("get", hinted, "-o", self.target, "--force", expect=PARTIAL)
        self.assertEqual(self.read(), "one")
        self.assertIn("no peer confirmed", run.stderr)
        self.assertIn("1 could not be reached", run.stderr)
        answer = b.json("get", hinted, "-o", self.target, "--force", expect=PARTIAL)
        self.assertEqual((answer["answer"], answer["sure"]), ("unconfirmed", False))
        fresh = self.lab.folder / "fresh"
        run = b.cli("get", hinted, "-o", fresh, "--require-fresh", expect=NO_PEER)
        self.assertIn("--require-fresh", run.stderr)
        self.assertFalse(fresh.exists())
        a.start()
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.target, "--force", "--require-fresh")
        self.assertEqual(self.read(), "two")

    def test_a_peer_that_is_left_alone_is_not_unknown(self):
        author, asker = self.lab.daemon(), self.lab.daemon()
        iri, _ = self.publish(author, "one")
        asker.cli("peers", "add", author.address())
        asker.cli("get", iri, "-o", self.target)
        author.stop()
        for _ in range(2):
            asker.cli("discover", iri, expect=PARTIAL)
        asker.cli("subscribe", iri)
        self.wait(lambda: asker.json("subscriptions")["subscriptions"][0]["ran"])
        found = asker.json("subscriptions")["subscriptions"][0]
        self.assertEqual((found["answer"], found["sure"], found["last_ok"]), ("unconfirmed", False, None))
        self.assertNotIn("no peer is known", found["explanation"] + found["last_error"])
        self.assertEqual(found["peers_asked"] + found["peers_left_alone"], 1, found)

    def test_the_newest_comes_from_another_peer_when_its_author_is_gone(self):
        author, other, asker = self.lab.daemon(), self.lab.daemon(), self.lab.daemon()
        iri, _ = self.publish(author, "one")
        other.cli("peers", "add", author.address())
        asker.cli("peers", "add", author.address())
        asker.cli("peers", "add", other.address())
        for _ in range(2):  # the second one finds it here, and its author is known
            asker.cli("get", iri, "-o", self.target)
        self.publish(author, "two")
        other.cli("discover", iri)
        author.stop()
        asker.cli("get", iri, "-o", self.target)
        self.assertEqual(self.read(), "two")

    def test_a_full_disk_is_our_fault_and_forgotten_when_there_is_room(self):
        a, b = self.lab.daemon(), self.filling()
        iri, _ = self.publish(a, "one")
        hinted = f"{iri}?peer={a.address()}"
        b.cli("get", hinted, "-o", self.target)
        self.publish(a, "two", 8 << 20)
        b.fill(True)
        run = b.cli("get", hinted, "-o", self.target, "--force", expect=DISK_FULL)
        self.assertIn("the disk is full", run.stderr)
        self.assertNotIn("nobody", run.stderr)
        self.assertEqual(self.read(), "one")
        b.fill(False)
        b.cli("get", hinted, "-o", self.target, "--force")
        self.assertEqual(self.read(), "two")

    def test_what_no_room_is_found_for_was_not_missing_elsewhere(self):
        a, b = self.lab.daemon(), self.filling()
        iri, _ = self.publish(a, "one", 8 << 20)
        hinted = f"{iri}?peer={a.address()}"
        b.fill(True)
        run = b.cli("get", hinted, "-o", self.target, expect=DISK_FULL)
        self.assertNotIn("not found", run.stderr)
        b.fill(False)
        b.cli("get", hinted, "-o", self.target)
        self.assertEqual(b.json("status")["discovery"]["benched"], 0)

    def test_a_subscription_is_in_sync_only_as_long_as_somebody_says_so(self):
        a = self.lab.daemon()
        b = self.lab.daemon("--subscription-interval", "1s")
        iri, _ = self.publish(a, "one")
        b.cli("peers", "add", a.address())
        b.cli("subscribe", iri)
        self.wait(lambda: self.subscription(b)["last_ok"])
        self.assertFalse(self.subscription(b)["overdue"])
        a.stop()
        self.wait(lambda: self.subscription(b)["answer"] == "unconfirmed")
        before = self.subscription(b)
        self.wait(lambda: self.subscription(b)["overdue"])
        after = self.subscription(b)
        self.assertEqual(after["last_ok"], before["last_ok"])
        self.assertGreater(after["last_try"], after["last_ok"])
        self.assertTrue(after["last_error"])
        self.assertEqual(after["behind"], {"known": 1, "missing": 0, "missing_blobs": 0})
        self.assertIn("no peer confirmed", b.cli("subscriptions").stdout)
        findings = json.loads(b.http("/debug/doctor?json")[2])["findings"]
        self.assertIn("unconfirmed", [f["name"] for f in findings])

    def test_news_of_a_peer_that_was_away_passes_along_before_the_interval(self):
        a, b, c = (self.lab.daemon("--subscription-interval", "10m") for _ in range(3))
        iri, version = self.publish(a, "one")
        for follower, followed in ((b, a), (c, b)):
            follower.cli("peers", "add", followed.address())
            follower.cli("subscribe", iri)
            self.wait(lambda: self.has(follower, iri, version))
        a.stop()
        self.wait(lambda: b.json("status")["discovery"]["redial_lost"] == 1)
        a.start()
        _, version = self.publish(a, "two")
        self.wait(lambda: self.has(c, iri, version))
        self.assertEqual(b.json("status")["discovery"]["redial_came_back"], 1)

    def has(self, daemon, iri, version):
        return any(v["version"] == version for v in
                   json.loads(daemon.cli("log", "--json", iri, expect=None).stdout or '{"versions": []}')["versions"])

    def subscription(self, daemon):
        return {"answer": "", **daemon.json("subscriptions")["subscriptions"][0]}

    def test_those_who_lack_it_and_those_who_are_gone_are_told_apart(self):
        a, b, c = self.lab.daemon(), self.lab.daemon(), self.lab.daemon()
        iri = f"hm://{a.json('status')['space']}/nothing"
        peers = f"?peer={a.address()}&peer={c.address()}"
        c.stop()
        run = b.cli("get", iri + peers, "-o", self.target, expect=NOT_FOUND)
        self.assertIn("1 answered, 1 could not be reached", run.stderr)
        result = b.json("discover", iri + peers, "--fresh", expect=NOT_FOUND)
        self.assertEqual([result[k] for k in ("answer", "peers_asked", "peers_answered", "peers_unreachable")],
                         ["absent", 2, 1, 1])
        a.stop()
        run = b.cli("get", iri + peers, "--fresh", "-o", self.target, expect=NO_PEER)
        self.assertIn("2 could not be reached", run.stderr)


if __name__ == "__main__":
    unittest.main()
