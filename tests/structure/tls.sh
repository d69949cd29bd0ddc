#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# tls.sh [--merged STATIC] SOURCE_DIR COMPILER SHARED PROGRAM... - tls.py over the library and over programs that
# use it; and over mistakes that were planted, compiled at each level of optimisation, which it must find. With
# --merged also where they are linked with this library, made for link-time optimisation, into one.
set -euo pipefail
merged=
if [[ $1 == --merged ]]; then
    merged=$2
    shift 2
fi
source=$1
compiler=$2
library=$3
shift 3

if [[ $(uname -m) != x86_64 ]]; then
    echo "skipped: tls.py reads the code of x86-64 only"
    exit 77
fi
for tool in objdump python3; do
    command -v "$tool" >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

planted=()
for level in 0 1 2 3; do
    planted+=("$tmp/planted-O$level.so")
    "$compiler" -std=c17 -D_GNU_SOURCE "-O$level" -DOPTIMISED=$((level > 0)) -I"$source/include" \
        -fPIC -shared -o "${planted[-1]}" "$source/tests/structure/tls_planted.c"
    if [[ -n $merged && $level -gt 0 ]]; then
        planted+=("$tmp/planted-merged-O$level.so")
        "$compiler" -std=c17 -D_GNU_SOURCE "-O$level" -DOPTIMISED=1 -I"$source/include" -flto=auto \
            -fPIC -shared -Wl,-Bsymbolic -pthread -o "${planted[-1]}" \
            "$source/tests/structure/tls_planted.c" "$merged"
    fi
done

python3 "$source/tests/structure/tls.py" --library "$library" "$@" --planted "${planted[@]}"
