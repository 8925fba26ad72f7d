#!/usr/bin/env python3
"""Objects of many versions: the newest arrives or the get fails; of the others the commits alone."""
import os
import subprocess
import unittest

from harness import NOT_FOUND, Case

MANY_VERSIONS = os.environ["MANY_VERSIONS"]


def fill(daemon, count, *how):
    """A daemon that does not run holds so many versions; returns the IRI."""
    daemon.data.mkdir(mode=0o700, exist_ok=True)
    run = subprocess.run([MANY_VERSIONS, daemon.data, str(count), *how], check=True, capture_output=True, text=True)
    return run.stdout.strip()


class Versions(Case):
    def author(self, count, *how):
        a = self.lab.daemon(start=False)
        iri = fill(a, count, *how)
        a.start()
        return a, iri, f"{iri}?peer={a.address()}"

    def fetched(self, daemon):
        return daemon.json("status")["sync"]["blobs_fetched"]

    def check_newest(self, count, *how):
        _, _, hinted = self.author(count, *how)
        b = self.lab.daemon()
        target = self.lab.folder / f"target{count}{''.join(how)}"
        b.cli("get", hinted, "-o", target)
        self.assertEqual(target.read_text(), f"{count}\n")
        return b

    def test_a_newcomer_gets_the_newest_of_many(self):
        for count in (1, 1000, 1001, 3000):
            b = self.check_newest(count)
            self.assertEqual(self.fetched(b), count + 2, "the commits, and the newest file")
            b.stop()

    def test_times_that_run_backwards_change_nothing(self):
        self.check_newest(2500, "reversed")

    def test_a_follower_that_was_away_catches_up_in_one_run(self):
        _, _, hinted = self.author(4000)
        b = self.lab.daemon(start=False)
        fill(b, 700)
        b.start()
        target = self.lab.folder / "target"
        b.cli("get", hinted, "-o", target)
        self.assertEqual(target.read_text(), "4000\n")
        self.assertEqual(self.fetched(b), 3300 + 2)

    def test_history_comes_when_asked_for_and_a_pinned_version_alone(self):
        a, iri, hinted = self.author(6)
        versions = [v["version"] for v in a.json("log", iri)["versions"]]
        b = self.lab.daemon()
        target = self.lab.folder / "target"
        b.cli("get", hinted, "-o", target)
        self.assertEqual(self.here(b, iri), versions[:1])
        self.assertIn("of 5 of the older versions not all content is here", b.cli("log", iri).stdout)
        old = self.lab.folder / "old"
        b.cli("get", f"{hinted}&v={versions[3]}", "-o", old)
        self.assertEqual(old.read_text(), "3\n")
        self.assertEqual(self.here(b, iri), [versions[0], versions[3]])
        b.cli("discover", hinted, "--history")
        self.wait(lambda: self.here(b, iri) == versions)

    def here(self, daemon, iri):
        """The versions whose content is here, newest first."""
        return [v["version"] for v in daemon.json("log", iri)["versions"] if v["complete"]]

    def test_a_subscription_keeps_history_when_it_is_to(self):
        a, iri, hinted = self.author(4)
        b = self.lab.daemon()
        b.cli("peers", "add", a.address())
        b.cli("subscribe", iri)
        self.wait(lambda: len(self.here(b, iri)) == 1 if b.json("objects")["objects"] else False)
        self.assertFalse(b.json("subscriptions")["subscriptions"][0]["history"])
        b.cli("subscribe", iri, "--history")
        self.assertTrue(b.json("subscriptions")["subscriptions"][0]["history"])
        self.assertIn("with history", b.cli("subscriptions").stdout)
        self.wait(lambda: len(self.here(b, iri)) == 4)

    def test_nothing_of_a_deleted_object_is_fetched_but_its_commits(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        file = self.lab.folder / "file"
        for size in (100_000, 200_000):
            file.write_bytes(os.urandom(size))
            iri, _ = a.publish(file)
        a.cli("publish", "--delete", "--as", "/file")
        hinted = f"{iri}?peer={a.address()}"
        b.cli("get", hinted, "-o", self.lab.folder / "target", expect=NOT_FOUND)
        self.assertEqual(self.fetched(b), 3)


if __name__ == "__main__":
    unittest.main()
