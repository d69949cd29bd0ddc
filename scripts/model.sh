#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# model.sh [PROGRAM...] - the model tests in full: deep ones too, three preemptions and two old values at
# least. Without arguments all programs, e.g. model.sh deque idle.
#
# A test that takes too long is stopped: what it walked through was sound, but it did not see all
# of it, so it is not asked whether it came by what it must. Such tests are named and counted for
# themselves. Exits 1 if any test failed.
#
# WEFT_BUILD_DIR           where builds go; default: build
# WEFT_MODEL_SECONDS       the limit of a test; default: 300
# WEFT_MODEL_LEAST         the preemptions; default: 3
# WEFT_MODEL_LEAST_STALE   the old values; default: 2
# JOBS                     tests at a time; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
programs=${WEFT_BUILD_DIR:-build}/release/tests/model
export WEFT_MODEL_FULL=1
export WEFT_MODEL_SECONDS=${WEFT_MODEL_SECONDS:-300}
export WEFT_MODEL_LEAST=${WEFT_MODEL_LEAST:-3}
export WEFT_MODEL_LEAST_STALE=${WEFT_MODEL_LEAST_STALE:-2}

chosen=()
for name in "$@"; do
    chosen+=("model_$name")
done
if ! said=$(scripts/build.sh release "${chosen[@]:-model_programs}" 2>&1); then
    printf '%s\n' "$said"
    exit 1
fi
if [[ ${#chosen[@]} -eq 0 ]]; then
    for source in tests/model/test_*.c; do
        name=${source##*/test_}
        chosen+=("model_${name%.c}")
    done
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# one PROGRAM TEST: its line, and all of its output if it failed; a mark in $out.
one() {
    local log rc=0

    log=$(mktemp "$out/log.XXXXXX")
    "$1" "$2" >"$log" 2>&1 || rc=$?
    if [[ $rc -ne 0 ]]; then
        echo "$1: $2" >>"$out/failed"
        cat "$log"
    elif grep -qE 'stopped after [0-9]+ s' "$log"; then
        echo "$1: $2" >>"$out/stopped"
        grep -E 'stopped after [0-9]+ s' "$log"
    else
        echo "$1: $2" >>"$out/passed"
        grep -E ' executions, |reported: ' "$log"
    fi
}
export -f one
export out

SECONDS=0
# shellcheck disable=SC2016 # xargs fills them in
for program in "${chosen[@]}"; do
    "$programs/$program" --list | while IFS= read -r test; do
        printf '%s\0%s\0' "$programs/$program" "$test"
    done
done | xargs -0 -n 2 -P "${JOBS:-$(nproc)}" bash -c 'one "$1" "$2"' one

# Of the explorer itself, and only with all programs.
if [[ $# -eq 0 ]]; then
    if tests/model/replayed.sh "$programs" && tests/model/pruned.sh "$programs" all; then
        echo "the explorer: replayed.sh, pruned.sh" >>"$out/passed"
    else
        echo "the explorer: replayed.sh, pruned.sh" >>"$out/failed"
    fi
fi

touch "$out"/{passed,stopped,failed}
if [[ -s $out/stopped ]]; then
    echo
    echo "stopped at ${WEFT_MODEL_SECONDS} s, not seen to the end:"
    sed 's/.*\/model_/  /' "$out/stopped"
fi
if [[ -s $out/failed ]]; then
    echo
    echo "failed:"
    sed 's/.*\/model_/  /' "$out/failed"
fi
count() {
    wc -l <"$out/$1"
}
echo
echo "model: $(count passed) passed, $(count stopped) stopped at their time, $(count failed) failed;" \
    "${SECONDS} s, at least ${WEFT_MODEL_LEAST} preemptions and ${WEFT_MODEL_LEAST_STALE} old values"
[[ ! -s $out/failed ]]
