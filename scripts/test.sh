#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh PRESET [-DNAME=VALUE...] [CTEST ARGUMENT...] - configure, build and test one of the builds
# of CMakePresets.json. The last lines are ctest's summary.
#
# WEFT_BUILD_DIR   where builds go; default: build
# JOBS             processes at a time; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
dir=${WEFT_BUILD_DIR:-build}/$preset
jobs=${JOBS:-$(nproc)}

settings=()
while [[ ${1:-} == -D*=* ]]; do
    settings+=("$1")
    shift
done
scripts/build.sh "$preset" "${settings[@]}"

# Where the kernel spreads mappings widely, gcc 12's ThreadSanitizer finds its own memory taken.
run=()
if [[ $preset == tsan* && $(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28) -gt 28 ]]; then
    run=(setarch "$(uname -m)" -R)
fi
exec "${run[@]}" ctest --test-dir "$dir" --output-on-failure --no-tests=error --no-label-summary \
    -j "$jobs" "$@"
