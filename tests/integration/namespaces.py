"""Hosts of our own: two network namespaces and a virtual cable between them, made and removed here. Needs root."""
import os
import shutil
import subprocess
import unittest

import harness


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, **options).stdout


def may_make_namespaces():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"pslan-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return False
    # Where the root folder is no mount of its own they can be made, but not entered.
    entered = subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return entered


class Lan:
    """Hosts a and b, each with an interface "lan"."""

    def __init__(self):
        self.names = {h: f"pslan-{os.getpid()}-{h}" for h in "ab"}
        self.processes = []

    def __enter__(self):
        for name in self.names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", "lan", "netns", self.names["a"], "type", "veth", "peer", "name", "lan", "netns",
            self.names["b"])
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def ip(self, host, *args):
        return run("ip", "-n", self.names[host], *args)

    def up(self, addresses):
        for host, address in addresses.items():
            self.ip(host, "addr", "add", address, "dev", "lan", *(["nodad"] if ":" in address else []))
            self.ip(host, "link", "set", "lan", "up")
        return self

    def without_ipv6(self):
        for host in self.names:
            for interface in ("all", "default", "lan"):
                run(*self.inside(host, "sysctl", "-qw", f"net.ipv6.conf.{interface}.disable_ipv6=1"))
        return self

    def up4(self):
        return self.up({"a": "192.0.2.1/24", "b": "192.0.2.2/24"})

    def inside(self, host, *command):
        return ["ip", "netns", "exec", self.names[host], *map(str, command)]

    def spawn(self, host, *command, **options):
        process = subprocess.Popen(self.inside(host, *command), stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process


@unittest.skipUnless(may_make_namespaces(), "needs root and network namespaces")
class LanCase(unittest.TestCase):
    def setUp(self):
        self.lan = Lan()
        self.addCleanup(self.lan.__exit__)
        self.lan.__enter__()

    def flip(self, host, old, new):
        """The host's address is another one now."""
        nodad = ["nodad"] if ":" in new else []
        self.lan.ip(host, "addr", "del", old, "dev", "lan")  # first: it would take a second one of its network with it
        self.lan.ip(host, "addr", "add", new, "dev", "lan", *nodad)


class NamespaceDaemon(harness.Daemon):
    """A daemon in a namespace, as it comes: it listens where it does by itself. The command line reaches it through the
    data folder."""

    def __init__(self, folder, lan, host, *options):
        super().__init__(folder, *options)
        self.lan, self.host = lan, host

    def start(self, *options, **__):
        self.log = open(f"{self.data}.log", "a+b")
        self.process = self.lan.spawn(
            self.host, harness.PROGRAM, "daemon", "--data", self.data, "--debug-listen", "127.0.0.1:0", "--dht", "off",
            *self.options, *options, stdout=self.log, stderr=self.log)
        self.wait_ready()
        return self
