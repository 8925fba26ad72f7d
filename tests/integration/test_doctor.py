#!/usr/bin/env python3
"""What the doctor finds, provoked in real daemons, and gone when its cause is."""
import ctypes
import os
import pathlib
import resource
import shutil
import subprocess
import unittest

import harness

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
SHIFT = os.environ.get("SHIFT_CLOCK", "")


def findings(daemon):
    """Name -> finding; those that are worse than a note."""
    return {f["name"]: f for f in daemon.json("diag", "doctor", expect=None)["findings"] if f["severity"] in ("warning", "problem")}


class FrozenThread:
    """One thread of a process stands still, as if its disk did not answer."""

    def __init__(self, pid, name):
        tasks = pathlib.Path(f"/proc/{pid}/task")
        self.tid = next(int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().strip() == name)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self):
        if self.libc.ptrace(PTRACE_SEIZE, self.tid, None, None) != 0 or self.libc.ptrace(PTRACE_INTERRUPT, self.tid, None, None) != 0:
            raise unittest.SkipTest(f"may not stop a thread: {os.strerror(ctypes.get_errno())}")
        os.waitpid(self.tid, WALL)
        return self

    def __exit__(self, *_):
        self.libc.ptrace(PTRACE_DETACH, self.tid, None, None)


class Doctor(harness.Case):
    def test_a_store_that_stands_still(self):
        a = self.lab.daemon()
        self.assertNotIn("store stuck", findings(a))
        with FrozenThread(a.process.pid, "store"):
            waiting = subprocess.Popen([harness.PROGRAM, "objects", "--data", a.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.wait(lambda: "store stuck" in findings(a), 30)
            found = findings(a)["store stuck"]
            self.assertEqual(found["severity"], "problem")
            self.assertRegex(found["sentence"], r"finished nothing for (\d+) s")
        waiting.wait(30)
        self.assertNotIn("store stuck", findings(a))
        a.stop()

    def limited(self, soft, hard):
        daemon = self.lab.daemon(start=False)
        daemon.wrapper = ("prlimit", f"--nofile={soft}:{hard}")
        return daemon.start()

    def test_too_few_descriptors(self):
        a = self.limited(256, 256)
        self.assertRegex(findings(a)["descriptor limit"]["sentence"], "may have 256 files")
        a.stop()

    def test_descriptors_that_can_be_had_are_taken(self):
        a = self.limited(256, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        self.assertNotIn("descriptor limit", findings(a))
        a.stop()

    def test_a_cloned_key(self):
        a, b = self.lab.daemon(), self.lab.daemon(start=False)
        b.data.mkdir(mode=0o700)
        shutil.copy(a.data / "node.key", b.data / "node.key")
        b.start()
        self.assertNotIn("twin", findings(a))
        a.cli("peers", "add", a.address().split("/p2p/")[0], expect=None)  # itself is no twin
        self.assertNotIn("twin", findings(a))
        a.cli("peers", "add", b.address().split("/p2p/")[0], expect=None)
        self.assertRegex(findings(a)["twin"]["sentence"], r"same node.key as this one: it was met \d+ s ago at /ip4/127.0.0.1/")
        for daemon in (a, b):
            daemon.stop()

    @unittest.skipUnless(SHIFT, "needs shift_clock.so")
    def test_a_clock_that_differs(self):
        a, b, late = self.lab.daemon(), self.lab.daemon(), self.lab.daemon(start=False)
        late.wrapper = ("env", f"LD_PRELOAD={SHIFT}", "SHIFT_SECONDS=-10800")
        late.start()
        a.cli("peers", "add", b.address())
        self.assertNotIn("clock differs", findings(a))
        for other in (a, b):
            late.cli("peers", "add", other.address())
        self.assertRegex(findings(late)["clock differs"]["sentence"], "(3|2) hours behind those of 2 of 2")
        self.assertNotIn("clock differs", findings(a))  # one of two is another's affair
        for daemon in (a, b, late):
            daemon.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
