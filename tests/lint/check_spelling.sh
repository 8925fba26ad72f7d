#!/bin/sh
# Misspelt words in what people read: sources, pages and documents. Words that are meant stand in spelling.txt.
cd "$(dirname "$0")/../.." || exit 1
command -v codespell >/dev/null || { echo "codespell is not here"; exit 77; }
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "not a checkout"; exit 77; }
git ls-files | grep -v '^tests/fuzz/corpus/' | xargs -r codespell --ignore-words tests/lint/spelling.txt
