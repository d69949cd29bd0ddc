#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# migrate.sh [COMBINATION...] [-- CTEST ARGUMENT...] - the tests on builds in which each await goes on
# on another thread than it began on (src/sched/migrate.h), by each compiler at each level of
# optimisation: what a compiler keeps across a switch depends on both. One row for each at the end.
#
# COMBINATION      gcc-O0 gcc-O2 gcc-O3 gcc-lto, and the same with clang; default: all eight.
#                  asan, tsan, debug: those builds of CMakePresets.json in that mode
# WEFT_BUILD_DIR   where builds go; default: build
# JOBS             processes at a time; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
base=${WEFT_BUILD_DIR:-build}/migrate
# Each level brings warnings of its own.
export WEFT_WERROR=OFF

combinations=()
while [[ $# -gt 0 && $1 != -- ]]; do
    combinations+=("$1")
    shift
done
[[ $# -eq 0 ]] || shift
if [[ ${#combinations[@]} -eq 0 ]]; then
    for compiler in gcc clang; do
        combinations+=("$compiler"-{O0,O2,O3,lto})
    done
fi

# What is about the source or the package needs no second run.
tests=("$@")
[[ ${#tests[@]} -gt 0 ]] || tests=(-LE '^(compile)$')

# prepare COMBINATION: sets preset and settings.
prepare() {
    preset=release
    settings=(-DWEFT_MIGRATE=ON -DWEFT_BUILD_BENCH=OFF)
    case $1 in
    asan | tsan | debug) preset=$1 ;;
    gcc-* | clang-*) settings+=("-DCMAKE_C_COMPILER=${1%%-*}" -DWEFT_TEST_SLOW=3) ;;&
    *-O[0-3]) settings+=("-DCMAKE_C_FLAGS_RELEASE=-${1##*-}") ;;
    *-lto) settings+=(-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON) ;;
    *)
        echo "migrate.sh: no such combination: $1" >&2
        exit 2
        ;;
    esac
}

# Of the last run of ctest: "PASSED of ALL", or a dash.
count() {
    sed -nE 's/.*, ([0-9]+) tests failed out of ([0-9]+).*/\1 \2/p' "$1" | tail -n 1 |
        awk '{ print $2 - $1 " of " $2; found = 1 } END { if (!found) print "-" }'
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
rows=() failed=0
for combination in "${combinations[@]}"; do
    prepare "$combination"
    printf '\n=== %s\n' "$combination"
    start=$SECONDS verdict=passed
    export WEFT_BUILD_DIR=$base/$combination
    scripts/test.sh "$preset" "${settings[@]}" "${tests[@]}" 2>&1 | tee "$log" || verdict=FAILED
    [[ $verdict == passed ]] || failed=$((failed + 1))
    rows+=("$(printf '%-12s %-10s %-10s %4d s' "$combination" "$verdict" "$(count "$log")" $((SECONDS - start)))")
done

printf '\n%-12s %-10s %-10s\n' 'migrating' verdict tests
printf '%s\n' "${rows[@]}"
[[ $failed -eq 0 ]]
