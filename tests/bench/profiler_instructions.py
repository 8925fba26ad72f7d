#!/usr/bin/env python3
"""What a sample costs in instructions, ours and gperftools': a count that a busy machine does not change.

profiler_instructions.py BENCH_PROFILER [BLOCKS [HZ [UNITS]]]: runs it under valgrind's callgrind and divides what the
signal handlers executed by how often they ran. Caches, the kernel and the signal frame are not in it; bench_profiler
has those, in time.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

# The handler, and what it calls once for every sample.
HANDLERS = (("peerscope", r"on_sigprof", r"ring_claim"),
            ("gperftools", r"ProfileHandler::SignalHandler\(.*", r"CpuProfiler::prof_handler\(.*"))


def functions(text):
    """name → (own instructions, those of its callees, how often it was called), of one callgrind file."""
    names, found, at, calls = {}, {}, None, None
    for line in text.split("\n"):
        name = re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line)
        if name:
            if name[2]:
                names[name[1]] = name[2]
            if line.startswith("fn="):
                at = found.setdefault(name[1], [0, 0, 0])
            else:
                callee = found.setdefault(name[1], [0, 0, 0])
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
        elif re.match(r"[+*\d-]", line) and at is not None:
            cost = int(line.split()[1]) if len(line.split()) > 1 else 0
            if calls is None:
                at[0] += cost
            else:
                at[1] += cost
                callee[2] += calls
                calls = None
    return {names.get(key, key): value for key, value in found.items()}


def find(found, pattern):
    for name, value in found.items():
        if re.fullmatch(pattern, name):
            return value
    return None


def main():
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/%p", sys.argv[1],
                   *(sys.argv[2:] + ["2", "250", "200"][len(sys.argv) - 2:])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = [functions(p.read_text()) for p in pathlib.Path(folder).iterdir()]
    for who, handler, once in HANDLERS:
        for found in files:
            cost, runs = find(found, handler), find(found, once)
            if cost and runs and runs[2]:
                print(f"{who}: {(cost[0] + cost[1]) / runs[2]:.0f} instructions a sample, {runs[2]} samples")


if __name__ == "__main__":
    sys.exit(main())
