#!/usr/bin/env python3
"""peerscope-stacks: what a daemon that answers nobody is doing, seen from outside."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import Case

PROGRAM = os.environ["PEERSCOPE_STACKS"]
NOBODY = 65534


def stacks(*args, **options):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=60, **options)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as text:
        return text.read().rpartition(")")[2].split()[0]


class Stacks(Case):
    def idle_daemon(self):
        """Its loop has run: an address in a file does not say so yet."""
        daemon = self.lab.daemon()
        daemon.cli("status")
        return daemon

    def test_all_threads_of_a_daemon_are_printed_as_goroutines(self):
        daemon = self.idle_daemon()
        done = stacks(daemon.process.pid)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        blocks = done.stdout.removesuffix("\n").split("\n\n")
        self.assertEqual(len(blocks), len(os.listdir(f"/proc/{daemon.process.pid}/task")))
        for block in blocks:
            head, *frames = block.split("\n")
            self.assertRegex(head, r"^goroutine \d+ \[[A-Za-z. ]+\]:$")
            self.assertEqual(len(frames) % 2, 0)
            for function, place in zip(frames[::2], frames[1::2]):
                self.assertRegex(function, r"^[^ ()]+\(\.\.\.\)$")
                self.assertRegex(place, r"^\t[^:]+:\d+( \+0x[0-9a-f]+)?$")
        self.assertRegex(blocks[0], r"^goroutine 1 \[IO wait\]:")
        self.assertIn("\nloop_run(...)\n", blocks[0])
        self.assertIn("\nmain(...)\n", blocks[0])

    def test_the_daemon_goes_on_as_if_nothing_had_been(self):
        daemon = self.idle_daemon()
        for _ in range(5):
            self.assertEqual(stacks("--notes", daemon.process.pid).returncode, 0)
        self.assertIn("listen", daemon.json("status"))
        self.assertIsNone(daemon.process.poll())

    def test_a_stopped_daemon_is_printed_and_stays_stopped(self):
        daemon = self.idle_daemon()
        pid = daemon.process.pid
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            while state_of(pid) != "T":
                time.sleep(0.01)
            done = stacks("--notes", pid)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("\nloop_run(...)\n", done.stdout)
            self.assertRegex(done.stdout, r'# thread \d+ "store"')
            self.assertEqual(state_of(pid), "T")
        finally:
            daemon.process.send_signal(signal.SIGCONT)

    def test_what_cannot_be_done_is_said(self):
        self.assertIn("there is no process", stacks(0x3fffffff).stderr)
        self.assertEqual(stacks(0x3fffffff).returncode, 5)
        for wrong in ([], ["x"], ["-1"], ["1", "2"], ["--what"], ["1x"], ["0"]):
            self.assertEqual(stacks(*wrong).returncode, 2, wrong)
        self.assertEqual(stacks("--help").returncode, 0)
        self.assertIn("ptrace_scope", stacks("--help").stdout)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become nobody")
    def test_who_may_not_look_is_told_what_to_do(self):
        daemon = self.idle_daemon()
        with tempfile.TemporaryDirectory() as folder:  # the build may be where nobody may look
            os.chmod(folder, 0o755)
            program = shutil.copy(PROGRAM, folder)
            done = subprocess.run([program, str(daemon.process.pid)], capture_output=True, text=True, timeout=60,
                                  user=NOBODY, cwd="/")
        self.assertEqual(done.returncode, 10)
        self.assertIn("sudo peerscope-stacks", done.stderr)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
