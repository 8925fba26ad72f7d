"""What `get` does to what is there already: it changes what it knows, keeps what it does not, and reaches nothing else."""
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import stat
import subprocess
import time
import unittest
from unittest import mock

import harness
from harness import Case, DENIED, DISK_FULL, FAILED, PARTIAL, PROGRAM, USAGE, tree_digest

CANCELLED, KILLED = 130, -9
ROOT = os.geteuid() == 0


def mounts_are_possible():
    return ROOT and shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


def write(path, text, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if mode is not None:
        path.chmod(mode)


def mode_of(path):
    return stat.S_IMODE(path.lstat().st_mode)


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


def at_work(folder):
    """A get has made its first new file: before that, nobody has to think that it is there."""
    return [name for name in leftovers(folder) if (pathlib.Path(folder) / name / "0").exists()]


class GetCase(Case):
    def setUp(self):
        super().setUp()
        self.daemon = self.lab.daemon()
        self.source = self.lab.folder / "source"
        self.target = self.lab.folder / "target"
        self.source.mkdir(mode=0o755)

    def publish(self):
        self.iri, version = self.daemon.publish(self.source)
        return version

    def get(self, *args, **options):
        return self.daemon.cli("get", self.iri, "--offline", "-o", self.target, *args, **options)

    def get_json(self, *args, **options):
        return json.loads(self.get("--json", *args, **options).stdout)

    def kept(self, answer):
        return {os.path.relpath(k["path"], self.target): k["reason"] for k in answer["kept"]}

    def start_get(self, *args):
        return subprocess.Popen([PROGRAM, "get", "--data", self.daemon.data, self.iri, "--offline", "-o", self.target, *args],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    @contextlib.contextmanager
    def halfway(self, folder):
        """A get that has begun to write and gets no more bytes."""
        for _ in range(50):
            process = self.start_get()
            while process.poll() is None and not at_work(folder):
                pass
            self.daemon.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(0.05)
                if process.poll() is None and at_work(folder):
                    yield process
                    return
            finally:
                self.daemon.process.send_signal(signal.SIGCONT)
                if process.poll() is None:
                    process.kill()
                process.wait()
                process.stderr.close()
            (self.target.unlink if self.target.is_file() else lambda: shutil.rmtree(self.target, ignore_errors=True))()
        self.fail("no get could be caught in the middle")


class Modes(GetCase):
    def test_the_mode_of_the_top_folder_travels(self):
        write(self.source / "a", "a")
        self.source.chmod(0o700)
        first = self.publish()
        self.get()
        self.assertEqual(mode_of(self.target), 0o700)
        self.source.chmod(0o750)
        self.assertNotEqual(self.publish(), first)
        self.get()
        self.assertEqual(mode_of(self.target), 0o750)

    def test_nothing_is_wider_than_it_was_published_or_the_umask_allows(self):
        write(self.source / "open", "a", 0o666)
        write(self.source / "shut", "a", 0o400)
        write(self.source / "d" / "x", "a", 0o755)
        (self.source / "d").chmod(0o777)
        self.source.chmod(0o777)
        self.publish()
        for mask in (0o077, 0o022, 0):
            before = os.umask(mask)
            try:
                self.get()
            finally:
                os.umask(before)
            for path in (".", "open", "shut", "d", "d/x"):
                self.assertEqual(mode_of(self.target / path), mode_of(self.source / path) & ~mask, (path, oct(mask)))
            shutil.rmtree(self.target)


class ManyVersions(GetCase):
    def test_a_target_of_many_versions_ago_is_brought_up_to_date(self):
        write(self.source / "a", "first\n")
        write(self.source / "b", "stays\n")
        self.publish()
        there = self.lab.daemon()
        there.cli("get", f"{self.iri}?peer={self.daemon.address()}", "-o", self.target)
        for i in range(70):  # more than are compared; of most of them only the commit arrives
            write(self.source / "a", f"{i}\n")
            self.publish()
        run = there.cli("get", f"{self.iri}?peer={self.daemon.address()}", "-o", self.target, "--json")
        self.assertEqual(json.loads(run.stdout)["kept"], [])
        self.assertSameTree(self.source, self.target)


class Updates(GetCase):
    def setUp(self):
        super().setUp()
        for name in ("same", "changed", "edited", "gone", "gone-edited", "d/same", "d/changed"):
            write(self.source / name, f"{name} 1\n")
        os.symlink("same", self.source / "link")
        self.publish()
        self.get()
        for name in ("changed", "edited", "d/changed"):
            write(self.source / name, f"{name} 2\n")
        for name in ("gone", "gone-edited"):
            (self.source / name).unlink()
        write(self.source / "new" / "deep", "new\n")
        self.publish()

    def test_only_what_changed_is_written(self):
        before = {n: (self.target / n).stat() for n in ("same", "d/same")}
        answer = self.get_json()
        self.assertSameTree(self.source, self.target)
        for name, st in before.items():
            now = (self.target / name).stat()
            self.assertEqual((now.st_ino, now.st_mtime_ns), (st.st_ino, st.st_mtime_ns))
        self.assertEqual((answer["written"], answer["unchanged"], answer["removed"], answer["kept"]), (4, 3, 2, []))
        again = self.get("--json")
        self.assertEqual(json.loads(again.stdout)["written"], 0)
        self.assertEqual(leftovers(self.target), [])

    def test_what_somebody_wrote_is_kept_and_named(self):
        write(self.target / "edited", "mine\n")
        write(self.target / "gone-edited", "mine\n")
        write(self.target / "foreign", "mine\n")
        write(self.target / "extra" / "x", "mine\n")
        answer = self.get_json(expect=PARTIAL)
        expected = {"edited": "edited", "gone-edited": "edited", "foreign": "foreign", "extra": "foreign"}
        self.assertEqual(self.kept(answer), expected)
        run = self.get(expect=PARTIAL)
        for name in expected:
            self.assertIn(f"kept: {self.target / name} (", run.stderr)
            self.assertTrue((self.target / name).exists())
        self.assertEqual((self.target / "edited").read_text(), "mine\n")
        self.assertEqual((self.target / "changed").read_text(), "changed 2\n")
        self.assertFalse((self.target / "gone").exists())

    def test_force_moves_aside_and_says_so(self):
        write(self.target / "edited", "mine\n")
        os.symlink("elsewhere", self.target / "d" / "l")
        write(self.target / "foreign", "mine\n")
        (self.target / "changed").unlink()
        write(self.target / "changed" / "inside", "mine\n")  # a folder where a file is wanted
        run = self.get("--force", expect=PARTIAL)
        asides = sorted(n for n in os.listdir(self.target) if ".replaced-" in n)
        self.assertEqual([re.sub(r"-\d{8}T\d{6}Z$", "", n) for n in asides], ["changed.replaced", "edited.replaced"])
        for name in asides:
            self.assertIn(str(self.target / name), run.stderr)
        self.assertEqual((self.target / asides[0] / "inside").read_text(), "mine\n")
        self.assertEqual((self.target / asides[1]).read_text(), "mine\n")
        self.assertEqual((self.target / "edited").read_text(), "edited 2\n")
        self.assertEqual((self.target / "changed").read_text(), "changed 2\n")
        self.assertTrue((self.target / "foreign").exists())

    def test_delete_names_what_it_removes_first(self):
        write(self.target / "foreign", "mine\n")
        write(self.target / "extra" / "x", "mine\n")
        run = self.get("--delete")
        for name in ("foreign", "extra/x", "extra"):
            self.assertIn(f"deleting: {self.target / name} (", run.stderr)
        self.assertSameTree(self.source, self.target)
        write(self.target / "edited", "mine\n")
        self.get("--delete", expect=PARTIAL)
        self.assertEqual((self.target / "edited").read_text(), "mine\n")

    def test_a_folder_of_something_else_is_left_alone(self):
        other = self.lab.folder / "other"
        write(other / "thesis", "mine\n")
        write(other / "d" / "x", "mine\n")
        before = tree_digest(other)
        for flags in ((), ("--delete",)):
            run = self.daemon.cli("get", self.iri, "--offline", "-o", other, *flags, expect=FAILED)
            self.assertIn("nothing in it shows", run.stderr)
            self.assertEqual(tree_digest(other), before)
        run = self.daemon.cli("get", self.iri, "--offline", "-o", other, "--force")
        aside = [n for n in os.listdir(self.lab.folder) if n.startswith("other.replaced-")]
        self.assertEqual(len(aside), 1)
        self.assertIn(aside[0], run.stderr)
        self.assertEqual(tree_digest(self.lab.folder / aside[0]), before)
        self.assertSameTree(self.source, other)

    def test_one_name_may_change_its_kind(self):
        shutil.rmtree(self.source / "d")
        write(self.source / "d", "a file now\n")
        (self.source / "same").unlink()
        write(self.source / "same" / "inner" / "x", "a folder now\n")
        (self.source / "link").unlink()
        write(self.source / "link", "a file now\n")
        self.publish()
        self.get()
        self.assertSameTree(self.source, self.target)
        shutil.rmtree(self.source / "same")
        os.symlink("nowhere", self.source / "same")
        self.publish()
        write(self.target / "same" / "mine", "mine\n")
        self.assertEqual(self.kept(self.get_json(expect=PARTIAL)), {"same/mine": "foreign", "same": "in_the_way"})
        (self.target / "same" / "mine").unlink()
        self.get()
        self.assertSameTree(self.source, self.target)

    def test_a_link_on_the_disk_is_never_followed(self):
        outside = self.lab.folder / "outside"
        write(outside / "same", "precious\n")
        write(outside / "foreign", "precious\n")
        before = tree_digest(outside)
        shutil.rmtree(self.target / "d")
        os.symlink(outside, self.target / "d")
        self.assertEqual(self.kept(self.get_json("--delete", expect=PARTIAL)), {"d": "edited"})
        self.assertEqual(tree_digest(outside), before)
        self.get("--force", "--delete")
        self.assertEqual(tree_digest(outside), before)
        self.assertFalse((self.target / "d").is_symlink())
        top = self.lab.folder / "top"
        os.symlink(outside, top)
        self.daemon.cli("get", self.iri, "--offline", "-o", top, expect=PARTIAL)
        self.assertTrue(top.is_symlink())
        self.assertEqual(tree_digest(outside), before)

    def test_modes_of_ones_own_are_kept_and_those_of_versions_updated(self):
        (self.source / "same").chmod(0o755)
        self.publish()
        (self.target / "d").chmod(0o770)
        (self.target / "d" / "same").chmod(0o600)  # narrower than published: no word about it
        self.assertEqual(self.kept(self.get_json(expect=PARTIAL)), {"d": "mode"})
        self.assertEqual(mode_of(self.target / "same"), 0o755)
        self.assertEqual(mode_of(self.target / "d" / "same"), 0o600)
        self.get("--force")
        self.assertEqual(mode_of(self.target / "d"), 0o755)

    def test_keys_and_data_folders_are_never_removed_or_moved(self):
        other = self.lab.daemon(start=False)
        other.data = self.target / "home" / "node"
        other.data.mkdir(parents=True, mode=0o700)
        for name in ("node.key", "space.key"):
            shutil.copy(self.daemon.data / name, other.data)
        shutil.copy(self.daemon.data / "space.key", self.target / "copy")
        shutil.copy(self.daemon.data / "space.key", self.target / "edited")
        for flags in (("--delete",), ("--force",), ("--force", "--delete")):
            run = self.get(*flags, expect=PARTIAL)
            for path in ("home/node/node.key", "home/node/space.key", "copy", "edited"):
                self.assertEqual((self.target / path).read_bytes(), (self.daemon.data / pathlib.Path(path).name
                                 if "node" in path else self.daemon.data / "space.key").read_bytes())
        self.assertIn("keys or data of peerscope", run.stderr)
        self.daemon.cli("get", self.iri, "--offline", "-o", self.daemon.data, "--force", expect=PARTIAL)
        self.assertTrue((self.daemon.data / "space.key").exists())

    def test_another_name_of_a_file_is_not_touched(self):
        other = self.lab.folder / "other-name"
        os.link(self.target / "same", other)
        (self.source / "same").chmod(0o600)
        self.publish()
        self.get()
        self.assertEqual((mode_of(self.target / "same"), mode_of(other)), (0o600, 0o644))


class OneFile(GetCase):
    def setUp(self):
        super().setUp()
        self.source = self.lab.folder / "one"
        write(self.source, "first\n", 0o640)
        self.publish()

    def test_a_file_is_updated_kept_or_moved_aside(self):
        self.get()
        self.assertEqual(mode_of(self.target), 0o640)
        write(self.source, "second\n")
        self.publish()
        self.get()
        self.assertEqual(self.target.read_text(), "second\n")
        write(self.target, "mine\n")
        answer = self.get_json(expect=PARTIAL)
        self.assertEqual([k["path"] for k in answer["kept"]], [str(self.target)])
        self.assertEqual(self.target.read_text(), "mine\n")
        moved = self.get_json("--force")["moved_aside"]
        self.assertEqual(pathlib.Path(moved[0]["to"]).read_text(), "mine\n")
        self.assertEqual(self.target.read_text(), "second\n")

    def test_stdout_takes_one_file(self):
        here = self.lab.folder / "cwd"
        here.mkdir()
        run = self.daemon.cli("get", self.iri, "--offline", "-o", "-", cwd=here)
        self.assertEqual(run.stdout, "first\n")
        self.assertEqual(os.listdir(here), [])
        with open("/dev/full", "wb") as full:
            lost = subprocess.run([PROGRAM, "get", "--data", self.daemon.data, self.iri, "--offline", "-o", "-"],
                                  stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(lost.returncode, DISK_FULL, lost.stderr)
        self.assertIn("stdout", lost.stderr)
        folder = self.lab.folder / "folder"
        write(folder / "x", "x")
        iri, _ = self.daemon.publish(folder)
        self.assertIn("is a folder", self.daemon.cli("get", iri, "--offline", "-o", "-", cwd=here, expect=USAGE).stderr)
        self.assertEqual(os.listdir(here), [])

    def test_a_missing_folder_is_a_wrong_argument(self):
        run = self.daemon.cli("get", self.iri, "--offline", "-o", self.lab.folder / "no" / "such", expect=USAGE)
        self.assertIn(f"{self.lab.folder}/no does not exist", run.stderr)

    def test_names_of_any_length_and_spelling(self):
        folder = self.lab.folder / "names"
        for name in ("n" * 255, "é" * 127, "n" * 201, "new\nline", "-", ".hidden"):
            write(folder / name, "x\n")
        iri, _ = self.daemon.publish(folder)
        self.daemon.cli("get", iri, "--offline", "-o", self.target)
        self.assertSameTree(folder, self.target)
        raw = os.fsencode(self.target) + b"/\xff\xfe\n\x1b[31m"
        os.close(os.open(raw, os.O_CREAT | os.O_WRONLY, 0o600))
        run = self.daemon.cli("get", iri, "--offline", "-o", self.target, "--json", expect=PARTIAL)
        self.assertIn("\\xff\\xfe\\x0a\\x1b[31m", json.loads(run.stdout)["kept"][0]["path"])
        for name in ("n" * 255, "é" * 127):
            write(self.target / name, "mine\n")
        self.daemon.cli("get", iri, "--offline", "-o", self.target, "--force", expect=PARTIAL)
        self.assertEqual(len([n for n in os.listdir(self.target) if ".replaced-" in n]), 2)
        for name in ("m" * 255, "é" * 120):
            self.daemon.cli("get", self.iri, "--offline", "-o", self.lab.folder / name)
            self.assertEqual((self.lab.folder / name).read_text(), "first\n")

    @unittest.skipUnless(ROOT, "devices are made by root alone")
    def test_a_device_is_never_replaced(self):
        node = self.lab.folder / "node"
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        for flags in ((), ("--force",), ("--delete",)):
            run = self.daemon.cli("get", self.iri, "--offline", "-o", node, *flags, expect=FAILED)
            self.assertIn("device", run.stderr)
            self.assertTrue(stat.S_ISCHR(node.lstat().st_mode))
        folder = self.lab.folder / "folder"
        write(folder / "x", "x")
        write(folder / "y", "y")
        iri, _ = self.daemon.publish(folder)
        self.daemon.cli("get", iri, "--offline", "-o", self.target)
        (self.target / "x").unlink()
        os.mkfifo(self.target / "x")
        self.daemon.cli("get", iri, "--offline", "-o", self.target, "--force", "--delete", expect=PARTIAL)
        self.assertTrue(stat.S_ISFIFO((self.target / "x").lstat().st_mode))

    def test_a_file_may_be_named_with_a_slash_behind(self):
        file = self.lab.folder / "file"
        write(file, "1\n")
        iri, _ = self.daemon.publish(file)
        run = self.daemon.cli("get", iri, "--offline", "-o", f"{self.target}/")
        self.assertNotIn("warning", run.stderr)
        self.assertEqual(self.target.read_text(), "1\n")


class Interrupted(GetCase):
    def setUp(self):
        super().setUp()
        for i in range(24):
            write(self.source / f"f{i}", random.Random(i).randbytes(1 << 20))
        self.publish()

    def check_gone_after(self, sig):
        with self.halfway(self.lab.folder) as process:
            process.send_signal(sig)
            if sig == signal.SIGKILL:
                self.assertEqual(process.wait(60), KILLED)
            else:
                self.daemon.process.send_signal(signal.SIGCONT)
                self.assertEqual(process.wait(60), CANCELLED)
        self.assertFalse(self.target.exists())

    def test_a_closed_terminal_leaves_nothing(self):
        self.check_gone_after(signal.SIGHUP)
        self.assertEqual(leftovers(self.lab.folder), [])

    def test_what_a_killed_get_left_is_swept_by_the_next_one(self):
        self.check_gone_after(signal.SIGKILL)
        self.assertEqual(len(leftovers(self.lab.folder)), 1)
        self.get()
        self.assertEqual(leftovers(self.lab.folder), [])
        self.assertSameTree(self.source, self.target)

    def test_publish_sweeps_it_and_never_carries_it(self):
        self.check_gone_after(signal.SIGKILL)
        near = self.lab.folder / "near"
        near.mkdir()
        write(near / "x", "x")
        left = leftovers(self.lab.folder)[0]
        os.rename(self.lab.folder / left, near / left)
        answer = self.daemon.json("publish", near)
        self.assertEqual((answer["files"], answer["directories"]), (1, 1))
        self.assertEqual(leftovers(near), [])

    def test_one_at_work_is_neither_swept_nor_carried(self):
        self.get()
        for i in range(24):
            write(self.source / f"f{i}", random.Random(100 + i).randbytes(1 << 20))
        self.publish()
        shutil.copytree(self.target, self.lab.folder / "old")
        for _ in range(20):
            process = self.start_get()
            while process.poll() is None and not at_work(self.target):
                pass
            process.send_signal(signal.SIGSTOP)
            if process.poll() is None and leftovers(self.target):
                break
            process.wait()
            process.stderr.close()
            shutil.rmtree(self.target)
            shutil.copytree(self.lab.folder / "old", self.target)
        answer = self.daemon.json("publish", self.target, "--as", "/other")
        self.assertEqual(len(leftovers(self.target)), 1)
        self.assertEqual((answer["files"], answer["directories"]), (24, 1))
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(60), 0)
        process.stderr.close()
        self.assertSameTree(self.source, self.target)
        self.assertEqual(leftovers(self.target), [])

    def test_a_killed_update_leaves_each_file_old_or_new_and_is_finished_later(self):
        self.get()
        old = {p.name: p.read_bytes() for p in self.target.iterdir()}
        for i in range(24):
            write(self.source / f"f{i}", random.Random(200 + i).randbytes(1 << 20))
        self.publish()
        new = {p.name: p.read_bytes() for p in self.source.iterdir()}
        for seed in range(6):
            process = self.start_get()
            time.sleep(random.Random(seed).random() * 0.2)
            process.kill()
            process.wait()
            process.stderr.close()
            for name in new:
                self.assertIn((self.target / name).read_bytes(), (old[name], new[name]), name)
        self.get()
        self.assertSameTree(self.source, self.target)
        self.assertEqual(leftovers(self.target), [])


@unittest.skipUnless(mounts_are_possible(), "mounts are made by root alone")
class Mounts(GetCase):
    def setUp(self):
        super().setUp()
        write(self.source / "sub" / "x", "1\n")
        write(self.source / "a", "1\n")
        self.publish()

    def inside(self, script, *args, expect=0):
        """A get with mounts of its own."""
        get = [PROGRAM, "get", "--data", self.daemon.data, self.iri, "--offline", "-o", self.target, *args]
        run = subprocess.run(["unshare", "-m", "sh", "-ec", f"{script}\nshift 0; \"$@\"", "sh", *map(str, get)],
                             capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(run.returncode, expect, run.stderr)
        return run

    def test_another_mount_below_the_target_is_left_alone(self):
        self.get()
        precious = self.lab.folder / "precious"
        write(precious / "x", "1\n")
        write(precious / "foreign", "precious\n")
        before = tree_digest(precious)
        write(self.source / "sub" / "x", "2\n")
        self.publish()
        for flags in ((), ("--force",), ("--force", "--delete")):
            run = self.inside(f"mount --bind {precious} {self.target}/sub", *flags, expect=PARTIAL)
            self.assertIn("another mount", run.stderr)
            self.assertEqual(tree_digest(precious), before)
        shutil.rmtree(self.source / "sub")
        self.publish()
        self.inside(f"mount --bind {precious} {self.target}/sub", "--delete", expect=PARTIAL)
        self.inside(f"mount -t tmpfs none {self.target}/sub; touch {self.target}/sub/f; trap 'test -e {self.target}/sub/f' EXIT",
                    "--delete", expect=PARTIAL)
        self.assertEqual(tree_digest(precious), before)
        self.assertEqual((self.target / "sub" / "x").read_text(), "1\n")

    def test_a_file_that_is_a_mount_is_left_alone(self):
        self.get()
        precious = self.lab.folder / "precious"
        write(precious, "1\n")
        write(self.source / "a", "2\n")
        self.publish()
        run = self.inside(f"mount --bind {precious} {self.target}/a", "--force", "--delete", expect=PARTIAL)
        self.assertIn("another mount", run.stderr)
        self.assertEqual(precious.read_text(), "1\n")

    def test_a_target_that_is_a_mount_is_updated(self):
        disk = self.lab.folder / "disk"
        disk.mkdir()
        self.target.mkdir()
        self.inside(f"mount --bind {disk} {self.target}")
        write(self.source / "a", "2\n")
        self.publish()
        self.inside(f"mount --bind {disk} {self.target}")
        self.assertSameTree(self.source, disk)

    def test_a_full_disk_changes_nothing(self):
        self.get()
        write(self.source / "a", "2\n")
        write(self.source / "big", random.Random(1).randbytes(3 << 20))
        self.publish()
        script = (f"mkdir -p {self.lab.folder}/small; mount -t tmpfs -o size=1m none {self.lab.folder}/small;"
                  f"cp -a {self.target} {self.lab.folder}/small/t; mount --bind {self.lab.folder}/small/t {self.target};"
                  f"trap 'ls -A {self.target} >{self.lab.folder}/after; cat {self.target}/a >>{self.lab.folder}/after' EXIT")
        run = self.inside(script, expect=DISK_FULL)
        self.assertIn("no space left", run.stderr)
        self.assertEqual((self.lab.folder / "after").read_text().split(), ["a", "sub", "1"])

    def test_what_cannot_be_written_is_named_where_it_is(self):
        deep = "/".join(["d" * 250] * 5)
        write(self.source / "big", random.Random(1).randbytes(3 << 20))
        write(self.source / deep / "a", random.Random(2).randbytes(3 << 20))
        self.publish()
        small = self.lab.folder / "small"
        self.target = small / "new"
        mount = f"mkdir -p {small}; mount -t tmpfs -o size=1m none {small}"
        run = self.inside(mount, expect=DISK_FULL)
        self.assertIn(f"peerscope: {self.target}/big: cannot write (no space left", run.stderr)
        run = self.inside(f"{mount}; mkdir {self.target}", expect=DISK_FULL)
        self.assertIn(f"peerscope: {self.target}/big: cannot write (no space left", run.stderr)
        (self.source / "big").unlink()  # a long path does not cut off the reason
        self.publish()
        run = self.inside(mount, expect=DISK_FULL)
        self.assertRegex(run.stderr, r"peerscope: …d+/[d/]+/a: cannot write \(no space left on device\)\. Nothing was changed")
        self.target = "/proc/new"
        run = self.inside("true", expect=FAILED)
        self.assertIn("peerscope: /proc: cannot make a folder for new files (", run.stderr)

    def test_a_read_only_disk_is_named(self):
        self.target.mkdir()
        run = self.inside(f"mount -t tmpfs -o ro none {self.target}", expect=DENIED)
        self.assertIn("read-only file system", run.stderr)


@unittest.skipUnless(ROOT and shutil.which("setpriv"), "only root can be somebody else")
class AnotherUser(Case):
    def setUp(self):
        super().setUp()
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        if subprocess.run([*nobody, str(PROGRAM), "version"], capture_output=True).returncode != 0:
            self.skipTest("the program is not readable for others")
        self.home = self.lab.folder / "home"
        self.home.mkdir()
        os.chown(self.home, 65534, 65534)
        self.lab.folder.chmod(0o755)
        wrapper = self.lab.folder / "as-nobody"
        write(wrapper, f"#!/bin/sh\nexec {' '.join(nobody)} {PROGRAM} \"$@\"\n", 0o755)
        self.enter(mock.patch.object(harness, "PROGRAM", wrapper))
        self.daemon = harness.Daemon(self.home / "node").start()
        self.lab.daemons.append(self.daemon)

    def test_folders_without_the_right_to_write_are_updated_by_their_owner(self):
        source, target = self.lab.folder / "source", self.home / "target"
        write(source / "d" / "x", "1\n")
        write(source / "d" / "y", "1\n")
        (source / "d").chmod(0o555)
        source.chmod(0o555)
        iri, _ = self.daemon.publish(source)
        self.daemon.cli("get", iri, "--offline", "-o", target)
        self.assertEqual((mode_of(target), mode_of(target / "d")), (0o555, 0o555))
        write(source / "d" / "x", "2\n")
        (source / "d" / "y").unlink()
        write(source / "z" / "new", "1\n")
        (source / "z").chmod(0o500)
        os.chown(source / "z", 65534, 65534)
        self.daemon.publish(source)
        self.daemon.cli("get", iri, "--offline", "-o", target)
        self.assertSameTree(source, target)
        self.assertEqual(mode_of(target), 0o555)

    def test_a_daemon_of_somebody_else_is_not_said_to_be_down(self):
        with mock.patch.object(harness, "PROGRAM", PROGRAM):
            other = self.lab.daemon()
        for verb in (("status",), ("objects",), ("publish", PROGRAM), ("diag", "vars"), ("log", "tail")):
            run = other.cli(*verb, expect=None)
            self.assertEqual(run.returncode, DENIED, (verb, run.stderr))
            self.assertRegex(run.stderr, r"permission denied", verb)
            self.assertNotRegex(run.stderr, r"no daemon|start one", verb)
        doctor = other.cli("diag", "doctor", expect=FAILED).stdout
        self.assertIn("may not see whether a daemon runs", doctor)
        self.assertNotIn("Start one", doctor)

    def test_a_folder_of_somebody_else_is_not_written_to(self):
        source, target = self.lab.folder / "source", self.lab.folder / "root-owned"
        write(source / "x", "1\n")
        iri, _ = self.daemon.publish(source)
        run = self.daemon.cli("get", iri, "--offline", "-o", target, expect=DENIED)
        self.assertIn("permission denied", run.stderr)
        target.mkdir(mode=0o755)
        write(target / "x", "0\n")
        self.daemon.cli("get", iri, "--offline", "-o", target, expect=PARTIAL)
        self.assertEqual((target / "x").read_text(), "0\n")


class AnyHistory(GetCase):
    """Random versions, random edits: nothing that somebody wrote is lost, and the rest becomes the version."""

    def change(self, rng, root, texts):
        for _ in range(rng.randint(1, 4)):
            path = root / rng.choice(("a", "b", "c", "d")) / rng.choice(("x", "y", "z")) if rng.random() < 0.6 else root / rng.choice("abcd")
            if path.parent.is_symlink() or path.parent.is_file():
                path.parent.unlink()
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
            kind = rng.random()
            path.parent.mkdir(exist_ok=True)
            if kind < 0.6:
                write(path, rng.choice(texts))
            elif kind < 0.75:
                os.symlink(rng.choice(texts), path)

    def content(self, root):
        found = set()
        for path in root.rglob("*"):
            if path.is_symlink():
                found.add("link " + os.readlink(path))
            elif path.is_file():
                found.add(path.read_text())
        return found

    def test_nothing_is_lost_and_all_the_rest_arrives(self):
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print(f"seed {seed}")
        rng = random.Random(seed)
        write(self.source / "a", "v0")
        for step in range(25):
            self.change(rng, self.source, [f"v{rng.randrange(3)}", f"w{step}"])
            self.publish()
            if self.target.exists() and step % 2:
                mine = [f"mine {step} {i}" for i in range(4)]
                self.change(rng, self.target, mine)
            written = {c for c in (self.content(self.target) if self.target.exists() else ()) if "mine" in c}
            flags = rng.choice(((), (), ("--force",)))
            run = self.get("--json", *flags, expect=None)
            if run.returncode == FAILED:  # nothing in common with the object
                self.assertIn("nothing in it shows", run.stderr)
                shutil.rmtree(self.target)
                continue
            self.assertIn(run.returncode, (0, PARTIAL), run.stderr)
            self.assertLessEqual(written, self.content(self.target), f"seed {seed}, step {step}")
            if run.returncode == 0:
                ours = [l for l in tree_digest(self.target) if ".replaced-" not in l]
                self.assertEqual(ours, tree_digest(self.source), f"seed {seed}, step {step}")
        self.get("--force", "--delete")
        self.assertEqual([l for l in tree_digest(self.target) if ".replaced-" not in l], tree_digest(self.source), f"seed {seed}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
