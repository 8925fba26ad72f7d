#!/usr/bin/env python3
"""Our reconciliation against two implementations written for this purpose, in Python and for node: every pairing as initiator and
responder, over the line protocol of the reference's test suite."""
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
LINE = os.environ.get("NEGENTROPY_LINE", str(HERE.parents[1] / "build" / "sync" / "negentropy_line"))
NODE = shutil.which("node")
SIDES = {
    "reference": [LINE, "reference"],
    "frugal": [LINE, "frugal"],
    "python": [sys.executable, str(HERE / "negentropy.py")],
    "node": [NODE or "node", str(HERE / "negentropy.mjs")],
}
INITIATORS = list(SIDES)
RESPONDERS = ["reference", "python", "node"]
ROUNDS_MAX = 1000
SEED = int(os.environ.get("SEED", "1"))


class Side:
    """One process that speaks the line protocol."""

    def __init__(self, name, items, frame_limit):
        environment = {**os.environ, "FRAMESIZELIMIT": str(frame_limit)}
        self.process = subprocess.Popen(SIDES[name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment)
        self.name = name
        for time, item in items:
            self.process.stdin.write(f"item,{time},{item}\n")
        self.process.stdin.write("seal\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ask(self, line):
        """(haves, needs, message or None)."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        have, need = [], []
        while True:
            answer = self.process.stdout.readline().rstrip("\n")
            word, _, rest = answer.partition(",")
            if word == "have":
                have.append(rest)
            elif word == "need":
                need.append(rest)
            elif word in ("msg", "done"):
                return have, need, rest if word == "msg" else None
            else:
                raise AssertionError(f"{self.name} said {answer[:80]!r}: {self.process.communicate()[1]}")


def play(initiator, responder, mine, theirs, limits=(0, 0)):
    """(haves, needs, all messages)."""
    have, need, messages = [], [], []
    with Side(initiator, mine, limits[0]) as a, Side(responder, theirs, limits[1]) as b:
        message = a.ask("initiate")[2]
        for _ in range(ROUNDS_MAX):
            messages.append(message)
            reply = b.ask(f"msg,{message}")[2]
            messages.append(reply)
            some_have, some_need, message = a.ask(f"msg,{reply}")
            have += some_have
            need += some_need
            if message is None:
                return have, need, messages
    raise AssertionError("it does not end")


def some_sets(random_, count, weights, times):
    """(mine, theirs): each item on the left, on the right, or on both sides."""
    mine, theirs = [], []
    for _ in range(count):
        item = times(random_), random_.randbytes(32).hex()
        place = random_.choices(("mine", "theirs", "both"), weights)[0]
        if place != "theirs":
            mine.append(item)
        if place != "mine":
            theirs.append(item)
    random_.shuffle(mine)
    random_.shuffle(theirs)
    return mine, theirs


def seconds(random_):
    return 1677970534 + random_.randrange(10 ** 8)


def few_times(random_):
    return 1677970534 + random_.randrange(3)


def any_time(random_):
    return random_.randrange((1 << 64) - 2)


CASES = [
    # name, items, (mine, theirs, both), times, frame limits
    ("nothing", 0, (1, 1, 1), seconds, (0, 0)),
    ("all mine", 300, (1, 0, 0), seconds, (0, 0)),
    ("all theirs", 300, (0, 1, 0), seconds, (0, 0)),
    ("equal", 1000, (0, 0, 1), seconds, (0, 0)),
    ("below a list", 31, (1, 1, 2), seconds, (0, 0)),
    ("a list and one", 32, (1, 1, 2), seconds, (0, 0)),
    ("few differences", 1500, (1, 1, 98), seconds, (0, 0)),
    ("many differences", 800, (1, 1, 1), any_time, (0, 0)),
    ("crowded seconds", 800, (1, 1, 20), few_times, (0, 0)),
    ("short frames", 1500, (1, 1, 5), seconds, (4096, 4096)),
    ("unequal frames", 1500, (1, 1, 5), few_times, (60000, 5000)),
    ("a frame one way", 800, (1, 1, 1), any_time, (0, 4096)),
]


class Negentropy(unittest.TestCase):
    def need_node(self, *sides):
        if "node" in sides and NODE is None:
            self.skipTest("node is not installed")

    def check_pairing(self, initiator, responder):
        self.need_node(initiator, responder)
        random_ = random.Random(SEED)
        for name, count, weights, times, limits in CASES:
            with self.subTest(case=name, seed=SEED):
                mine, theirs = some_sets(random_, count, weights, times)
                have, need, messages = play(initiator, responder, mine, theirs, limits)
                self.assertEqual(set(have), {i for _, i in mine} - {i for _, i in theirs})
                self.assertEqual(set(need), {i for _, i in theirs} - {i for _, i in mine})
                for index, message in enumerate(messages[1:], 1):
                    limit = limits[index % 2]
                    self.assertTrue(limit == 0 or len(message) <= 2 * limit)

    def test_our_messages_are_those_of_the_others_byte_for_byte(self):
        random_ = random.Random(SEED + 1)
        for name, count, weights, times, limits in CASES:
            mine, theirs = some_sets(random_, count, weights, times)
            messages = play("python", "python", mine, theirs, limits)[2]
            for side in ("reference", "node"):
                with self.subTest(case=name, side=side, seed=SEED + 1):
                    self.need_node(side)
                    self.assertEqual(messages, play(side, side, mine, theirs, limits)[2])

    def test_another_version_is_answered_with_ours(self):
        for side in RESPONDERS:
            with self.subTest(side=side):
                self.need_node(side)
                with Side(side, [(1, "aa" * 32)], 0) as s:
                    before = s.ask("msg,6100000200")
                    self.assertEqual(s.ask("msg,62aabbccddeeff"), ([], [], "61"))
                    self.assertEqual(s.ask("msg,6100000200"), before)

    def test_a_wrong_line_ends_our_side_with_a_message(self):
        for lines in ("item,1,xy\n", "hello\n", "seal\nmsg,zz\n", "seal\nmsg,50\n", "initiate\n"):
            with self.subTest(lines=lines):
                run = subprocess.run(SIDES["reference"], input=lines, capture_output=True, text=True, timeout=60)
                self.assertEqual(run.returncode, 1)
                self.assertNotEqual(run.stderr, "")

    def test_our_side_ends_well_when_nothing_more_comes(self):
        run = subprocess.run(SIDES["frugal"], input="item,1," + "aa" * 32 + "\nseal\n\ninitiate\n", capture_output=True, text=True,
                             timeout=60)
        self.assertEqual(run.returncode, 0)
        self.assertTrue(run.stdout.startswith("msg,61"))


def pairing(initiator, responder):
    return lambda self: self.check_pairing(initiator, responder)


for one, other in itertools.product(INITIATORS, RESPONDERS):
    setattr(Negentropy, f"test_{one}_asks_{other}", pairing(one, other))

if __name__ == "__main__":
    unittest.main()
