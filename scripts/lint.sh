#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# lint.sh - what tools know about the source without running it: clang-tidy and cppcheck over the
# library, codespell over all text, shellcheck over the scripts. Exits 1 if any of them objects.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${WEFT_BUILD_DIR:-build}/lint
jobs=${JOBS:-$(nproc)}
failed=()

step() {
    local name=$1
    shift
    echo "lint: $name"
    "$@" || failed+=("$name")
}

tidy() {
    # clang's own build: it does not know all of gcc's warnings.
    if [[ ! -f $dir/CMakeCache.txt ]] && command -v ninja >/dev/null; then
        export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
    fi
    # Without the tests: some compile the library's sources once more, in ways of their own.
    cmake --preset release-clang -B "$dir" -DWEFT_BUILD_TESTS=OFF --log-level=WARNING >/dev/null || return 1
    local rc=0
    find src -name '*.c' ! -name 'switch_ucontext.c' -print0 | sort -z |
        xargs -0 -P "$jobs" -n 1 clang-tidy -p "$dir" --quiet || rc=1
    # Programs may call exit and strerror: they have no other thread that does.
    find tools examples -name '*.c' -print0 | sort -z |
        xargs -0 -P "$jobs" -n 1 clang-tidy -p "$dir" --quiet '--checks=-concurrency-mt-unsafe' || rc=1
    return "$rc"
}

check() {
    cppcheck --quiet -j "$jobs" --enable=warning,portability --error-exitcode=1 --inline-suppr \
        --suppress=missingIncludeSystem --std=c11 -D_GNU_SOURCE -D__x86_64__ -D__GNUC__=12 \
        -D__linux__ -Isrc -Iinclude src tools examples
}

spell() {
    git ls-files --cached --others --exclude-standard | xargs codespell
}

shells() {
    find scripts tests .ci \( -name '*.sh' -o -path .ci/run \) -exec shellcheck {} +
}

step clang-tidy tidy
step cppcheck check
step codespell spell
step shellcheck shells

if [[ ${#failed[@]} -gt 0 ]]; then
    echo "lint: ${failed[*]} found something"
    exit 1
fi
echo "lint: nothing found"
