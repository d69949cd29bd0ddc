#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# proxy.sh BUILD_DIR - examples/proxy in front of examples/echo, under the load generator, which
# verifies every byte. All three must end with 0.
set -euo pipefail
dir=$1

tmp=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$tmp"
}
trap finish EXIT

# start NAME PROGRAM ARGUMENT... - run a server whose standard input is ours to end; its address is
# left in $address.
start() {
    local name=$1
    shift

    mkfifo "$tmp/$name.in"
    "$@" <"$tmp/$name.in" >"$tmp/$name.out" &
    pids+=($!)
    exec {input}>"$tmp/$name.in"
    address=
    for _ in {1..100}; do
        address=$(sed -n 's/^listening on //p' "$tmp/$name.out")
        [[ -z $address ]] || return 0
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "$name did not start"
    exit 1
}

start echo "$dir/examples/echo" 127.0.0.1:0
echo_input=$input
start proxy "$dir/examples/proxy" "$address" 127.0.0.1:0
proxy_input=$input

"$dir/weft-load" -c 20 -s 1000 -d 1 -w 0.2 "$address"

# Both end by themselves once their input does.
exec {proxy_input}>&- {echo_input}>&-
for pid in "${pids[@]}"; do
    timeout 20 tail --pid="$pid" -f /dev/null || { echo "process $pid does not end"; exit 1; }
    wait "$pid"
done
pids=()
echo "all three ended with 0"
