#!/usr/bin/env python3
"""kill -9 at any moment loses nothing that was acknowledged, and harms nothing that was stored."""
import contextlib
import os
import random
import sqlite3
import subprocess
import time
import unittest

from harness import PROGRAM, Case

ROUNDS = int(os.environ.get("PEERSCOPE_KILL_ROUNDS", "6"))


class Durability(Case):
    def fill(self, folder, files, size):
        folder.mkdir()
        for i in range(files):
            (folder / f"f{i:04}").write_bytes(os.urandom(size))

    def integrity(self, daemon):
        with contextlib.closing(sqlite3.connect(daemon.data / "store.db")) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

    def test_a_getter_killed_at_any_moment_resumes_and_arrives_identical(self):
        rng = random.Random(5)
        source = self.lab.folder / "source"
        self.fill(source, 400, 50_000)
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, version = a.publish(source)
        hinted = f"{iri}?v={version}&peer={a.address()}"
        for _ in range(ROUNDS):
            get = subprocess.Popen([PROGRAM, "discover", "--data", b.data, hinted], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.02, 0.6))
            b.kill()
            get.wait(60)
            self.integrity(b)
            b.start()
        target = self.lab.folder / "copy"
        b.cli("get", hinted, "-o", target)
        self.assertSameTree(source, target)

    def test_what_was_published_survives_a_kill_right_after(self):
        source = self.lab.folder / "source"
        self.fill(source, 20, 1000)
        a = self.lab.daemon()
        for i in range(ROUNDS):
            (source / "f0000").write_text(f"round {i}\n")
            iri, version = a.publish(source)
            a.kill()
            self.integrity(a)
            a.start()
            target = self.lab.folder / f"copy{i}"
            a.cli("get", f"{iri}?v={version}", "--offline", "-o", target)
            self.assertSameTree(source, target)


if __name__ == "__main__":
    unittest.main(verbosity=2)
