#!/usr/bin/env python3
"""Mutex and block profiles of daemons that synchronise, taken with the commands that guides give, port aside."""
import os
import re
import shutil
import subprocess
import unittest

from harness import Case

GUIDE = """
curl -s "http://localhost:9099/debug/pprof/mutex" > mutex.prof
curl -s "http://localhost:9099/debug/pprof/block" > block.prof
curl -s "http://localhost:9099/debug/pprof/mutex?debug=1" > mutex.txt
curl -s "http://localhost:9099/debug/pprof/block?debug=1" > block.txt
curl -s "http://localhost:9099/debug/pprof/block?seconds=1" > block.delta
go tool pprof -top mutex.prof
go tool pprof -top block.prof
go tool pprof -top mutex.txt
go tool pprof -top block.txt
go tool pprof -top block.delta
go tool pprof -base=block.prof -top block.prof
curl -s -X POST "http://localhost:9099/debug/pprof/mutex?rate=1"
"""


class Waits(Case):
    def synchronised(self):
        """A daemon that has just fetched a folder from another one."""
        a, b = self.lab.daemon(), self.lab.daemon()
        source = self.lab.folder / "source"
        source.mkdir()
        for i in range(60):
            (source / f"{i}").write_bytes(os.urandom(100000))
        iri, _ = a.publish(source)
        b.cli("get", f"{iri}?peer={a.address()}", "-o", self.lab.folder / "copy")
        return b

    def shell(self, daemon, command):
        env = dict(os.environ, HOME=str(self.lab.folder), PPROF_TMPDIR=str(self.lab.folder))
        done = subprocess.run(["sh", "-c", command.replace("localhost:9099", daemon.debug_host())], cwd=self.lab.folder,
                              env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr}")
        return done.stdout

    @unittest.skipUnless(shutil.which("go"), "Go is not installed")
    def test_the_guides_commands_work(self):
        daemon = self.synchronised()
        if "are not watched" in daemon.http("/debug/pprof/mutex?debug=1")[2]:
            self.skipTest("built with a sanitizer")
        out = {command: self.shell(daemon, command) for command in GUIDE.strip().split("\n")}
        self.assertIn("session_tick", out["go tool pprof -top block.prof"])
        self.assertIn("session_tick", out["go tool pprof -top block.txt"])
        self.assertEqual(list(out.values())[-1], "mutex profile fraction set to 1 (was 10)\n")

    def test_waits_of_operations_name_task_and_state_and_idle_threads_are_absent(self):
        daemon = self.synchronised()
        text = daemon.http("/debug/pprof/block?debug=1")[2]
        self.assertTrue(text.startswith("--- contention:\ncycles/second=1000000000\n"), text[:100])
        self.assertRegex(text, r"\n#\t0x[0-9a-f]+\tput_tick\+0x0\t+/\S+/put\.c:\d+\n")
        self.assertNotIn("uv_cond_wait", text)
        self.assertNotRegex(text, r"\n#\t0x[0-9a-f]+\tpthread_cond_wait\S+\t+\S+\n#\t0x[0-9a-f]+\tthread_main")

    def test_rates_are_set_by_post_alone(self):
        daemon = self.lab.daemon()
        for path, said in (("mutex?rate=3", "mutex profile fraction set to 3 (was 10)\n"),
                           ("block?rate=0", "block profile rate set to 0 (was 10000)\n")):
            self.assertEqual(daemon.http("/debug/pprof/" + path, "POST")[::2], (200, said))
        self.assertIn("\nsampling period=3\n", daemon.http("/debug/pprof/mutex?debug=1&rate=7")[2])
        self.assertIn("\nsampling period=3\n", daemon.http("/debug/pprof/mutex?debug=1")[2])
        self.assertEqual(daemon.http("/debug/pprof-mutex/?fraction=10", "POST")[::2], (200, ""))
        self.assertTrue(re.search(r"sampling period=10\n", daemon.http("/debug/pprof/mutex?debug=1")[2]))


if __name__ == "__main__":
    unittest.main()
