"""A collector of traces that records what comes, and answers as it is told.

The decoder is strict: fields and types are those of opentelemetry-proto's trace.proto, common.proto and resource.proto (v1);
what is not there is an error.
"""
import http.server
import pathlib
import ssl
import struct
import subprocess
import threading
import time

ANY_VALUE = {1: ("string_value", "string"), 2: ("bool_value", "varint"), 3: ("int_value", "int64"), 4: ("double_value", "fixed64"),
             7: ("bytes_value", "bytes")}
KEY_VALUE = {1: ("key", "string"), 2: ("value", ANY_VALUE)}
EVENT = {1: ("time_unix_nano", "fixed64"), 2: ("name", "string"), 3: ("*attributes", KEY_VALUE), 4: ("dropped_attributes_count", "varint")}
LINK = {1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 3: ("trace_state", "string"), 4: ("*attributes", KEY_VALUE),
        5: ("dropped_attributes_count", "varint"), 6: ("flags", "fixed32")}
STATUS = {2: ("message", "string"), 3: ("code", "varint")}
SPAN = {1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 3: ("trace_state", "string"), 4: ("parent_span_id", "bytes"),
        5: ("name", "string"), 6: ("kind", "varint"), 7: ("start_time_unix_nano", "fixed64"), 8: ("end_time_unix_nano", "fixed64"),
        9: ("*attributes", KEY_VALUE), 10: ("dropped_attributes_count", "varint"), 11: ("*events", EVENT),
        12: ("dropped_events_count", "varint"), 13: ("*links", LINK), 14: ("dropped_links_count", "varint"), 15: ("status", STATUS),
        16: ("flags", "fixed32")}
SCOPE = {1: ("name", "string"), 2: ("version", "string"), 3: ("*attributes", KEY_VALUE), 4: ("dropped_attributes_count", "varint")}
SCOPE_SPANS = {1: ("scope", SCOPE), 2: ("*spans", SPAN), 3: ("schema_url", "string")}
RESOURCE = {1: ("*attributes", KEY_VALUE), 2: ("dropped_attributes_count", "varint")}
RESOURCE_SPANS = {1: ("resource", RESOURCE), 2: ("*scope_spans", SCOPE_SPANS), 3: ("schema_url", "string")}
REQUEST = {1: ("*resource_spans", RESOURCE_SPANS)}
WIRE = {"varint": 0, "int64": 0, "fixed64": 1, "string": 2, "bytes": 2, "fixed32": 5}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        assert shift < 70, "varint too long"


def decode(data, message):
    result = {name[1:]: [] for name, _ in message.values() if name.startswith("*")}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        name, kind = message[tag >> 3]
        wire = WIRE.get(kind, 2) if isinstance(kind, str) else 2
        assert tag & 7 == wire, f"{name} has wire type {tag & 7}"
        if wire == 0:
            value, at = varint(data, at)
            if kind == "int64" and value >= 1 << 63:
                value -= 1 << 64
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size, f"{name} is cut off"
            value = value.decode() if kind == "string" else value if kind == "bytes" else decode(value, kind)
        else:
            size = 8 if wire == 1 else 4
            value, at = struct.unpack("<Q" if wire == 1 else "<I", data[at:at + size])[0], at + size
        if name.startswith("*"):
            result[name[1:]].append(value)
        else:
            result[name] = value
    return result


def check_span(span):
    """What the schema asks of a span in words."""
    assert len(span["trace_id"]) == 16 and any(span["trace_id"])
    assert len(span["span_id"]) == 8 and any(span["span_id"])
    assert len(span.get("parent_span_id", b"12345678")) == 8
    assert span["name"] and span["kind"] in (1, 2, 3, 4, 5)
    assert 0 < span["start_time_unix_nano"] <= span["end_time_unix_nano"]
    assert span.get("status", {}).get("code", 0) in (0, 1, 2)
    keys = [a["key"] for a in span["attributes"]]
    assert all(keys) and len(keys) == len(set(keys)), f"attributes are unique: {keys}"
    assert all(len(a["value"]) == 1 for a in span["attributes"] if "value" in a)
    for event in span["events"]:
        assert event["name"] and event["time_unix_nano"] > 0
    for link in span["links"]:
        assert len(link["trace_id"]) == 16 and len(link["span_id"]) == 8


def spans_of(body):
    spans = []
    for resource_spans in decode(body, REQUEST)["resource_spans"]:
        names = {a["key"]: a["value"]["string_value"] for a in resource_spans["resource"]["attributes"]}
        assert names["service.name"] == "peerscope"
        for scope_spans in resource_spans["scope_spans"]:
            for span in scope_spans["spans"]:
                check_span(span)
                span["instance"] = names.get("service.instance.id")
                spans.append(span)
    return spans


class Collector:
    """`answers` are given in turn, the last one for good: (status, headers, body), or "hang", or "close"."""

    def __init__(self, *answers, tls=None):
        self.answers = list(answers) or [(200, {}, b"")]
        self.requests = []  # (time, path, headers, body)
        self.ended = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((time.monotonic(), self.path, dict(self.headers), body))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if answer == "hang":
                    outer.ended.wait(60)
                if isinstance(answer, str):
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def spans(self):
        return [span for _, _, _, body in self.requests for span in spans_of(body)]


def certificate(path, name="IP:127.0.0.1"):
    """A self-signed certificate and its key in one file."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=collector", "-addext",
                    f"subjectAltName={name}", "-keyout", f"{path}.key", "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(b"".join(pathlib.Path(f"{path}.{part}").read_bytes() for part in ("key", "crt")))
    return path
