#!/usr/bin/env python3
"""Writes a C file that holds the given text files as strings: embed.py OUTPUT FILE..."""
import base64
import hashlib
import os
import sys

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def c_string(line):
    out = []
    for byte in line:
        char = chr(byte)
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char == "?":
            out.append("\\?")  # no trigraphs
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append("\\%03o" % byte)
    return '"' + "".join(out) + '"'


def main(output, paths):
    with open(output, "w", encoding="ascii") as f:
        f.write('#include "debug_http/page.h"\n\n')
        for i, path in enumerate(paths):
            with open(path, "rb") as src:
                lines = src.read().splitlines(keepends=True)
            f.write("static const char file_%d[] =\n" % i)
            f.write("\n".join("\t" + c_string(line) for line in lines or [b""]))
            f.write(";\n\n")
        f.write("const struct asset page_assets[] = {\n")
        for i, path in enumerate(paths):
            name = os.path.basename(path)
            with open(path, "rb") as src:
                digest = base64.b64encode(hashlib.sha256(src.read()).digest()).decode()
            f.write('\t{ "%s", "%s", file_%d, sizeof(file_%d) - 1, "%s" },\n'
                    % (name, TYPES[os.path.splitext(name)[1]], i, i, digest))
        f.write("};\nconst size_t page_asset_count = %d;\n" % len(paths))


main(sys.argv[1], sys.argv[2:])
