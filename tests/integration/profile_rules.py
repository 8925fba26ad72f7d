"""What every file that leaves /debug/pprof must obey, beyond being protobuf: the rules that readers rely on.

check(packed) returns a Profile, or raises AssertionError that names the rule. As a program: profile_rules.py FILE…
"""
import collections
import re
import struct
import sys
import zlib

SINGULAR = {7, 8, 9, 10, 11, 12, 14, 15}
# What pprof's demangler eats out of a name that equals its system name.
MANGLED = re.compile(r"[<>\[\]]|::")
PERIODS = {"cpu": ("cpu", "nanoseconds")}


def varint(data, at):
    value = shift = 0
    while True:
        assert at < len(data) and shift < 70, "a varint runs off the end"
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value); of nested messages and packed lists the bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        assert key >> 3, "field number 0"
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size, at = varint(data, at)
            assert at + size <= len(data), "a field runs off the end"
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def signed(v):
    return v - (1 << 64) if v >> 63 else v


def numbers(value):
    """A repeated number: packed, or a single one."""
    if isinstance(value, int):
        return [value]
    out, at = [], 0
    while at < len(value):
        v, at = varint(value, at)
        out.append(v)
    return out


class Message:
    def __init__(self, data):
        self.all = collections.defaultdict(list)
        for number, value in fields(data):
            self.all[number].append(value)

    def one(self, number, default=0):
        values = self.all.get(number, [])
        assert len(values) <= 1, f"field {number} is there {len(values)} times"
        return values[0] if values else default

    def numbers(self, number):
        return [v for value in self.all.get(number, []) for v in numbers(value)]

    def messages(self, number):
        return [Message(v) for v in self.all.get(number, [])]


Sample = collections.namedtuple("Sample", "locations values labels")


class Profile:
    """What it says, with names for numbers."""

    def __init__(self, packed):
        inflate = zlib.decompressobj(31)
        data = inflate.decompress(packed) + inflate.flush()
        assert inflate.eof and not inflate.unused_data, "not one gzip member, or bytes behind it"
        p = self.message = Message(data)
        for number in SINGULAR:
            p.one(number)
        self.strings = [s.decode() for s in p.all[6]]
        assert self.strings and self.strings[0] == "", "string_table[0] is not empty"
        self.used = {0}
        self.types = [self.type(t) for t in p.messages(1)]
        period_type = p.one(11, None)
        self.period_type = self.type(Message(period_type)) if period_type is not None else None
        self.period, self.time, self.duration = p.one(12), p.one(9), p.one(10)
        self.comments = [self.text(c) for c in p.numbers(13)]
        self.default = self.text(p.one(14))
        self.mappings = self.by_id(p.messages(3), "mapping")
        self.locations = self.by_id(p.messages(4), "location")
        self.functions = self.by_id(p.messages(5), "function")
        self.samples = [self.sample(s) for s in p.messages(2)]

    def text(self, index):
        assert 0 <= index < len(self.strings), f"string {index} is not in the table"
        self.used.add(index)
        return self.strings[index]

    def type(self, t):
        return self.text(t.one(1)), self.text(t.one(2))

    @staticmethod
    def by_id(messages, what):
        for i, m in enumerate(messages):
            assert m.one(1) == i + 1, f"{what} ids are not 1, 2, 3…"
        return {m.one(1): m for m in messages}

    def sample(self, s):
        labels = {}
        for label in s.messages(3):
            key = self.text(label.one(1))
            assert key and key not in labels, f"label {key!r} is empty or twice"
            labels[key] = self.text(label.one(2)) if label.one(2) else signed(label.one(3))
        return Sample(s.numbers(1), [signed(v) for v in s.numbers(2)], labels)

    def names_at(self, location):
        """Innermost first."""
        lines = self.locations[location].messages(4)
        return [self.strings[self.functions[line.one(1)].one(2)] for line in lines]

    def total(self, value, **labels):
        return sum(s.values[value] for s in self.samples if all(s.labels.get(k) == v for k, v in labels.items()))


def check_mappings(p):
    assert p.mappings, "no mapping"
    ends = []
    for m in p.mappings.values():
        start, limit, file, build_id = m.one(2), m.one(3), p.text(m.one(5)), p.text(m.one(6))
        assert start < limit < 1 << 63, "a mapping is empty or beyond 2^63"
        assert file and not file.endswith(" (deleted)") and file != "[vsyscall]", f"mapping of {file!r}"
        assert re.fullmatch(r"[0-9a-f]*", build_id), f"build id {build_id!r}"
        assert m.one(7), f"{file} has no has_functions: readers would ask for symbols"
        ends.append((start, limit))
    ends.sort()
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:])), "mappings overlap"


def check_locations(p):
    seen, functions = set(), set()
    for number, location in p.locations.items():
        mapping = p.mappings.get(location.one(2))
        address = location.one(3)
        if mapping is not None:
            assert mapping.one(2) <= address < mapping.one(3), f"{address:#x} lies outside its mapping"
        assert address not in seen or address == 0, f"{address:#x} is there twice"
        seen.add(address)
        lines = location.messages(4)
        assert lines, f"location {number} has no line"
        for line in lines:
            assert line.one(1) in p.functions, "a line of no function"
            functions.add(line.one(1))
    assert functions == set(p.functions), "functions that nothing refers to"


def check_functions(p):
    for f in p.functions.values():
        name, system = p.text(f.one(2)), p.text(f.one(3))
        assert name, "a function without a name"
        assert name != system or not MANGLED.search(name), f"the demangler would change {name!r}"
        p.text(f.one(4))


def check_samples(p):
    used = set()
    for s in p.samples:
        assert s.locations, "an empty stack"
        assert len(s.values) == len(p.types), "a sample has as many values as there are types"
        assert any(s.values), "a sample of zeros"
        assert all(k in p.locations for k in s.locations), "a sample at no location"
        used.update(s.locations)
        if p.types[-1] == ("cpu", "nanoseconds"):
            assert s.values[1] == s.values[0] * p.period, "cpu time is not samples times the period"
    assert used == set(p.locations), "locations that nothing refers to"


def check(packed):
    p = Profile(packed)
    assert p.types and all(a and b for a, b in p.types), "no sample types"
    assert p.period > 0 and p.period_type is not None, "no period"
    kind = p.types[-1][0]
    assert p.period_type == PERIODS.get(kind, p.period_type), f"period type {p.period_type}"
    assert not p.default or p.default in [t for t, _ in p.types], "the default is no sample type"
    assert 0 < p.time < 1 << 62 and 0 <= p.duration < 1 << 62, "times"
    check_mappings(p)
    check_locations(p)
    check_functions(p)
    check_samples(p)
    assert p.used == set(range(len(p.strings))), "strings that nothing refers to"
    return p


def self_test():
    """That it can fail."""
    def field(number, value):
        body = value if isinstance(value, bytes) else value.encode()
        return struct.pack("BB", number << 3 | 2, len(body)) + body

    def refused(data):
        pack = zlib.compressobj(1, zlib.DEFLATED, 31)
        try:
            check(pack.compress(data) + pack.flush())
        except AssertionError:
            return True
        return False

    assert refused(b"") and refused(field(6, "x")) and refused(field(6, "") + b"\x48\x01\x48\x01")
    assert refused(field(6, "") + b"\xff")


if __name__ == "__main__":
    self_test()
    for name in sys.argv[1:]:
        with open(name, "rb") as file:
            check(file.read())
