#!/usr/bin/env python3
"""The main job: publish a folder here, get it there, see it in a trace."""
import os
import shutil
import unittest

from harness import NOT_FOUND, ROOT, Case, tree_digest


def make_folder(root):
    root.mkdir()
    (root / "readme.txt").write_text("hello\n")
    (root / "empty").write_bytes(b"")
    (root / "run.sh").write_text("#!/bin/sh\necho hi\n")
    (root / "run.sh").chmod(0o755)
    (root / "private").write_text("only me\n")
    (root / "private").chmod(0o600)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "ünïcode – name").write_text("x" * 100)
    (root / "deep" / "empty folder").mkdir()
    (root / "big.bin").write_bytes(os.urandom(3_000_000))
    (root / "link").symlink_to("readme.txt")
    (root / "dangling").symlink_to("/nowhere/at all")


class MainJob(Case):
    def setUp(self):
        super().setUp()
        self.source = self.lab.folder / "source"
        make_folder(self.source)

    def get(self, daemon, iri, name, *args, **options):
        target = self.lab.folder / name
        run = daemon.cli("get", iri, "-o", target, *args, **options)
        return target, run

    def test_a_folder_travels_and_arrives_identical(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        target, _ = self.get(b, f"{iri}?peer={a.address()}", "copy")
        self.assertSameTree(self.source, target)

    def test_a_single_file_travels(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source / "run.sh", "--as", "/tools/run")
        self.assertTrue(iri.endswith("/tools/run"))
        target, _ = self.get(b, f"{iri}?peer={a.address()}", "run")
        self.assertEqual(target.read_bytes(), (self.source / "run.sh").read_bytes())
        self.assertEqual(target.stat().st_mode & 0o777, 0o755)

    def test_a_known_peer_needs_no_hint(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        b.cli("peers", "add", a.address())
        target, _ = self.get(b, iri, "copy")
        self.assertSameTree(self.source, target)

    def test_the_third_gets_it_from_the_second_when_the_first_is_gone(self):
        a, b, c = self.lab.daemon(), self.lab.daemon(), self.lab.daemon()
        iri, version = a.publish(self.source)
        self.get(b, f"{iri}?peer={a.address()}", "b")
        a.stop()
        target, _ = self.get(c, f"{iri}?v={version}&peer={b.address()}", "c")
        self.assertSameTree(self.source, target)

    def test_publishing_again_makes_a_child_and_moves_only_what_changed(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, first = a.publish(self.source)
        hinted = f"{iri}?peer={a.address()}"
        self.get(b, hinted, "first")
        before = b.json("status")["sync"]["bytes_fetched"]
        (self.source / "readme.txt").write_text("hello again\n")
        _, second = a.publish(self.source, "--as", iri[iri.index("/", 5):])
        self.assertNotEqual(first, second)
        target, _ = self.get(b, hinted, "second")
        self.assertSameTree(self.source, target)
        self.assertLess(b.json("status")["sync"]["bytes_fetched"] - before, 20_000)
        log = b.cli("log", iri).stdout
        self.assertIn(first, log)
        self.assertIn(second, log)

    def test_publishing_the_same_again_changes_nothing(self):
        a = self.lab.daemon()
        _, first = a.publish(self.source)
        _, second = a.publish(self.source)
        self.assertEqual(first, second)

    def test_an_older_version_can_be_asked_for(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, first = a.publish(self.source)
        old = tree_digest(self.source)
        (self.source / "readme.txt").write_text("changed\n")
        a.publish(self.source)
        target, _ = self.get(b, f"{iri}?v={first}&peer={a.address()}", "old")
        self.assertEqual(old, tree_digest(target))

    def test_data_survives_a_restart(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        self.get(b, f"{iri}?peer={a.address()}", "first")
        peer = b.json("status")["peer_id"]
        a.stop()
        b.stop()
        b.start()
        self.assertEqual(peer, b.json("status")["peer_id"])
        target, _ = self.get(b, iri, "again", "--offline")
        self.assertSameTree(self.source, target)

    def test_a_real_tree_of_thousands_of_files_travels(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish("/usr/include", "--as", "/include")
        target, _ = self.get(b, f"{iri}?peer={a.address()}", "include")
        self.assertSameTree("/usr/include", target)

    def test_this_project_travels(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        source = self.lab.folder / "project"
        shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".git", "build*", "node_modules"))
        iri, _ = a.publish(source)
        target, _ = self.get(b, f"{iri}?peer={a.address()}", "copy")
        self.assertSameTree(source, target)

    def test_a_discovery_is_seen_in_a_trace_on_both_sides(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        run = b.cli("discover", f"{iri}?peer={a.address()}", "--trace")
        self.assertIn("sync.discover", run.stdout)
        self.assertIn("sync.peer", run.stdout)
        ours = b.traces("&category=sync.discover")
        self.assertEqual(len(ours), 1)
        spans = {s["category"]: s for s in ours[0]["spans"]}
        self.assertEqual(spans["sync.discover"]["outcome"], "local")
        self.assertEqual(spans["sync.peer"]["parent_id"], spans["sync.discover"]["span_id"])
        theirs = a.traces("&category=sync.serve&n=50")
        self.assertTrue(theirs)
        self.assertEqual({t["trace_id"] for t in theirs}, {ours[0]["trace_id"]})

    def test_stages_sum_to_the_wall_time_of_their_span(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        self.get(b, f"{iri}?peer={a.address()}", "copy")
        for daemon in (a, b):
            for trace in daemon.traces("&n=100"):
                for span in trace["spans"]:
                    if span["finished"] and span["stages"]:
                        self.assertEqual(sum(s["duration_ns"] for s in span["stages"]), span["duration_ns"], span)

    def test_a_subscriber_has_an_edit_without_asking(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(self.source)
        self.get(b, f"{iri}?peer={a.address()}", "first")
        b.cli("subscribe", iri)
        self.wait(lambda: a.json("status")["sync"]["subscribers"] > 0)
        (self.source / "readme.txt").write_text("news\n")
        _, version = a.publish(self.source)
        self.wait(lambda: b.cli("get", f"{iri}?v={version}", "--offline", "-o", self.lab.folder / "news",
                                expect=None).returncode == 0)
        self.assertSameTree(self.source, self.lab.folder / "news")


if __name__ == "__main__":
    unittest.main(verbosity=2)
