#!/usr/bin/env python3
"""What publishing must not do: give away keys, sign a mixture, join or revert what its user has not seen."""
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import FAILED, PARTIAL, PROGRAM, Case


def can_mount():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


class Keys(Case):
    """Whatever way leads to a data folder, its keys stay where they are."""

    def setUp(self):
        super().setUp()
        self.home = self.lab.folder / "home"
        (self.home / "docs").mkdir(parents=True)
        (self.home / "docs" / "a.txt").write_text("a\n")

    def assertNoKeyOnDisk(self, folder):
        keys = [(d.data / name).read_text() for d in self.lab.daemons for name in ("node.key", "space.key")]
        for path in pathlib.Path(folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                self.assertNotIn(path.read_text(errors="replace"), keys, path)
            self.assertNotIn(path.name, ("node.key", "space.key", "store.db"))

    def test_a_home_with_the_data_folder_in_it_is_published_without_it(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        shutil.copytree(a.data, self.home / ".local" / "state" / "peerscope",
                        ignore=shutil.ignore_patterns("*.sock"))  # another daemon's
        run = a.cli("publish", self.home, expect=PARTIAL)
        self.assertIn("left out: ", run.stderr)
        self.assertIn(".local/state/peerscope (peerscope's own keys and data are never published)", run.stderr)
        iri = run.stdout.split()[0]
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "copy")
        self.assertTrue((self.lab.folder / "copy" / "docs" / "a.txt").exists())
        self.assertNoKeyOnDisk(self.lab.folder / "copy")

    def test_the_parent_of_the_data_folder_in_use_is_published_without_it(self):
        a = self.lab.daemon()
        run = a.cli("publish", a.data.parent, "--as", "/all", "--skip-unreadable", expect=PARTIAL)
        self.assertIn(f"{a.data} (peerscope's own", run.stderr)

    def test_the_data_folder_its_files_and_links_to_them_are_refused(self):
        a = self.lab.daemon()
        link = self.home / "link"
        link.symlink_to(a.data)
        hard = self.home / "notes.txt"
        os.link(a.data / "space.key", hard)
        wal = self.home / "movie.avi"
        os.link(a.data / "store.db-wal", wal)
        copy = self.home / "backup.txt"
        copy.write_text("my key:\n" + (a.data / "space.key").read_text())
        database = self.home / "database"
        shutil.copy(a.data / "store.db", database)
        for path in (a.data, link, a.data / "node.key", hard, wal, copy, database):
            run = a.cli("publish", path, "--as", "/x", expect=FAILED)
            self.assertIn("never published", run.stderr, path)
            self.assertEqual(run.stdout, "")
        self.assertEqual(a.json("objects")["objects"], [])

    @unittest.skipUnless(can_mount(), "mount namespaces cannot be entered here")
    def test_a_bind_mount_of_the_data_folder_is_left_out(self):
        a = self.lab.daemon()
        mount = self.home / "innocent"
        mount.mkdir()
        run = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && exec "$3" publish --data "$1" "$4"', "sh",
                              a.data, mount, PROGRAM, self.home], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, PARTIAL, run.stderr)
        self.assertIn("innocent (peerscope's own", run.stderr)

    def test_the_store_refuses_a_key_whoever_hands_it_over(self):
        a = self.lab.daemon()
        key = (a.data / "space.key").read_bytes()
        batch = b"\x00" + len(key).to_bytes(4, "big") + key  # docs/control.md
        status, text = a.control("POST", "/v1/blobs", batch, "application/octet-stream")
        self.assertGreaterEqual(status, 400)
        self.assertIn("never published", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
