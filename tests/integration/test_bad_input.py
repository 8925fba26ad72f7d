#!/usr/bin/env python3
"""Bad input gets a message that says what, why and what to do, and an exit code of its own; nothing stored is harmed."""
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import (CONFLICT, DAEMON_CONFIG, DAEMON_LOCKED, DENIED, DISK_FULL, FAILED, LOCAL, NO_PEER, NOT_FOUND, PARTIAL, PROGRAM,
                     UNREACHABLE, USAGE, Case, Daemon, closed_port)

SPACE = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


class BadInput(Case):
    def test_an_unknown_iri_is_not_found(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        run = b.cli("get", f"hm://{SPACE}/nothing?peer={a.address()}", "-o", self.lab.folder / "x", expect=NOT_FOUND)
        self.assertIn("not found", run.stderr.lower())
        self.assertFalse((self.lab.folder / "x").exists())

    def test_without_any_peer_the_message_says_what_to_do(self):
        a = self.lab.daemon()
        run = a.cli("get", f"hm://{SPACE}/nothing", expect=NOT_FOUND)
        self.assertIn("peers add", run.stderr)

    def test_malformed_iris_are_usage_errors_that_say_where(self):
        a = self.lab.daemon()
        for iri in ("nonsense", "hm://", "hm://zzzz/x", f"hm://{SPACE}/a//b", f"hm://{SPACE}/../x",
                    f"hm://{SPACE}/x?v=nothash", f"hm://{SPACE}/x?peer=nonsense", f"hm://{SPACE}/x?unknown=1",
                    f"http://{SPACE}/x", f"hm://{SPACE}/" + "x" * 5000):
            run = a.cli("discover", iri, expect=USAGE)
            self.assertRegex(run.stderr, r"^peerscope: not an IRI: [^\ufffd]+\n  [^\ufffd]+\n  An IRI reads [^\ufffd\n]+\n$", iri[:80])

    def test_an_unreachable_peer_is_named_with_the_reason(self):
        a = self.lab.daemon()
        port = closed_port()
        run = a.cli("get", f"hm://{SPACE}/x?peer=/ip4/127.0.0.1/tcp/{port}", expect=NO_PEER)
        self.assertIn("refused", run.stderr.lower())

    def test_a_peer_that_is_somebody_else_is_refused(self):
        a, b, c = self.lab.daemon(), self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(__file__)
        wrong = b.address().rsplit("/p2p/", 1)[0] + "/p2p/" + a.address().rsplit("/p2p/", 1)[1]
        run = c.cli("get", f"{iri}?peer={wrong}", expect=NO_PEER)
        self.assertIn("identity", run.stderr.lower())

    def test_no_daemon_is_unreachable_and_says_how_to_start_one(self):
        daemon = self.lab.daemon(start=False)
        run = daemon.cli("status", expect=UNREACHABLE)
        self.assertIn("peerscope daemon", run.stderr)

    def test_a_second_daemon_on_the_same_data_is_locked_out(self):
        a = self.lab.daemon()
        run = subprocess.run([PROGRAM, "daemon", "--data", a.data, *LOCAL, "--debug-listen", "127.0.0.1:0"], capture_output=True,
                             text=True, timeout=30)
        self.assertEqual(run.returncode, DAEMON_LOCKED, run.stderr)
        self.assertIn(str(a.process.pid), run.stderr)
        a.cli("status")

    def test_a_foreign_debug_address_is_refused_with_the_ssh_line(self):
        a = self.lab.daemon(start=False)
        run = subprocess.run([PROGRAM, "daemon", "--data", a.data, *LOCAL, "--debug-listen", "0.0.0.0:0"], capture_output=True,
                             text=True, timeout=30)
        self.assertEqual(run.returncode, DAEMON_CONFIG, run.stderr)
        self.assertIn("ssh -L", run.stderr)

    def test_an_unknown_option_and_an_unknown_key_are_usage_errors(self):
        a = self.lab.daemon(start=False)
        run = subprocess.run([PROGRAM, "daemon", "--data", a.data, *LOCAL, "--lisen", "x"], capture_output=True, text=True,
                             timeout=30)
        self.assertEqual(run.returncode, DAEMON_CONFIG, run.stderr)
        config = self.lab.folder / "peerscope.conf"
        config.write_text('# a comment\nlisten = "127.0.0.1:0"\nlisen = "x"\n')
        run = subprocess.run([PROGRAM, "daemon", "--data", a.data, *LOCAL, "--config", config], capture_output=True, text=True,
                             timeout=30)
        self.assertEqual(run.returncode, DAEMON_CONFIG, run.stderr)
        self.assertIn(f"{config}:3", run.stderr)

    @unittest.skipIf(os.geteuid() == 0 and not pathlib.Path("/usr/bin/setpriv").exists(), "needs a user other than root")
    def test_a_read_only_data_folder_is_refused_with_advice(self):
        folder = self.lab.folder / "readonly"
        folder.mkdir()
        folder.chmod(0o555)
        self.lab.folder.chmod(0o755)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        run = subprocess.run([*drop, PROGRAM, "daemon", "--data", folder, *LOCAL, "--debug-listen", "127.0.0.1:0"],
                             capture_output=True, text=True, timeout=30, env={**os.environ, "HOME": "/nonexistent"})
        if run.returncode == 126:
            self.skipTest("the program lies where another user cannot read it")
        self.assertEqual(run.returncode, DENIED, run.stderr)
        self.assertIn(str(folder), run.stderr)

    def test_an_existing_target_is_not_overwritten(self):
        a = self.lab.daemon()
        iri, _ = a.publish(__file__)
        target = self.lab.folder / "mine"
        target.write_text("precious\n")
        run = a.cli("get", iri, "-o", target, expect=PARTIAL)
        self.assertIn(f"kept: {target} (", run.stderr)
        self.assertEqual(target.read_text(), "precious\n")

    def test_a_missing_path_is_not_published(self):
        a = self.lab.daemon()
        run = a.cli("publish", self.lab.folder / "nothing", expect=FAILED)
        self.assertIn("nothing", run.stderr)

    @unittest.skipIf(os.geteuid() != 0, "mounts a small file system: needs root")
    def test_a_full_disk_is_said_and_what_is_stored_stays(self):
        folder = self.lab.folder / "small"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode:
            self.skipTest("cannot mount here")
        self.addCleanup(subprocess.run, ["umount", "-l", folder])
        a = Daemon(folder / "data")
        self.lab.daemons.append(a)
        a.start()
        keep, big = self.lab.folder / "keep", self.lab.folder / "big"
        keep.write_text("kept\n")
        big.write_bytes(os.urandom(60 << 20))
        iri, version = a.publish(keep)
        run = a.cli("publish", big, expect=DISK_FULL)
        self.assertIn("full", run.stderr)
        a.cli("get", f"{iri}?v={version}", "--offline", "-o", self.lab.folder / "again")
        self.assertEqual((self.lab.folder / "again").read_text(), "kept\n")
        a.stop()

    def test_two_heads_are_a_conflict_and_both_are_named(self):
        """One author on two machines that did not hear of each other."""
        a = self.lab.daemon()
        b = self.lab.daemon(start=False)
        b.data.mkdir(mode=0o700)
        shutil.copy(a.data / "space.key", b.data / "space.key")
        b.start()
        source = self.lab.folder / "source"
        source.write_text("here\n")
        iri, ours = a.publish(source)
        source.write_text("there\n")
        theirs = b.publish(source)[1]
        hinted = f"{iri}?peer={b.address()}"
        target = self.lab.folder / "x"
        run = a.cli("get", hinted, "-o", target, expect=CONFLICT)
        for head in (ours, theirs):
            self.assertIn(head, run.stderr)
        self.assertFalse(target.exists())
        self.assertIn("conflict", a.cli("log", iri).stdout.lower())
        a.cli("get", f"{iri}?v={ours}", "-o", target)
        self.assertEqual(target.read_text(), "here\n")
        source.write_text("merged\n")
        a.publish(source, "--parent", f"{ours}.{theirs}")
        a.cli("get", iri, "--offline", "--force", "-o", target)
        self.assertEqual(target.read_text(), "merged\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
