#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# demo.sh BUILD_DIR [LOAD OPTION...] - a real server under real load: starts examples/echo on a free
# port, drives it with the load generator, prints the report, and stops the server.
#
# Exits 0 only if every byte came back as it was sent and the server ended with 0.
set -euo pipefail
dir=$1
shift
options=("$@")
[[ ${#options[@]} -gt 0 ]] || options=(-c 1000 -s 64 -d 5)

# Two descriptors' worth of every connection may be needed; take what the system allows.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

tmp=$(mktemp -d)
server=
finish() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
    fi
    rm -rf "$tmp"
}
trap finish EXIT

# The server ends when its standard input does: the other end of this pipe is ours to close.
mkfifo "$tmp/stdin"
"$dir/examples/echo" 127.0.0.1:0 <"$tmp/stdin" >"$tmp/stdout" &
server=$!
exec 3>"$tmp/stdin"

address=
for _ in {1..100}; do
    address=$(sed -n 's/^listening on //p' "$tmp/stdout")
    [[ -z $address ]] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
done
if [[ -z $address ]]; then
    echo "demo: the server did not start" >&2
    exit 1
fi
echo "demo: examples/echo (process $server) listens on $address, on $(nproc) processors"

rc=0
"$dir/weft-load" -P "$server" "${options[@]}" "$address" || rc=$?

exec 3>&-
status=0
timeout 20 tail --pid="$server" -f /dev/null || status=124
if [[ $status -eq 0 ]]; then
    wait "$server" || status=$?
    server=
fi
if [[ $status -ne 0 ]]; then
    echo "demo: FAILED: the server ended with $status" >&2
    exit 1
fi
if [[ $rc -ne 0 ]]; then
    echo "demo: FAILED: the load generator found errors" >&2
    exit 1
fi
echo "demo: the server ended with 0; every byte came back"
