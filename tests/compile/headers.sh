#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# headers.sh INCLUDE_DIR - each public header compiles alone, twice over, without a warning: as C11
# and as C++17, with gcc and with clang (those that are there).
set -euo pipefail
include=$1
warnings=(-Wall -Wextra -pedantic -Werror -fsyntax-only "-I$include")
count=0
failed=0

try() { # try COMPILER STANDARD LANGUAGE HEADER
    printf '#include <%s>\n#include <%s>\n' "$4" "$4" |
        "$1" "-std=$2" "${warnings[@]}" -x "$3" - || {
        echo "<$4> does not compile as $2 with $1"
        failed=$((failed + 1))
    }
    count=$((count + 1))
}

cd "$include"
for header in weft.h weft/*.h; do
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null || continue
        try "$compiler" c11 c "$header"
    done
    for compiler in g++ clang++; do
        command -v "$compiler" >/dev/null || continue
        try "$compiler" c++17 c++ "$header"
    done
done

if [[ $count -eq 0 ]]; then
    echo "skipped: neither gcc nor clang"
    exit 77
fi
echo "$count compiled, $failed failed"
[[ $failed -eq 0 ]]
