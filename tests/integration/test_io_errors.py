#!/usr/bin/env python3
"""Every file operation fails in turn, in the command line and in the daemon: the exit code names the kind of failure, the message the
file or what to do, and what was acknowledged is there afterwards.

All positions: PEERSCOPE_SWEEP=all; otherwise a sample, chosen by PEERSCOPE_SEED (printed)."""
import errno
import os
import pathlib
import random
import re
import shutil
import subprocess
import unittest

from harness import DENIED, DISK_FULL, FAILED, LOCAL, OK, PARTIAL, PROGRAM, UNREACHABLE, Case, Daemon

FAULTS = os.environ.get("IO_FAULTS", "")
SEED = int(os.environ.get("PEERSCOPE_SEED", "0")) or random.randrange(1, 1 << 30)
CODES = {errno.ENOSPC: DISK_FULL, errno.EDQUOT: DISK_FULL, errno.EROFS: DENIED, errno.EACCES: DENIED, errno.EIO: FAILED}


def positions(count, most):
    """Which operations to fail: all, or the first and the last and some between."""
    everything = list(range(1, count + 1))
    if os.environ.get("PEERSCOPE_SWEEP") == "all" or count <= most:
        return everything
    return sorted({1, 2, count} | set(random.Random(SEED).sample(everything, most - 3)))


class IoErrors(Case):
    def setUp(self):
        super().setUp()
        if not FAULTS:
            self.skipTest("there is no library to preload")
        print(f"seed {SEED}")
        self.source = self.lab.folder / "source" / "tree"
        (self.source / "sub").mkdir(parents=True)
        for i in range(3):
            (self.source / "sub" / f"{i}.txt").write_text(f"file {i}\n")
        (self.source / "link").symlink_to("sub/0.txt")

    def env(self, under, number, at, reads=False):
        env = {"LD_PRELOAD": FAULTS, "IO_FAULT_UNDER": str(under), "IO_FAULT_ERRNO": str(number), "IO_FAULT_FROM": str(at),
               "IO_FAULT_COUNT": str(self.lab.folder / "count")}
        return {**env, "IO_FAULT_READS": "1"} if reads else env

    def operations(self):
        return int((self.lab.folder / "count").read_text())

    def assertSays(self, run, number, at):
        self.assertEqual(run.stdout, "", (number, at))
        self.assertRegex(run.stderr, r"^peerscope: .{20}", (number, at))
        if number == errno.ENOSPC:
            self.assertRegex(run.stderr, r"no space left|disk .*is full", at)

    def test_get_names_what_kept_it_from_writing(self):
        a = self.lab.daemon()
        iri, _ = a.publish(self.source)
        out = self.lab.folder / "out"
        out.mkdir()

        def get(number, at):
            shutil.rmtree(out)
            out.mkdir()
            return a.cli("get", iri, "-o", out / "copy", expect=None, env=self.env(out, number, at))

        self.assertEqual(get(errno.EIO, 1 << 40).returncode, OK)
        count = self.operations()
        self.assertGreater(count, 8)
        for number, code in CODES.items():
            for at in positions(count, 16 if number == errno.ENOSPC else 4):
                run = get(number, at)
                if run.returncode == OK:  # tidying up at the end may fail; then everything has to be there
                    self.assertSameTree(self.source, out / "copy")
                    continue
                self.assertEqual(run.returncode, code, (number, at, run.stderr))
                self.assertSays(run, number, at)
                self.assertIn(str(out), run.stderr, (number, at))
                if (out / "copy").exists():  # the last steps: its one change is made
                    self.assertIn("is what was asked for", run.stderr, (number, at))
                    self.assertSameTree(self.source, out / "copy")

    def test_publish_names_what_it_could_not_read(self):
        a = self.lab.daemon()

        def publish(number, at, *args):
            return a.cli("publish", self.source, *args, expect=None, env=self.env(self.source, number, at, reads=True))

        self.assertEqual(publish(errno.EIO, 1 << 40).returncode, OK)
        count = self.operations()
        self.assertGreater(count, 6)
        for number, code in ((errno.EIO, FAILED), (errno.EACCES, DENIED)):
            for at in positions(count, 8):
                run = publish(number, at)
                self.assertEqual(run.returncode, code, (number, at, run.stderr))
                self.assertSays(run, number, at)
                self.assertIn(str(self.source), run.stderr)
                if at > 2:  # what cannot be read may be left out
                    run = publish(number, at, "--skip-unreadable", "--over")
                    self.assertIn(run.returncode, (PARTIAL, code), (number, at, run.stderr))

    def daemon_with(self, data, number, at):
        daemon = Daemon(data)
        env = {**os.environ, **self.env(data, number, at)}
        daemon.log = open(f"{data}.log", "a+b")
        daemon.process = subprocess.Popen([PROGRAM, "daemon", "--data", data, *LOCAL, "--debug-listen", "127.0.0.1:0"], env=env,
                                          stdin=subprocess.DEVNULL, stdout=daemon.log, stderr=daemon.log)
        self.addCleanup(lambda: (daemon.process.kill(), daemon.process.wait()) if daemon.process.poll() is None else None)
        return daemon

    def end(self, daemon):
        daemon.process.terminate()
        code = daemon.process.wait(40)
        daemon.log.close()
        return code

    def run_daemon(self, data, number, at):
        """(exit code of the daemon, or None while it runs; what publish said)."""
        daemon = self.daemon_with(data, number, at)
        ready = daemon.cli("wait", "--ready", "20s", expect=None)
        if ready.returncode != OK:
            code = daemon.process.wait(20)
            daemon.log.close()
            return code, None
        (self.source / "sub" / "0.txt").write_text(f"{number} {at}\n")
        run = daemon.cli("publish", self.source, "--over", expect=None)
        self.assertEqual(daemon.process.poll(), None, daemon.log_text())
        # What was there can be read, whatever happens to writing.
        daemon.cli("objects")
        read = daemon.cli("get", f"{self.iri}?v={self.version}", "--offline", "-o", self.lab.folder / f"copy-{number}-{at}")
        self.assertTrue(read)
        shutil.rmtree(self.lab.folder / f"copy-{number}-{at}")
        return self.end(daemon), run

    def test_the_daemon_goes_on_or_says_why_it_does_not(self):
        base = self.lab.daemon()
        self.iri, self.version = base.publish(self.source)
        base.stop()
        data = self.lab.folder / "data"

        def fresh():
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(base.data, data)

        fresh()
        code, run = self.run_daemon(data, errno.EIO, 1 << 40)
        self.assertEqual((code, run.returncode), (OK, OK))
        count = self.operations()
        self.assertGreater(count, 20)
        for number in (errno.ENOSPC, errno.EIO, errno.EROFS):
            for at in positions(count, 6):
                fresh()
                code, run = self.run_daemon(data, number, at)
                if run is None:
                    # SQLite takes a file that it cannot open for writing for a read-only one
                    self.assertIn(code, (CODES[number], FAILED, DENIED), (number, at))
                    self.assertRegex(pathlib.Path(f"{data}.log").read_text(), r"(?m)^peerscope: .{20}")
                elif run.returncode != OK:
                    self.assertEqual(run.returncode, CODES[number], (number, at, run.stderr))
                    self.assertSays(run, number, at)
                self.check_whole(data, run, (number, at))

    def check_whole(self, data, run, where):
        """Without faults everything acknowledged is there, and nothing is damaged."""
        for name in ("control.sock", "debug.addr"):  # it could not remove them
            (data / name).unlink(missing_ok=True)
        daemon = Daemon(data).start()
        self.addCleanup(lambda: daemon.process.kill() if daemon.process.poll() is None else None)
        copy = self.lab.folder / "whole"
        daemon.cli("get", f"{self.iri}?v={self.version}", "--offline", "-o", copy)
        shutil.rmtree(copy)
        if run is not None and run.returncode == OK:
            iri, version = run.stdout.split()[:2]
            daemon.cli("get", f"{iri}?v={version}", "--offline", "-o", copy)
            self.assertSameTree(self.source, copy)
            shutil.rmtree(copy)
        daemon.stop()


FULL_DISK = """
set -e
mount -t tmpfs -o size=8m tmpfs "$1"
"$0" daemon --data "$1/d" --listen 127.0.0.1:0 --lan off --dht off --debug-listen 127.0.0.1:0 >"$1.log" 2>&1 & pid=$!
"$0" wait --ready 20s --data "$1/d"
"$0" publish --data "$1/d" "$2" >"$1.published"
kill -9 $pid; wait $pid || true  # with a long write-ahead log
head -c 9m /dev/zero >"$1/fill" 2>/dev/null || true
"$0" daemon --data "$1/d" --listen 127.0.0.1:0 --lan off --dht off --debug-listen 127.0.0.1:0 >>"$1.log" 2>&1 & pid=$!
"$0" wait --ready 20s --data "$1/d" || { echo "not ready" >&2; cat "$1.log" >&2; exit 99; }
iri=$(head -1 "$1.published")
"$0" get --offline --data "$1/d" "$iri" -o "$1.copy"
set +e
echo new >"$1.new"
"$0" publish --data "$1/d" "$1.new" 2>"$1.refused"; echo "full: $?"
"$0" diag doctor --data "$1/d" | grep -c "disk" >"$1.doctor"
rm "$1/fill"
"$0" publish --data "$1/d" "$1.new" >/dev/null; echo "room: $?"
kill $pid; wait $pid; echo "daemon: $?"
"""


class FullDisk(Case):
    @unittest.skipUnless(subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0,
                         "mount namespaces cannot be entered here")
    def test_a_daemon_starts_on_a_full_disk_and_gives_what_it_has(self):
        disk = self.lab.folder / "disk"
        disk.mkdir()
        source = self.lab.folder / "tree"
        source.mkdir()
        for i in range(3):
            (source / f"{i}").write_bytes(random.Random(i).randbytes(700_000))
        run = subprocess.run(["unshare", "-m", "sh", "-c", FULL_DISK, PROGRAM, disk, source], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.stdout.splitlines()[-3:], ["full: 9", "room: 0", "daemon: 0"], run.stderr)
        self.assertSameTree(source, f"{disk}.copy")
        self.assertIn("full", pathlib.Path(f"{disk}.refused").read_text())
        self.assertIn("the disk is full", pathlib.Path(f"{disk}.log").read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
