#!/usr/bin/env python3
"""Negentropy protocol version 1 in Python, as plainly as it can be said: an oracle for our own implementation, and one side of the
line protocol (see negentropy_line.c)."""
import bisect
import hashlib
import os
import sys

VERSION = 0x61
BUCKETS = 16
INFINITY = (1 << 64) - 1
FRAME_SPARE = 200  # bytes a message keeps free for its last range
SKIP, FINGERPRINT, ID_LIST = range(3)


def varint(n):
    digits = [n & 127]
    while n := n >> 7:
        digits.append(n & 127 | 128)
    return bytes(reversed(digits))


class Reader:
    def __init__(self, data):
        self.data, self.at, self.time = data, 0, 0

    def take(self, n):
        part = self.data[self.at:self.at + n]
        if len(part) < n:
            raise ValueError("the message ends too early")
        self.at += n
        return part

    def varint(self):
        n = 0
        while True:
            digit = self.take(1)[0]
            n = n << 7 | digit & 127
            if digit < 128:
                return n

    def bound(self):
        time = self.varint()
        self.time = INFINITY if time == 0 else min(self.time + time - 1, INFINITY)
        return self.time, self.take(self.varint())

    def more(self):
        return self.at < len(self.data)


class Writer:
    def __init__(self):
        self.data, self.time = bytearray([VERSION]), 0

    def range(self, bound, mode, payload=b""):
        time, prefix = bound
        self.data += b"\0" if time == INFINITY else varint(time - self.time + 1)
        self.time = time
        self.data += varint(len(prefix)) + prefix + varint(mode) + payload


class Negentropy:
    def __init__(self, items, frame_limit=0):
        self.items = sorted(items)  # of (time, id)
        self.frame_limit = frame_limit
        self.initiator = False

    def fingerprint(self, begin, end):
        total = sum(int.from_bytes(i, "little") for _, i in self.items[begin:end]) % (1 << 256)
        return hashlib.sha256(total.to_bytes(32, "little") + varint(end - begin)).digest()[:16]

    def bound_before(self, index):
        """The shortest that lies between this item and the one before it."""
        (time_a, a), (time_b, b) = self.items[index - 1], self.items[index]
        if time_a != time_b:
            return time_b, b""
        return time_b, b[:len(os.path.commonprefix([a, b])) + 1]

    def id_list(self, begin, end):
        return varint(end - begin) + b"".join(i for _, i in self.items[begin:end])

    def split(self, out, begin, end, bound):
        size, larger = divmod(end - begin, BUCKETS)
        if end - begin < 2 * BUCKETS:
            out.range(bound, ID_LIST, self.id_list(begin, end))
            return
        for bucket in range(BUCKETS):
            stop = begin + size + (bucket < larger)
            out.range(bound if stop == end else self.bound_before(stop), FINGERPRINT, self.fingerprint(begin, stop))
            begin = stop

    def initiate(self):
        self.initiator = True
        out = Writer()
        self.split(out, 0, len(self.items), (INFINITY, b""))
        return bytes(out.data)

    def too_long(self, length):
        return self.frame_limit > 0 and length > self.frame_limit - FRAME_SPARE

    def reconcile(self, message):
        """(haves, needs, reply); the reply is None when an initiator is done."""
        query, out, have, need = Reader(message), Writer(), [], []
        version = query.take(1)[0]
        if not 0x60 <= version <= 0x6f:
            raise ValueError("no Negentropy message")
        if version != VERSION:
            if self.initiator:
                raise ValueError("the other side speaks another version")
            return have, need, bytes(out.data)
        at, skipped = 0, None
        while query.more():
            bound, mode = query.bound(), query.varint()
            end = max(at, bisect.bisect_left(self.items, bound))
            saved = bytes(out.data), out.time
            if mode == FINGERPRINT:
                differs = query.take(16) != self.fingerprint(at, end)
            elif mode == ID_LIST:
                theirs = {query.take(32) for _ in range(query.varint())}
                differs = not self.initiator
            elif mode != SKIP:
                raise ValueError("no such mode")
            else:
                differs = False
            if mode == ID_LIST and self.initiator:
                ours = {i for _, i in self.items[at:end]}
                have += ours - theirs
                need += theirs - ours
            if differs and skipped is not None:
                out.range(skipped, SKIP)
            skipped = None if differs else bound
            if differs and mode == FINGERPRINT:
                self.split(out, at, end, bound)
            elif differs:
                end = self.answer_list(out, len(saved[0]), at, end, bound)
                saved = bytes(out.data), out.time
            if self.too_long(len(out.data)):
                out.data, out.time = bytearray(saved[0]), saved[1]
                out.range((INFINITY, b""), FINGERPRINT, self.fingerprint(end, len(self.items)))
                break
            at = end
        if self.initiator and len(out.data) == 1:
            return have, need, None
        return have, need, bytes(out.data)

    def answer_list(self, out, before, begin, end, bound):
        """Our whole list, or as much of it as the frame takes; returns where it ends."""
        for index in range(begin, end):
            if self.too_long(before + 32 * (index - begin)):
                bound, end = self.items[index], index
                break
        out.range(bound, ID_LIST, self.id_list(begin, end))
        return end


def main():
    items, side = [], None
    for line in sys.stdin:
        word, _, rest = line.strip().partition(",")
        if word == "item":
            time, _, name = rest.partition(",")
            items.append((int(time), bytes.fromhex(name)))
        elif word == "seal":
            side = Negentropy(items, int(os.environ.get("FRAMESIZELIMIT", "0")))
        elif word == "initiate":
            print(f"msg,{side.initiate().hex()}", flush=True)
        elif word == "msg":
            have, need, reply = side.reconcile(bytes.fromhex(rest))
            if reply is not None and side.frame_limit > 0 and len(reply) > side.frame_limit:
                sys.exit("a message is over the limit")
            for name in have:
                print(f"have,{name.hex()}")
            for name in need:
                print(f"need,{name.hex()}")
            print("done" if reply is None else f"msg,{reply.hex()}", flush=True)
        elif word:
            sys.exit(f"no such command: {word}")


if __name__ == "__main__":
    main()
