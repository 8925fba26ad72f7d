#!/usr/bin/env python3
"""No two folders define the same function: they are linked into one program. Arguments: the static libraries."""
import collections
import pathlib
import subprocess
import sys


def defined(library):
    listing = subprocess.run(["nm", "--defined-only", "--extern-only", library], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "TDBR":
            yield fields[2]


def clashes(libraries):
    owners = collections.defaultdict(set)
    for library in libraries:
        for symbol in defined(library):
            owners[symbol].add(pathlib.Path(library).name)
    return {symbol: where for symbol, where in owners.items() if len(where) > 1}


if __name__ == "__main__":
    found = clashes(sys.argv[1:])
    for symbol, where in sorted(found.items()):
        print(f"{symbol} is defined in {', '.join(sorted(where))}")
    sys.exit(1 if found or len(sys.argv) < 3 else 0)
