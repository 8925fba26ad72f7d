#!/usr/bin/env python3
"""What publishing must not do: give away keys, sign a mixture, join or revert what its user has not seen."""
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import CONFLICT, NOT_FOUND, FAILED, PARTIAL, PROGRAM, Case


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


class Unseen(Case):
    """A folder is not published over what it has not seen."""

    def setUp(self):
        super().setUp()
        self.a = self.lab.daemon()
        self.folder = self.lab.folder / "one" / "photos"
        self.folder.mkdir(parents=True)
        self.write("1")

    def write(self, text, folder=None):
        ((folder or self.folder) / "a.txt").write_text(text)

    def second_machine(self):
        """A daemon of the same person: with a copy of its space key."""
        b = self.lab.daemon(start=False)
        b.data.mkdir(mode=0o700)
        shutil.copy(self.a.data / "space.key", b.data / "space.key")
        return b.start()

    def test_an_edit_made_elsewhere_is_not_undone(self):
        iri, _ = self.a.publish(self.folder)
        b = self.second_machine()
        there = self.lab.folder / "there" / "photos"
        there.parent.mkdir()
        b.cli("get", f"{iri}?peer={self.a.address()}", "-o", there)
        self.write("edited there", there)
        b.publish(there)  # the folder holds the version it was given: no question
        self.a.cli("discover", f"{iri}?peer={b.address()}")
        self.write("edited here")
        run = self.a.cli("publish", self.folder, expect=CONFLICT)
        self.assertIn("has not seen", run.stderr)
        self.assertIn("--over", run.stderr)
        self.assertEqual(len(self.a.json("log", iri)["versions"]), 2)
        self.a.publish(self.folder, "--over")
        self.assertEqual(len(self.a.json("log", iri)["versions"]), 3)
        self.write("once more")
        self.a.publish(self.folder)

    def test_two_heads_are_joined_only_when_asked_for(self):
        iri, _ = self.a.publish(self.folder)
        b = self.second_machine()
        there = self.lab.folder / "there" / "photos"
        there.mkdir(parents=True)
        self.write("made without knowledge", there)
        b.publish(there)
        self.a.cli("discover", f"{iri}?peer={b.address()}")
        self.write("2")
        for args in ([self.folder], ["--delete", "--as", "/photos"]):
            run = self.a.cli("publish", *args, expect=CONFLICT)
            self.assertIn("2 versions side by side", run.stderr)
            self.assertIn("--parent", run.stderr)
        heads = [v["version"] for v in self.a.json("log", iri)["versions"] if v["head"]]
        self.assertEqual(len(heads), 2)
        self.assertIn("--parent", self.a.cli("log", iri).stdout)
        self.a.publish(self.folder, "--parent", ".".join(sorted(heads)))
        self.assertEqual(len([v for v in self.a.json("log", iri)["versions"] if v["head"]]), 1)

    def test_another_folder_of_the_same_name_asks(self):
        self.a.publish(self.folder)
        other = self.lab.folder / "two" / "photos"
        other.mkdir(parents=True)
        self.write("other", other)
        run = self.a.cli("publish", other, expect=CONFLICT)
        self.assertIn(str(self.folder), run.stderr)
        self.assertIn("--as", run.stderr)
        self.a.publish(other, "--as", "/other")
        self.a.publish(other, "--over")
        run = self.a.cli("publish", self.folder, expect=CONFLICT)  # this one is behind now
        self.assertIn("--over", run.stderr)

    def test_what_was_never_here_is_not_said_to_be_deleted(self):
        iri, _ = self.a.publish(self.folder, "--as", "/R&D")
        count = len(self.a.json("objects")["objects"])
        for name in ("/typo", "/R%26D"):  # the second as it stands in the IRI
            run = self.a.cli("publish", "--delete", "--as", name, expect=NOT_FOUND)
            self.assertIn("nothing to delete", run.stderr)
            self.assertEqual(run.stdout, "")
        self.assertEqual(len(self.a.json("objects")["objects"]), count)
        self.a.cli("publish", "--delete", "--as", "/typo", "--over")  # known to others, perhaps
        self.a.cli("publish", "--delete", "--as", "/R&D")
        self.assertTrue(self.a.json("objects", iri)["objects"][0]["tombstone"])

    def test_what_was_deleted_here_can_be_published_again(self):
        self.a.publish(self.folder)
        self.a.cli("publish", "--delete", "--as", "/photos")
        self.a.publish(self.folder)


if __name__ == "__main__":
    unittest.main(verbosity=2)
