#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# steps.sh SOURCE_DIR - the model of the park protocol and the library speak of the same steps: each lettered
# step (P2.a) stands in one function of src/, and once in the inline of that name in tests/promela/. For each
# there is a mutant: NO_P2_a leaves it out of the model, and run.sh says what comes of it.
#
# Prints what stands on one side only, and exits 1 if there is anything.
set -euo pipefail
cd "$1"
shopt -s globstar
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# steps PATTERN FILE...: "function step" for each step inside of a body.
steps() {
    local pattern=$1
    shift
    awk -v pattern="$pattern" '
    FNR == 1 { inside = 0 }
    /^[A-Za-z_].*\(/ && !inside {
        name = $0
        sub(/\(.*/, "", name)
        sub(/.*[ *]/, "", name)
    }
    /^[{]/ { inside = 1 }
    /^}/ { inside = 0 }
    inside {
        rest = $0
        while (match(rest, pattern)) {
            step = substr(rest, RSTART, RLENGTH)
            gsub(/[^A-Z0-9a-z.]/, "", step)
            print name, step
            rest = substr(rest, RSTART + RLENGTH)
        }
    }' "$@" | sort
}

steps '(^|[^A-Za-z0-9_])[A-Z][0-9][.][a-z]([^A-Za-z0-9_]|$)' src/**/*.c >"$tmp/library"
steps '[(][A-Z][0-9][.][a-z][)]' tests/promela/*.pml >"$tmp/model"

for side in library model; do
    if [[ -n $(cut -d' ' -f2 "$tmp/$side" | sort | uniq -d) || ! -s $tmp/$side ]]; then
        echo "twice or nowhere in the $side:"
        cut -d' ' -f2 "$tmp/$side" | sort | uniq -d
        exit 1
    fi
done
if ! diff --unchanged-line-format= --old-line-format='in the library only: %L' \
    --new-line-format='in the model only: %L' "$tmp/library" "$tmp/model"; then
    exit 1
fi

missing=0
while read -r _ step; do
    flag=NO_${step/./_}
    if ! grep -qE "^ *# *(el)?if.*\<$flag\>" tests/promela/*.pml ||
        ! grep -qE "^ *(mutant|survivor) \"?(CLAIM )?$flag\>" tests/promela/run.sh; then
        echo "no mutant: $step"
        missing=1
    fi
done <"$tmp/model"
[[ $missing -eq 0 ]]

echo "$(wc -l <"$tmp/model") steps: the model's are the library's, and each has a mutant"
