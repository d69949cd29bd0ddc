#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# api.sh SOURCE_DIR - each test of the API compiles as C11 without a warning, with gcc and with clang
# (those that are there): what the macros of the headers expand to is C11 too, not only what the
# headers declare.
set -euo pipefail
source=$1
read -ra check < <(pkg-config --cflags check)
options=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only
    "-I$source/include" "-I$source/tests/support" "${check[@]}")
count=0
failed=0

for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || continue
    for file in "$source"/tests/api/*.c; do
        "$compiler" "${options[@]}" "$file" || {
            echo "${file##*/} does not compile as C11 with $compiler"
            failed=$((failed + 1))
        }
        count=$((count + 1))
    done
done

if [[ $count -eq 0 ]]; then
    echo "skipped: neither gcc nor clang"
    exit 77
fi
echo "$count compiled, $failed failed"
[[ $failed -eq 0 ]]
