#!/usr/bin/env python3
"""What a newcomer pays for an object of many versions.

versions.py PEERSCOPE MANY_VERSIONS [COUNT…]: for each count (default 1,000, 10,000 and 100,000) fills a store, starts a
daemon on it and a new one, and gets the object there: seconds, and CPU seconds and peak memory of both daemons.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0


def measure(harness, maker, count, *how):
    with harness.Lab() as lab:
        a, b = lab.daemon(start=False), lab.daemon(start=False)
        a.data.mkdir(mode=0o700)
        begun = time.monotonic()
        iri = subprocess.run([maker, a.data, str(count), *how], check=True, capture_output=True, text=True).stdout.strip()
        filled = time.monotonic() - begun
        a.start()
        b.start()
        before = cpu_seconds(a.process), cpu_seconds(b.process)
        begun = time.monotonic()
        target = lab.folder / "target"
        b.cli("get", f"{iri}?peer={a.address()}", "-o", target)
        took = time.monotonic() - begun
        assert target.read_text() == f"{count}\n", "not the newest"
        cpu = [cpu_seconds(p.process) - was for p, was in zip((a, b), before)]
        print(f"{count:7} versions{' ' + how[0] if how else '':9} {took:6.1f} s; CPU {cpu[0]:5.1f} s there, {cpu[1]:5.1f} s here;"
              f" peak {peak_mib(a.process):4.0f} MiB there, {peak_mib(b.process):4.0f} MiB here (made in {filled:.1f} s)", flush=True)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    os.environ["PEERSCOPE"] = os.path.abspath(sys.argv[1])
    import harness
    for count in sys.argv[3:] or ("1000", "10000", "100000"):
        measure(harness, os.path.abspath(sys.argv[2]), int(count))


if __name__ == "__main__":
    main()
