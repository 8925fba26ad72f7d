"""Nodes of libtorrent (Debian's python3-libtorrent) in one process: one JSON request a line in, one JSON answer a line out, as
dht_adapter.c has them. An announcement carries the port of the session: nothing else can be said from Python in 2.0.8."""
import json
import sys
import time

import libtorrent

CATEGORY = libtorrent.alert.category_t
SETTINGS = {
    "enable_dht": True, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "alert_mask": CATEGORY.dht_notification | CATEGORY.dht_operation_notification | CATEGORY.error_notification,
    # Tests ask faster than people: its limits of 5 packets/s of an address and 8 kB/s in all would be what is tested.
    "dht_block_ratelimit": 1_000_000, "dht_upload_rate_limit": 100_000_000,
}
# Several nodes under one address, which it takes for one attacker otherwise.
SHARED = {"dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_prefer_verified_node_ids": False,
          "allow_multiple_connections_per_ip": True}
LOOKUP_QUIET_SECONDS = 1.5
sessions = {}


def text(address):
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def start(nodes, bootstrap, settings):
    for n in nodes:
        own = dict(SETTINGS, listen_interfaces=text((n["ip"], n["port"])),
                   dht_bootstrap_nodes=",".join(text(b) for b in bootstrap if list(b) != [n["ip"], n["port"]]))
        if n["ip"].startswith("127."):
            own.update(SHARED)
        sessions[n["id"]] = libtorrent.session({**own, **settings})
    return {}


def addnode(node, addrs):
    for ip, port in addrs:
        sessions[node].add_dht_node((ip, port))
    return {}


def announce(node, hash, port):
    magnet = libtorrent.parse_magnet_uri("magnet:?xt=urn:btih:" + hash)
    magnet.save_path = "/nonexistent"
    sessions[node].add_torrent(magnet).force_dht_announce()
    return {"port": sessions[node].listen_port()}


def lookup(node, hash, timeout):
    """Ends when something came and nothing more does: the end of a lookup is not told."""
    session, peers, end = sessions[node], set(), time.monotonic() + timeout
    session.pop_alerts()
    session.dht_get_peers(libtorrent.sha1_hash(bytes.fromhex(hash)))
    while time.monotonic() < end:
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.dht_get_peers_reply_alert):
                peers.update(text(p) for p in alert.peers())
                end = min(end, time.monotonic() + LOOKUP_QUIET_SECONDS)
    return {"peers": sorted(peers)}


def table_size(session):
    session.post_dht_stats()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.dht_stats_alert):
                return sum(bucket["num_nodes"] for bucket in alert.routing_table)
    return 0


def stat():
    return {"nodes": {i: {"good": table_size(s)} for i, s in sessions.items()}}


REQUESTS = {f.__name__: f for f in (start, addnode, announce, lookup, stat)}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(REQUESTS[request.pop("op")](**request)), flush=True)
