#!/usr/bin/env python3
"""An edit of one file in a large folder moves little. Size in MiB: PEERSCOPE_LARGE_MIB, 1024 unless set."""
import os
import random
import unittest

from harness import Case

MIB = 1 << 20
LARGE_MIB = int(os.environ.get("PEERSCOPE_LARGE_MIB", "1024"))
FILES = 8


class Large(Case):
    def test_an_edit_in_a_large_folder_moves_less_than_two_mib(self):
        rng = random.Random(1)
        source, target = self.lab.folder / "source", self.lab.folder / "copy"
        source.mkdir()
        for i in range(FILES):
            with open(source / f"part{i}", "wb") as f:
                for _ in range(LARGE_MIB // FILES):
                    f.write(rng.randbytes(MIB))
        a, b = self.lab.daemon(), self.lab.daemon()
        iri, _ = a.publish(source)
        hinted = f"{iri}?peer={a.address()}"
        b.cli("get", hinted, "-o", target)
        self.assertSameTree(source, target)
        before = b.json("status")["net"]["received_bytes"]
        with open(source / "part3", "r+b") as f:
            f.seek(LARGE_MIB // FILES // 2 * MIB + 12345)
            f.write(b"an edit in the middle")
        a.publish(source)
        b.cli("get", hinted, "-o", target, "--force")
        self.assertSameTree(source, target)
        moved = b.json("status")["net"]["received_bytes"] - before
        print(f"moved {moved} bytes for an edit in {LARGE_MIB} MiB")
        self.assertLess(moved, 2 * MIB)


if __name__ == "__main__":
    unittest.main(verbosity=2)
