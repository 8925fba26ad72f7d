#!/usr/bin/env python3
"""Counts what `meson test` ran, single cases included, and ends with one plain line: N passed, N failed."""
import json
import pathlib
import re
import sys

TAP = re.compile(r"^(not )?ok \d+\b(?!.*# SKIP)", re.M)


def count(test):
    """(passed, failed) of one test program: TAP cases, unittest cases, else the program itself."""
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP":
        return 0, 0
    cases = TAP.findall(test.get("stdout") or "")
    if cases:
        failed = sum(1 for case in cases if case)
        passed = len(cases) - failed
        return passed, failed if good or failed else 1
    text = (test.get("stderr") or "") + (test.get("stdout") or "")
    ran = re.search(r"^Ran (\d+) tests?", text, re.M)
    if ran:
        numbers = {k: int(n) for k, n in re.findall(r"(failures|errors|skipped)=(\d+)", text)}
        failed = numbers.get("failures", 0) + numbers.get("errors", 0)
        passed = int(ran.group(1)) - failed - numbers.get("skipped", 0)
        return passed, failed if good or failed else 1
    return (1, 0) if good else (0, 1)


def main():
    log = pathlib.Path(sys.argv[1]) / "meson-logs" / "testlog.json"
    passed = failed = 0
    broken = []
    for line in log.read_text().splitlines():
        test = json.loads(line)
        p, f = count(test)
        passed += p
        failed += f
        if f:
            broken.append(test["name"])
    if broken:
        print("failed in: " + ", ".join(broken))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
