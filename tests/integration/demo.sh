#!/bin/bash
# Two daemons on this machine: a folder published on one arrives on the other, byte for byte, and a trace tells where the time went.
# PEERSCOPE = the program, FOLDER = what to publish. On a terminal it waits for Enter at the end, so that the trace can be looked at
# in a browser; KEEP=1 leaves the daemons running, KEEP=0 ends at once.
set -eu
cd "$(dirname "$0")/../.."
program=$(realpath "${PEERSCOPE:-build/daemon/peerscope}")
folder=${FOLDER:-daemon}
work=$(mktemp -d -t peerscope-demo-XXXXXX)
pids=()

cleanup() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

start() {
	"$program" daemon --data "$work/$1" --listen 127.0.0.1:0 --debug-listen 127.0.0.1:0 --dht off --lan off 2>"$work/$1.log" &
	pids+=($!)
	"$program" wait --data "$work/$1" --ready 30s || { cat "$work/$1.log"; exit 1; }
}

say "Two daemons, a and b, in $work"
start a
start b
"$program" status --data "$work/a" | head -5

say "On a: publish $folder"
published=$("$program" publish "$folder" --data "$work/a")
iri=$(head -1 <<<"$published")
echo "$published"

address=$("$program" status --data "$work/a" | grep -o '/ip4/127.0.0.1/[^ ]*' | head -1)
say "On b: tell it where a is"
"$program" peers add "$address" --data "$work/b"

say "On b: get it, with the trace"
"$program" get "$iri" --data "$work/b" -o "$work/copy" --trace | tee "$work/trace.txt"

say "Is it the same?"
diff -r --no-dereference "$folder" "$work/copy" && echo "identical: $(find "$work/copy" -type f | wc -l) files"

say "The same trace in a browser:"
grep -o 'http://[^ ]*/debug/traces?id=[0-9a-f]*' "$work/trace.txt"

if [ "${KEEP:-}" = 1 ]; then
	trap - EXIT
	echo "The daemons go on: kill ${pids[*]} && rm -r $work"
elif [ -t 0 ] && [ "${KEEP:-}" != 0 ]; then
	read -r -p "Enter ends the daemons. "
fi
