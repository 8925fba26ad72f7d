#!/usr/bin/env python3
"""A home router that opens ports on request: NAT-PMP (RFC 6886), a UPnP internet gateway, or a hostile one.

    gateway.py natpmp|upnp|garbage|drip OUTSIDE_ADDRESS INSIDE_ADDRESS LOG

Ports it opens are moved by SHIFT (NAT-PMP only: UPnP asks for a certain one) and led inside with nft, table "ip nat", chain "pre".
Every request becomes a line of LOG.
"""
import http.server
import random
import socket
import struct
import subprocess
import sys
import threading
import time

SHIFT = 10000
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>gw</friendlyName><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service><serviceType>{SERVICE}</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>/control</controlURL><eventSubURL>/event</eventSubURL><SCPDURL>/scpd</SCPDURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>"""


class Gateway:
    def __init__(self, outside, inside, log):
        self.outside, self.inside, self.log = outside, inside, open(log, "a", buffering=1)

    def say(self, *words):
        print(*words, file=self.log)

    def open_port(self, protocol, external, host, port):
        subprocess.run(["nft", "add", "rule", "ip", "nat", "pre", "ip", "daddr", self.outside, protocol, "dport", str(external), "dnat", "to",
                        f"{host}:{port}"], check=True)
        self.say("map", protocol, external, host, port)

    def close_port(self, protocol, port):
        self.say("unmap", protocol, port)


def natpmp(gateway):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((gateway.inside, 5351))
        gateway.say("ready")
        while True:
            packet, source = s.recvfrom(64)
            if packet[1] == 0:
                s.sendto(struct.pack("!BBHI4s", 0, 128, 0, 1, socket.inet_aton(gateway.outside)), source)
                continue
            _, op, _, port, external, lease = struct.unpack("!BBHHHI", packet)
            protocol = {1: "udp", 2: "tcp"}[op]
            if lease == 0:
                gateway.close_port(protocol, port)
            else:
                gateway.open_port(protocol, port + SHIFT, source[0], port)
            s.sendto(struct.pack("!BBHIHHI", 0, 128 + op, 0, 1, port, port + SHIFT if lease else 0, min(lease, 1800)), source)


def garbage(gateway):
    """Answers everything with anything."""
    rng = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((gateway.inside, 5351))
        gateway.say("ready")
        while True:
            packet, source = s.recvfrom(64)
            gateway.say("asked")
            for _ in range(50):
                s.sendto(rng.randbytes(rng.randrange(0, 600)), source)
            s.sendto(struct.pack("!BBHIHHI", 0, 128 + packet[1], 0, 1, 1, 0, 2**32 - 1), source)


def answer_searches(gateway, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 1900))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.255.250") + socket.inet_aton(gateway.inside))
        while True:
            packet, source = s.recvfrom(2000)
            if b"M-SEARCH" not in packet or b"InternetGatewayDevice:1" not in packet:
                continue
            # The first one is elsewhere, and must not be fetched.
            for host in (source[0], gateway.inside):
                s.sendto(f"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nUSN: uuid:1::{host}\r\n"
                         f"LOCATION: http://{host}:{port}/root.xml\r\n\r\n".encode(), source)


def field(body, name):
    return body.split(f"<{name}>")[1].split("<")[0] if f"<{name}>" in body else ""


def upnp(gateway, drip=False):
    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, text):
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(10**9 if drip else len(data)))
            self.end_headers()
            while drip:
                self.wfile.write(b"<x>")
                self.wfile.flush()
                time.sleep(0.5)
            self.wfile.write(data)

        def do_GET(self):
            gateway.say("fetched", self.path)
            self.reply(DESCRIPTION)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            action = self.headers["SOAPAction"].split("#")[1].strip('"')
            inner = ""
            if action == "GetExternalIPAddress":
                inner = f"<NewExternalIPAddress>{gateway.outside}</NewExternalIPAddress>"
            elif action == "AddPortMapping":
                gateway.open_port(field(body, "NewProtocol").lower(), field(body, "NewExternalPort"), field(body, "NewInternalClient"),
                                  field(body, "NewInternalPort"))
            elif action == "DeletePortMapping":
                gateway.close_port(field(body, "NewProtocol").lower(), field(body, "NewExternalPort"))
            self.reply(f'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
                       f'<u:{action}Response xmlns:u="{SERVICE}">{inner}</u:{action}Response></s:Body></s:Envelope>')

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((gateway.inside, 0), Handler)
    server.handle_error = lambda *_: None
    threading.Thread(target=answer_searches, args=(gateway, server.server_port), daemon=True).start()
    gateway.say("ready")
    server.serve_forever()


if __name__ == "__main__":
    kind, outside, inside, log = sys.argv[1:]
    it = Gateway(outside, inside, log)
    {"natpmp": natpmp, "garbage": garbage, "upnp": upnp, "drip": lambda g: upnp(g, drip=True)}[kind](it)
