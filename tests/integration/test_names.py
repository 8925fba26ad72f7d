#!/usr/bin/env python3
"""Any name can be published, printed, pasted and found; and none can pass for another on a terminal or a page."""
import os
import subprocess
import unicodedata

from harness import LOCAL, OK, PROGRAM, USAGE, Case

NAMES = ["My Photos 2024", "It's mine", "R&D", "C#", "What?", "100%", "a%20b", "50%25", "~home", "-rf", "$(id)", "a;b|c", "'\"`\\",
         "{a,b}*[!c]", "grüße", "日本語", "Ελλάδα", "عربي", "👨\u200d👩", "e\u0301", "x=1&v=2", "a:b@c", "...", " blank "]
HIDDEN = ["gnp.\u202eexe", "pay\u200bpal", "\u2066isolated\u2069", "\ufeffmark", "soft\u00adhyphen", "a\u2028b", "tag\U000e0041"]


class Names(Case):
    def publish(self, daemon, name):
        path = self.lab.folder / "names"
        path.mkdir(exist_ok=True)
        (path / name).write_text(name)
        return daemon.cli("publish", f"{path}/{name}").stdout.split("\n")[0]

    def shell(self, daemon, verb, iri, *more):
        """The IRI stands in the line as it was printed, without quotes."""
        line = f'exec "$0" {verb} --data "$1" {iri} ' + " ".join(more)
        return subprocess.run(["sh", "-c", line, str(PROGRAM), str(daemon.data)], capture_output=True, text=True, timeout=120)

    def test_every_name_comes_back_by_the_iri_that_was_printed(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        b.cli("peers", "add", a.address())
        for name in NAMES + HIDDEN:
            with self.subTest(name=name):
                iri = self.publish(a, name)
                self.assertEqual(self.shell(a, "log", iri).returncode, OK)
                target = self.lab.folder / "got"
                got = self.shell(b, "get", iri, "-o", str(target))
                self.assertEqual(got.returncode, OK, got.stderr)
                self.assertEqual(target.read_text(), name)
                self.assertEqual(b.json("objects", iri)["objects"][0]["iri"], iri)
                target.unlink()

    def test_long_names_are_like_others(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        b.cli("peers", "add", a.address())
        for name in ("n" * 200, "n" * 201, "n" * 230, "n" * 255, "ü" * 127, " " * 255):
            with self.subTest(length=len(name.encode())):
                iri = self.publish(a, name)
                place = self.lab.folder / "place"
                place.mkdir()
                got = b.cli("get", iri, cwd=place)
                self.assertEqual((place / name).read_text(), name, got.stderr)
                (place / name).unlink()
                place.rmdir()

    def test_what_people_paste_is_understood(self):
        a = self.lab.daemon()
        iri = self.publish(a, "My Photos 2024")
        space = iri[len("hm://"):].split("/")[0]
        for text in (f"HM://{space}/My%20Photos%202024", f"  {iri}\n", f"hm://{space}/My Photos 2024", iri.replace("Photos", "%50hotos"),
                     iri + "/", f"{iri}?peer=%2Fip4%2F127.0.0.1%2Ftcp%2F9"):
            with self.subTest(text=text):
                self.assertEqual(a.json("log", text)["iri"], iri)
        for text, hint in ((f"hm://{space}/C#", "%23"), (f"hm://{space}/What?", "%3F"), (f"hm://{space}/a%2Fb", "%2F"),
                           (f"hm://{space}/a&peer=/ip4/1.2.3.4/tcp/1", "%26")):
            with self.subTest(text=text):
                self.assertIn(hint, a.cli("log", text, expect=USAGE).stderr)

    def test_subscriptions_and_the_control_api_take_any_name(self):
        a, b = self.lab.daemon(), self.lab.daemon()
        b.cli("peers", "add", a.address())
        iri = self.publish(a, "R&D 100%")
        b.cli("subscribe", iri)
        self.wait(lambda: b.json("subscriptions")["subscriptions"][0]["last_ok"])
        self.assertEqual(b.json("subscriptions")["subscriptions"][0]["iri"], iri)
        b.cli("unsubscribe", iri)
        self.assertEqual(b.json("subscriptions")["subscriptions"], [])

    # ---- Strangers ----

    def hidden_in(self, text, allowed="\n\t"):
        return sorted({f"U+{ord(c):04X}" for c in text if c not in allowed and
                       (unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp"))})

    def test_nothing_hidden_reaches_a_terminal_a_page_or_the_log(self):
        a, b = self.lab.daemon("--log-level", "debug"), self.lab.daemon("--log-level", "debug")
        b.cli("peers", "add", a.address())
        said = []
        for name in HIDDEN:
            folder = self.lab.folder / f"tree {name}"
            folder.mkdir()
            (folder / f"file {name}").write_text("x")
            (folder / f"bad \udcff {name}").write_text("x")
            run = a.cli("publish", folder, "--skip-unreadable", "--as", f"/{name}", expect=None)
            said += [run.stdout, run.stderr]
            iri = run.stdout.split("\n")[0]
            for verb in (("get", iri, "-o", self.lab.folder / "copy" / name), ("get", iri + "%FE", "-o", "x"), ("discover", iri, "--trace"),
                         ("discover", iri + "x", "--trace"), ("log", iri), ("objects", iri), ("subscribe", iri)):
                (self.lab.folder / "copy").mkdir(exist_ok=True)
                run = b.cli(*verb, expect=None)
                said += [run.stderr, run.stdout if verb[0] != "get" else ""]
        for daemon in (a, b):
            for verb in (("objects",), ("objects", "--json"), ("subscriptions",), ("trace", "list"), ("trace", "list", "--json"),
                         ("trace", "export"), ("diag", "log"), ("diag", "traces"), ("diag", "doctor"), ("status",), ("peers",),
                         ("log", "level", HIDDEN[0], "debug"), ("trace", "list", HIDDEN[0]), (HIDDEN[0],), ("status", HIDDEN[0])):
                run = subprocess.run([PROGRAM, *verb[:1], "--data", daemon.data, *verb[1:]], capture_output=True, text=True, timeout=60)
                said += [run.stdout, run.stderr]
            for page in ("/debug/", "/debug/store", "/debug/store?text", "/debug/store?json", "/debug/traces", "/debug/traces?text",
                         "/debug/traces?json", "/debug/logs", "/debug/logs?text", "/debug/logs?json", "/debug/peers", "/debug/doctor",
                         "/debug/pprof/goroutine?debug=2", "/debug/vars", "/debug/traces?q=%E2%80%AE", "/debug/logs?q=%E2%80%AE"):
                said.append(daemon.http(page)[2])
            said.append(daemon.log_text())
        for text in said:
            self.assertEqual(self.hidden_in(text), [], text[:3000])
        self.assertTrue(any("\\u202e" in text for text in said))

    def test_names_in_daemon_errors_are_shown_escaped(self):
        run = subprocess.run([PROGRAM, "daemon", "--data", self.lab.folder / "x\u202ey", *LOCAL, "--debug-listen", "\u202e"],
                             capture_output=True, text=True, timeout=60)
        self.assertNotEqual(run.returncode, OK)
        self.assertEqual(self.hidden_in(run.stdout + run.stderr), [])


if __name__ == "__main__":
    import unittest
    unittest.main()
