#!/usr/bin/env python3
"""Our DHT node among libtorrent and bittorrent-dht: each announces, each looks up.

Runs the lab's interop.py on 127.0.0.1 with the adapter as a third kind. DHT_LAB names the lab's folder, DHT_NPM the one with bittorrent-dht's
node_modules; skips (77) when the lab or every other implementation is missing. With DHT_LAB_NET=1 and root, also in a network namespace with an address per
node. Sends nothing beyond loopback and that namespace.
"""
import os
import pathlib
import subprocess
import sys

SKIP = 77
ADAPTER = os.environ.get("DHT_ADAPTER", "build/discovery/dht/dht_adapter")
NAMESPACE = f"dhttest{os.getpid()}"


def has_libtorrent():
    return subprocess.run(["/usr/bin/python3", "-c", "import libtorrent"], capture_output=True).returncode == 0


def has_bittorrent_dht():
    folder = os.environ.get("DHT_NPM")
    return folder is not None and (pathlib.Path(folder) / "node_modules" / "bittorrent-dht").is_dir()


def run(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    print(done.stdout)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
    return done.returncode


def in_namespace(lab, kinds, env):
    script = str(lab / "lab.sh")
    subprocess.run([script, "up"], env=env, check=True)
    try:
        return run([script, "exec", str(lab / "interop.py"), "--kinds", kinds], env)
    finally:
        subprocess.run([script, "down"], env=env, check=False)


def main():
    lab = pathlib.Path(os.environ.get("DHT_LAB", "/nonexistent"))
    others = [k for k, here in (("lt", has_libtorrent()), ("js", has_bittorrent_dht())) if here]
    if not (lab / "interop.py").exists() or not others or not pathlib.Path(ADAPTER).exists():
        print("skipped: no lab, no other implementation, or no adapter")
        return SKIP
    kinds = ",".join(others + ["c"])
    env = dict(os.environ, DHT_DRIVER_C=str(pathlib.Path(ADAPTER).resolve()), DHTLAB_NS=NAMESPACE, PYTHONDONTWRITEBYTECODE="1")
    failed = run(["/usr/bin/python3", str(lab / "interop.py"), "--loopback", "--kinds", kinds], env)
    if not failed and os.environ.get("DHT_LAB_NET") == "1":
        failed = in_namespace(lab, kinds, env)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
