#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# chat.sh BUILD_DIR - examples/chat with several visitors: what one says all get, in order; who comes later sees the
# latest topic; who reads nothing for a while holds up nobody, and is told how many lines it missed; and when
# its input ends, the server says so to all, and ends with 0.
set -euo pipefail
dir=$1

tmp=$(mktemp -d)
server=
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$tmp"
}
trap finish EXIT

fail() {
    echo "chat: $1"
    exit 1
}

mkfifo "$tmp/in"
"$dir/examples/chat" 127.0.0.1:0 <"$tmp/in" >"$tmp/out" &
server=$!
exec {input}>"$tmp/in"
port=
for _ in {1..100}; do
    port=$(sed -n 's/^listening on .*://p' "$tmp/out")
    [[ -z $port ]] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
done
[[ -n $port ]] || fail "the server did not start"

# expect FD LINE - the next line from there is this one.
expect() {
    local line

    read -r -t 20 -u "$1" line || fail "no line; expected: $2"
    [[ $line == "$2" ]] || fail "got: $line; expected: $2"
}

# enter NAME - a visitor, its descriptor in $fd; nothing else was said meanwhile.
enter() {
    exec {fd}<>"/dev/tcp/127.0.0.1/$port"
    expect "$fd" "* your name?"
    printf '%s\n' "$1" >&"$fd"
}

enter ada
ada=$fd
expect "$ada" "* the topic is: nothing in particular"
expect "$ada" "* ada is here"
enter bob
bob=$fd
expect "$bob" "* the topic is: nothing in particular"
expect "$bob" "* bob is here"
expect "$ada" "* bob is here"

printf 'hello\r\n' >&"$ada"
expect "$ada" "ada: hello"
expect "$bob" "ada: hello"
printf 'one\ntwo\nthree\n' >&"$bob"
for line in one two three; do
    expect "$ada" "bob: $line"
    expect "$bob" "bob: $line"
done

printf '/topic looms\n' >&"$bob"
expect "$ada" "* the topic is: looms"
expect "$bob" "* the topic is: looms"

# cyd reads nothing, while ada says more than the channel and the kernel keep.
enter cyd
cyd=$fd
expect "$cyd" "* the topic is: looms"
expect "$cyd" "* cyd is here"
expect "$ada" "* cyd is here"
expect "$bob" "* cyd is here"
count=4000
filler=$(printf '%0150d' 0)
for ((i = 1; i <= count; i++)); do
    printf '%d %s\n' "$i" "$filler"
done >&"$ada" &
writer=$!
# Each reader adds up what it gets and what it was told to have missed: that is all that was said.
reads_all() {
    local got=0 missed=0 line

    while [[ $((got + missed)) -lt $count ]]; do
        read -r -t 60 -u "$1" line || fail "$2: $got lines and $missed missed, and then nothing"
        case $line in
        "ada: "*) got=$((got + 1)) ;;
        "* you missed "*) missed=$((missed + $(cut -d' ' -f4 <<<"$line"))) ;;
        *) fail "$2 got: $line" ;;
        esac
        if [[ $line == "ada: "* && $line != "ada: $((got + missed)) "* ]]; then
            fail "$2 got: ${line%% 0*}; expected number $((got + missed))"
        fi
    done
    echo "$got $missed" >"$tmp/$2"
}
reads_all "$ada" ada &
readers=($!)
reads_all "$bob" bob &
readers+=($!)
wait "$writer"
for pid in "${readers[@]}"; do
    wait "$pid"
done
reads_all "$cyd" cyd
read -r got missed <"$tmp/cyd"
echo "ada and bob: $(cat "$tmp/ada") $(cat "$tmp/bob"); cyd got $got and missed $missed"
[[ $missed -gt 0 ]] || fail "cyd missed nothing"

exec {bob}>&-
expect "$ada" "* bob has left"
expect "$cyd" "* bob has left"
exec {input}>&-
expect "$ada" "* the room is closed"
expect "$cyd" "* the room is closed"
timeout 20 tail --pid="$server" -f /dev/null || fail "the server does not end"
wait "$server" || fail "the server ended with $?"
server=
echo "the server ended with 0"
