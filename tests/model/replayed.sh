#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# replayed.sh FOLDER - the last line of a failure's report repeats that failure: the same words, the
# same steps, at once. FOLDER has the programs. Tried on planted defects, and on orderings of the
# run queue that are weakened.
set -euo pipefail
folder=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
repeated=0

# The report from its first to its last step. Which execution it was, and where things lie, may differ.
steps() {
    sed -n '/FAILED in execution/,/^to repeat it/p' "$1" |
        sed -E 's/in execution [0-9]+/in execution N/; /^to repeat it/d; s/0x[0-9a-f]{6,}/ADDRESS/g'
}

# repeat PROGRAM TEST: it fails, and then once more in the way that its report says.
repeat() {
    local program=$folder/$1 test=$2 line

    "$program" "$test" >"$out/first" 2>&1 || true
    line=$(sed -n "s/^to repeat it: WEFT_MODEL_REPLAY='\([^']*\)' WEFT_MODEL_BOUND=\([0-9]*\) \
WEFT_MODEL_STALE=\([0-9]*\) .*/\1 \2 \3/p" "$out/first")
    if [[ -z $line ]]; then
        cat "$out/first"
        echo "replayed.sh: $1, '$test': says no way to repeat it"
        exit 1
    fi
    read -r decisions bound stale <<<"$line"
    if WEFT_MODEL_REPLAY=$decisions WEFT_MODEL_BOUND=$bound WEFT_MODEL_STALE=$stale \
        "$program" "$test" >"$out/second" 2>&1; then
        cat "$out/first" "$out/second"
        echo "replayed.sh: $1, '$test': does not fail again"
        exit 1
    fi
    if ! diff <(steps "$out/first") <(steps "$out/second"); then
        echo "replayed.sh: $1, '$test': fails otherwise"
        exit 1
    fi
    grep -q 'FAILED in execution 1:' "$out/second"
    repeated=$((repeated + 1))
}

for test in "published relaxed, and late" "used after it was freed" "two locks in both orders" \
    "a futex: the wake comes between the look and the sleep" "a claim that one interleaving breaks"; do
    repeat model_planted "$test"
done

# The release of tail, and the fence between a thief's loads; orders are the compiler's numbers.
mutate() {
    "$folder/model_deque" --sites | sed -nE "s/^SITE ([^:]*deque\.c:[0-9]+:$1):[-0-9]+ $2\$/\1/p" | head -n 1
}
WEFT_MODEL_MUTATE=$(mutate 1:3 'store &d->tail'):0
export WEFT_MODEL_MUTATE
repeat model_deque "ready: the owner pushes and takes, a thief takes half"
WEFT_MODEL_MUTATE=$(mutate 6:5 'swap &d->tail'):4
repeat model_deque "backlog: the owner takes the newest, a thief the oldest"

echo "$repeated failures repeated"
