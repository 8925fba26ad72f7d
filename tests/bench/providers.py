"""How long a newcomer takes to bring a folder here from providers behind slow and unplugged lines.

    tests/bench/providers.py [megabytes] [bytes per second of a fast line]

Prints a table. Real daemons on loopback; the lines are a proxy in this process, so 10 MB/s is what it carries on an idle machine.
"""
import json
import os
import pathlib
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from harness import Lab
from proxy import Proxy

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 100
FAST = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000


def fetch(lab, iri, daemons, rates, unplug_after=None):
    """Seconds, and what the newcomer counted."""
    newcomer = lab.daemon()
    lines = [Proxy(d.address(), rate) for d, rate in zip(daemons, rates)]
    timer = threading.Timer(unplug_after, lines[-1].unplug) if unplug_after else None
    try:
        if timer:
            timer.start()
        newcomer.cli("discover", iri + "?" + "&".join("peer=" + line.address() for line in lines))
        return newcomer.discovery_seconds(), json.loads(newcomer.http("/debug/vars")[2])["sync"]
    finally:
        if timer:
            timer.cancel()
        for line in lines:
            line.close()
        newcomer.stop()


def row(name, seconds, baseline, sync):
    ratio = f"{seconds / baseline:5.2f} x" if baseline else ""
    print(f"{name:44} {seconds:8.2f} s {ratio:8} {sync['overtaken']:6} overtaken {sync['late_bytes']:10} B came late")


def main():
    with Lab() as lab:
        folder = lab.folder / "content"
        folder.mkdir()
        for i in range(MEGABYTES):
            (folder / f"{i}.bin").write_bytes(os.urandom(1_000_000))
        daemons = [lab.daemon() for _ in range(3)]
        iri, _ = daemons[0].publish(folder)
        for other in daemons[1:]:
            other.cli("discover", f"{iri}?peer={daemons[0].address()}")
        print(f"{MEGABYTES} MB, fast lines carry {FAST} B/s")
        one, sync = fetch(lab, iri, daemons, [FAST])
        row("one provider", one, None, sync)
        for rate in (125_000, 20_000):
            seconds, sync = fetch(lab, iri, daemons, [FAST, rate])
            row(f"beside one at {rate * 8 // 1000} kbit/s", seconds, one, sync)
        two, sync = fetch(lab, iri, daemons, [FAST, FAST])
        row("two providers", two, None, sync)
        seconds, sync = fetch(lab, iri, daemons, [FAST, FAST, FAST], unplug_after=two / 4)
        row("one of three unplugged (against two)", seconds, two, sync)


main()
