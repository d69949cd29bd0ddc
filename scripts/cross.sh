#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cross.sh [BUILD...] [-- CTEST ARGUMENT...] - the tests on other processors: cross-compiled, and run
# under qemu's emulation of a process.
#
#   aarch64     64-bit Arm, all tests
#   riscv64     64-bit RISC-V, all tests
#   pages       aarch64 with pages of 16 and of 64 KiB
#   protected   aarch64 with signed return addresses, in a library whose pages take indirect
#               branches at landing pads only
#
# Without arguments all of them. An emulator on x86-64 orders memory as x86-64 does: these runs show
# ABI, alignment and page size, not weak ordering.
#
# WEFT_BUILD_DIR   where builds go; default: build
# REPEAT           how often each test runs; default: 1
# JOBS             processes at a time; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${WEFT_BUILD_DIR:-build}
builds=()
while [[ $# -gt 0 && $1 != -- ]]; do
    builds+=("$1")
    shift
done
[[ $# -eq 0 ]] || shift
chosen=("$@")
[[ ${#builds[@]} -gt 0 ]] || builds=(aarch64 riscv64 pages protected)
repeat=(--repeat "until-fail:${REPEAT:-1}")
failed=()

# For the variants of a processor whose own run has all tests.
quick='^(unit|api)$'

tests() {
    local build=$1
    shift
    ctest --test-dir "$build" --output-on-failure --no-tests=error --no-label-summary \
        -j "${JOBS:-$(nproc)}" "${repeat[@]}" "$@" "${chosen[@]}"
}

with_pages() {
    scripts/build.sh aarch64 || return 1
    local size
    for size in 16384 65536; do
        echo "cross: pages of $size bytes"
        QEMU_PAGESIZE=$size tests "$dir/aarch64" -L "$quick" || return 1
    done
}

# Debian's C library has no landing pads in its start files, nor has libgcc in the set-up of its
# atomics. So the library goes without both, and the linker is told to mark it all the same.
with_protection() {
    local flags='-mbranch-protection=standard -mno-outline-atomics' object bare=()

    WEFT_BUILD_DIR=$dir/protected scripts/build.sh aarch64 "-DCMAKE_C_FLAGS=$flags" \
        "-DCMAKE_CXX_FLAGS=$flags" "-DCMAKE_ASM_FLAGS=$flags" \
        '-DCMAKE_SHARED_LINKER_FLAGS=-nostartfiles -Wl,-z,force-bti -Wl,--defsym=__dso_handle=0' ||
        return 1
    while IFS= read -r object; do
        aarch64-linux-gnu-readelf -n "$object" | grep -q 'BTI, PAC' || bare+=("$object")
    done < <(find "$dir/protected/aarch64/CMakeFiles/weft_objects.dir" -name '*.o')
    if [[ ${#bare[@]} -gt 0 ]]; then
        echo "cross: objects not marked for BTI and PAC: ${bare[*]}" >&2
        return 1
    fi
    tests "$dir/protected/aarch64" -L "$quick"
}

for build in "${builds[@]}"; do
    echo "cross: $build"
    case $build in
    aarch64 | riscv64)
        { scripts/build.sh "$build" && tests "$dir/$build"; } || failed+=("$build")
        ;;
    pages) with_pages || failed+=("$build") ;;
    protected) with_protection || failed+=("$build") ;;
    *)
        echo "cross.sh: no such build: $build" >&2
        exit 2
        ;;
    esac
done
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "cross: FAILED: ${failed[*]}"
    exit 1
fi
echo "cross: ${builds[*]}: passed"
