#!/usr/bin/env python3
"""Rules that a compiler does not check: banned functions, line length, tabs, unfinished work.

Prints each breach as file:line and exits 1 when there is any.
"""
import pathlib
import re
import subprocess
import sys

COLUMNS = 132  # tabs count as eight; clang-format aims at 100, tables and signatures may be wider
BANNED = {
    r"\b(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf)\s*\(": "memory only through base/mem.h",
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca|tmpnam|mktemp)\s*\(": "unsafe; see CONTRIBUTING.md",
    r"\b(rand|srand|random|drand48)\s*\(": "randomness from runner_random() or libsodium",
    r"\bassert\s*\(": "REQUIRE or CHECK (base/base.h)",
    r"\b(TODO|FIXME|XXX|HACK)\b": "finish it, or leave it out",
}
# Of the command line: what it says goes through one place, which knows whether it arrived.
OUTPUT = re.compile(r"\b(printf|vprintf|puts|putchar|fputs|fwrite)\s*\(|\bstdout\b")
OUTPUT_EXEMPT = {"daemon/output.c", "daemon/portmap_main.c"}
# The door itself.
EXEMPT = {"base/mem.c", "profiler/interpose_malloc.c"}
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def check_c(path, text):
    code = COMMENT_OR_STRING.sub(blank, text)
    for pattern, why in BANNED.items():
        subject = text if "TODO" in pattern else code
        if path in EXEMPT and "mem.h" in why:
            continue
        for match in re.finditer(pattern, subject):
            if match.start() > 0 and subject[match.start() - 1] in ".>":
                continue  # a member of that name
            yield subject.count("\n", 0, match.start()) + 1, f"{match.group(0).strip()}: {why}"
    if path.startswith("daemon/") and path not in OUTPUT_EXEMPT:
        for match in OUTPUT.finditer(code):
            yield text.count("\n", 0, match.start()) + 1, f"{match.group(0)}: daemon/output.h"
    for number, line in enumerate(text.splitlines(), 1):
        if len(line.expandtabs(8)) > COLUMNS:
            yield number, f"{len(line.expandtabs(8))} columns"
        if line != line.rstrip():
            yield number, "space at the end of the line"
        if re.match(r" {8}", line):
            yield number, "indent with tabs"


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, check=True, capture_output=True,
                           text=True).stdout.split()
    found = 0
    for path in files:
        if not path.endswith((".c", ".h")) or path.startswith("tests/") or not (root / path).exists():
            continue
        for number, why in check_c(path, (root / path).read_text()):
            print(f"{path}:{number}: {why}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    assert list(check_c("x.c", "int f(void) { return malloc(1) != 0; }\n"))
    assert list(check_c("daemon/x.c", "void f(void) { printf(s); }\n"))
    assert not list(check_c("x.c", "/* malloc( */ ops->free(x);\n"))
    sys.exit(main())
