#!/bin/sh
# Every tracked C file is as clang-format 14 writes it. Another version writes differently: then this is skipped.
cd "$(dirname "$0")/../.." || exit 1
format=
for name in clang-format-14 clang-format; do
	case $("$name" --version 2>/dev/null) in
	*"version 14."*) format=$name; break ;;
	esac
done
[ -n "$format" ] || { echo "clang-format 14 is not here"; exit 77; }
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "not a checkout"; exit 77; }
git ls-files '*.c' '*.h' | xargs -r "$format" --dry-run -Werror
