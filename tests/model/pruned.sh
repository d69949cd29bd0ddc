#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# pruned.sh FOLDER [all] - leaving out what was met before loses nothing: a test comes to the same number
# of different ends (all that its threads have read, and all its memory, when they are done) whether
# the explorer walks through such states again or not. FOLDER has the programs.
#
# Tests of a few steps as they are; with `all` every test, with one preemption and no old values, which
# takes minutes. One that even so is not through in 100 s is named.
set -euo pipefail
folder=$1
compared=0 walks=0

# "ENDS EXECUTIONS" of one test: never more ends than executions. "late" at the time limit; whatever else it
# ends by but a pass is an error.
count() {
    local said rc=0 counted

    said=$(WEFT_MODEL_ENDS=1 timeout 100 "$folder/$1" "$2" 2>&1) || rc=$?
    if [[ $rc -eq 124 ]]; then
        echo late
        return
    fi
    counted=$(sed -nE 's/.* ([0-9]+) executions, .*/\1/p; s/.* ([0-9]+) ends$/\1/p' <<<"$said" |
        sort -n | paste -sd ' ')
    if [[ $rc -ne 0 || ! $counted =~ ^[0-9]+\ [0-9]+$ ]]; then
        echo "$said" >&2
        echo "pruned.sh: $1, '$2': exit code $rc, ends and executions: '$counted'" >&2
        return 1
    fi
    echo "$counted"
}

compare() {
    local with without

    with=$(count "$1" "$2")
    without=$(WEFT_MODEL_FORGET=1 count "$1" "$2")
    if [[ $without == late ]]; then
        echo "pruned.sh: $1, '$2': not compared, it takes too long"
        return
    fi
    if [[ ${with% *} != "${without% *}" ]]; then
        echo "pruned.sh: $1, '$2': ends and executions: $with; when nothing is left out: $without"
        exit 1
    fi
    compared=$((compared + 1))
    walks=$((walks + ${without#* } - ${with#* }))
}

if [[ ${2:-} == all ]]; then
    export WEFT_MODEL_BOUND=1 WEFT_MODEL_STALE=0
    for program in "$folder"/model_*; do
        [[ ${program##*/} != model_planted ]] || continue
        while read -r test; do
            [[ $test != *"hands on nothing" ]] || continue
            compare "${program##*/}" "$test"
        done < <("$program" --list)
    done
else
    while read -r test; do
        compare model_litmus "$test"
    done < <("$folder/model_litmus" --list |
        grep -vE '^IRIW (with|release)|two readers|hands on nothing')
    compare model_lock "one lock inside another"
    compare model_lock "two threads hold it in turn"
    compare model_deque "ready: the owner pushes and takes, a thief takes half"
    compare model_deque "backlog: the owner takes the newest, a thief the oldest"
    compare model_planted "a futex: looked at, and slept on"
    compare model_planted "a futex: a sleep with a limit"
fi

if [[ $walks -le 0 ]]; then
    echo "pruned.sh: nothing was left out at all"
    exit 1
fi
echo "$compared tests come to the same ends; $walks walks were spared"
