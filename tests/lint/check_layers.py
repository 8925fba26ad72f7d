#!/usr/bin/env python3
"""Who may include whom.

A folder includes only folders left of it, and of those only the public header (base/ has a header per facility).
Prints each breach as file:line and exits 1 when there is any. `--self-test` proves that the check can fail.
"""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": set(),
    "trace": {"base"},
    "profiler": {"base"},
    "object": {"base"},
    "net": {"base", "trace", "profiler"},
    "store": {"base", "trace", "profiler", "object"},
    "sync": {"base", "trace", "profiler", "object", "net", "store"},
    "discovery": {"base", "trace", "profiler", "object", "net", "store", "sync"},
    "debug_http": {"base", "trace", "profiler"},
    "daemon": {"base", "trace", "profiler", "object", "net", "store", "sync", "discovery", "debug_http"},
}
# Subsystems large enough to have a public header of their own below their folder.
SUBFOLDER_HEADERS = {"discovery/dht/dht.h", "discovery/mdns/mdns.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def breach(path, included):
    """Why `path` (relative, with folder) may not include `included`; None when it may."""
    folder, target = path.split("/")[0], included.split("/")
    if included.endswith(".pb-c.h") and len(target) == 1:
        return None  # generated beside the file
    if included.startswith("tests/"):
        return "the program does not include tests"
    if len(target) < 2 or target[0] not in MAY_INCLUDE:
        return "includes are written from the root, as in \"folder/header.h\""
    if target[0] == folder:
        return None
    if target[0] not in MAY_INCLUDE[folder]:
        return f"{folder}/ may not include {target[0]}/"
    if target[0] != "base" and included != f"{target[0]}/{target[0]}.h" and included not in SUBFOLDER_HEADERS:
        return f"only the public header {target[0]}/{target[0]}.h is for others"
    return None


def check(root):
    found = 0
    for folder in MAY_INCLUDE:
        for file in sorted((root / folder).rglob("*.[ch]")):
            path = file.relative_to(root).as_posix()
            for number, line in enumerate(file.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                why = match and breach(path, match.group(1))
                if why:
                    print(f"{path}:{number}: {match.group(1)}: {why}")
                    found += 1
    return found


def self_test():
    assert breach("sync/session.c", "net/net.h") is None
    assert breach("sync/session.c", "sync/fetch.h") is None
    assert breach("sync/session.c", "base/op.h") is None
    assert breach("sync/session.c", "net/mux.h") is not None
    assert breach("base/op.c", "trace/trace.h") is not None
    assert breach("trace/store.c", "profiler/profiler.h") is not None
    assert breach("debug_http/traces.c", "sync/sync.h") is not None
    assert breach("net/conn.c", "object/object.h") is not None
    assert breach("net/conn.c", "conn.h") is not None
    assert breach("net/conn.c", "tests/sim/simnet.h") is not None


if __name__ == "__main__":
    self_test()
    if "--self-test" in sys.argv:
        sys.exit(0)
    sys.exit(1 if check(pathlib.Path(__file__).resolve().parents[2]) else 0)
