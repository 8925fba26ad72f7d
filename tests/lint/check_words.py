#!/usr/bin/env python3
"""Words that nothing in the repository keeps: marks of unfinished work, and paths of somebody's machine.

Looks at every tracked text file and at the messages of the commits that lead here. Prints each breach and exits 1 when
there is any; 77 outside a checkout.
"""
import pathlib
import re
import subprocess
import sys

FORBIDDEN = {
    r"\b(TODO|FIXME|XXX|HACK|WIP)\b": "finish it, or leave it out",
    r"(?<![\w.~/-])/(work|root|home/\w+|Users/\w+)/\w": "a path of one machine",
}
# What names the words in order to find them.
EXEMPT = {"tests/lint/check_words.py", "tests/lint/check_source.py"}


def breaches(text):
    for pattern, why in FORBIDDEN.items():
        for match in re.finditer(pattern, text):
            yield text.count("\n", 0, match.start()) + 1, f"{match.group(0)}: {why}"


def git(root, *args):
    return subprocess.run(["git", *args], cwd=root, check=True, capture_output=True, text=True).stdout


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        print("not a checkout")
        return 77
    found = 0
    for path in git(root, "ls-files").splitlines():
        if path in EXEMPT or path.startswith("tests/fuzz/corpus/") or not (root / path).is_file():
            continue
        text = (root / path).read_text(errors="replace")
        for number, why in breaches(text):
            print(f"{path}:{number}: {why}")
            found += 1
    for message in git(root, "log", "--format=%h %B%x00").split("\0"):
        for _, why in breaches(message):
            print(f"commit {message.split()[0]}: {why}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    assert [n for n, _ in breaches("a\n/home/ann/x")] == [2]
    assert list(breaches("/* TODO */")) and not list(breaches("var/home/ann or https://x.example/home/y/z"))
    sys.exit(main())
