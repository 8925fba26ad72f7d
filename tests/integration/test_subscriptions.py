"""What a daemon does that keeps scopes in sync, and what it answers about objects that nobody has."""
import unittest

from harness import NOT_FOUND, NO_PEER, Case, closed_port

SCOPES = 100


class Idle(Case):
    def figures(self, daemon):
        status = daemon.json("status")
        return status["net"]["dials"], status["discovery"]["sub_cold_started"]

    def test_a_hundred_scopes_in_sync_are_looked_after_without_a_dial(self):
        a, c = self.lab.daemon(), self.lab.daemon()
        b = self.lab.daemon("--subscription-interval", "1s")
        note = self.lab.folder / "note"
        note.write_text("a note\n")
        b.cli("peers", "add", a.address())
        b.cli("peers", "add", c.address())
        c.stop()  # somebody who is known, and gone
        for i in range(SCOPES):
            iri, _ = a.publish(note, "--as", f"/notes/{i}")
            b.cli("subscribe", iri, *(["--recursive"] if i % 2 else []))
        self.wait(lambda: all(s["last_ok"] for s in b.json("subscriptions")["subscriptions"]), 60)
        self.wait(lambda: b.json("status")["discovery"]["sub_hot_running"] == 0)
        dials, looks = self.figures(b)
        self.wait(lambda: self.figures(b)[1] > looks + 3 * SCOPES, 60)
        # Hundreds of looks cost no dial; a machine too busy to answer a ping in time may cost one.
        self.assertLessEqual(self.figures(b)[0], dials + 2)

    def test_the_list_says_what_is_done_about_each_scope_and_why(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        note = self.lab.folder / "note"
        note.write_text("a note\n")
        iri, _ = a.publish(note)
        b.cli("peers", "add", a.address())
        b.cli("subscribe", iri)
        b.cli("subscribe", iri + "-missing")
        self.wait(lambda: all(s["ran"] for s in b.json("subscriptions")["subscriptions"]))
        found, missing = sorted(b.json("subscriptions")["subscriptions"], key=lambda s: s["iri"])
        self.assertEqual((found["state"], found["why"], found["last_outcome"]), ("sleeping", "added", "local"))
        self.assertEqual((missing["state"], missing["last_outcome"], missing["failures"]), ("backing off", "notfound", 1))
        text = b.cli("subscriptions").stdout
        self.assertRegex(text, r"sleeping, again in \d+ s; last run \(added\) \d+ s ago: local, confirmed: up to date")
        self.assertRegex(text, r"backing off, again in \d+ s; last run \(added\) \d+ s ago: notfound, absent: nobody who answered has it")


class Unknown(Case):
    def test_asking_again_is_answered_from_memory_until_forced(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        note = self.lab.folder / "note"
        note.write_text("a note\n")
        iri = f"hm://{a.json('status')['space']}/note?peer={a.address()}"
        b.cli("discover", iri, expect=NOT_FOUND)
        started = b.json("status")["discovery"]["started"]
        a.publish(note)
        for _ in range(10):
            run = b.cli("discover", iri, expect=NOT_FOUND)
            self.assertRegex(run.stderr, r"asked \d+ s ago: not found, .*; again in \d+ s. --fresh asks now")
        figures = b.json("status")["discovery"]
        self.assertEqual(figures["started"], started)
        self.assertEqual(figures["miss_hits"], 10)
        b.cli("discover", "--fresh", iri)

    def test_what_could_not_be_reached_keeps_its_exit_code(self):
        b = self.lab.daemon()
        iri = f"hm://{b.json('status')['space']}/x?peer=/ip4/127.0.0.1/tcp/{closed_port()}"
        b.cli("discover", iri, expect=NO_PEER)
        run = b.cli("discover", iri, expect=NO_PEER)
        self.assertIn("--fresh", run.stderr)


if __name__ == "__main__":
    unittest.main()
