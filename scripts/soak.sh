#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# soak.sh [BUILD] - random mixes of everything, in rounds of a few seconds, for as long as one likes.
# BUILD is one of CMakePresets.json; default: release. Exits 0 only if every round passed.
#
# MINUTES          how long; default: 1
# SEED             where the rounds come from; default: random, and printed
# ROUND            play this round of the seed again and again, instead of one after the other
# LENGTH           milliseconds that a round lasts; default: as its plan likes
# WEFT_BUILD_DIR   where builds go; default: build. The log goes there too: soak-BUILD.log
# JOBS             processes at a time, to build; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
dir=${WEFT_BUILD_DIR:-build}/$preset
log=${WEFT_BUILD_DIR:-build}/soak-$preset.log

scripts/build.sh "$preset" test_soak

setting() {
    sed -n "s/^$1:[A-Z]*=//p" "$dir/CMakeCache.txt"
}
IFS=';' read -ra run <<<"$(setting WEFT_TEST_LAUNCHER)"
WEFT_TEST_SLOW=$(setting WEFT_TEST_SLOW)
export WEFT_TEST_SLOW
export TSAN_OPTIONS=${TSAN_OPTIONS:-die_after_fork=0:halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=20}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# Where the kernel spreads mappings widely, gcc 12's ThreadSanitizer finds its own memory taken.
if [[ $preset == tsan* && $(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28) -gt 28 ]]; then
    run=(setarch "$(uname -m)" -R)
fi

options=(-t $((${MINUTES:-1} * 60)) -o "$log" -b "$dir")
[[ -z ${SEED:-} ]] || options+=(-s "$SEED")
[[ -z ${ROUND:-} ]] || options+=(-r "$ROUND")
[[ -z ${LENGTH:-} ]] || options+=(-l "$LENGTH")
echo "soak: ${MINUTES:-1} minutes of $preset; the log is $log"
exec "${run[@]}" "$dir/tests/soak/test_soak" "${options[@]}"
