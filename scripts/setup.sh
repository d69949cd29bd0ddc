#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# setup.sh [GROUP...] - install what is missing to build and test weft on Debian, and only that.
#
#   build       compilers, cmake, ninja, pkg-config (the default)
#   check       the library that the tests are written with, and what reads the code they are made into
#   clang       the second compiler, for the -clang builds
#   valgrind    memcheck
#   lint        clang-tidy, clang-format, cppcheck, codespell, shellcheck, and git, which knows the files
#   cross       compilers for aarch64 and riscv64, and the emulator that runs what they build
#   gdb         the debugger, for the tests of tools/gdb
#   promela     spin, for the model of the park protocol
#   all         all of these
#
# Silent when nothing is missing. Uses sudo unless it runs as root. Where there is no dpkg it only
# says which programs are missing.
set -euo pipefail

group_packages() {
    case $1 in
    build) echo gcc g++ libc6-dev make cmake ninja-build pkg-config ;;
    check) echo check python3 binutils ;;
    clang) echo clang libclang-rt-14-dev ;;
    valgrind) echo valgrind ;;
    lint) echo clang clang-tidy clang-format cppcheck codespell shellcheck git ;;
    cross)
        echo gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross \
            gcc-riscv64-linux-gnu g++-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user
        ;;
    gdb) echo gdb ;;
    promela) echo spin gcc libc6-dev ;;
    *)
        echo "setup.sh: no such group: $1" >&2
        exit 2
        ;;
    esac
}

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup.sh: neither root nor sudo; as root: apt-get update && apt-get install ${missing[*]}" >&2
        exit 1
    fi
}

groups=("$@")
[[ ${#groups[@]} -gt 0 ]] || groups=(build)
[[ " ${groups[*]} " != *" all "* ]] || groups=(build check clang valgrind lint cross gdb promela)

if ! command -v dpkg-query >/dev/null; then
    for program in cc c++ cmake pkg-config; do
        command -v "$program" >/dev/null || echo "setup.sh: not found: $program" >&2
    done
    exit 0
fi

missing=()
for group in "${groups[@]}"; do
    packages=$(group_packages "$group")
    for package in $packages; do
        [[ " ${missing[*]} " == *" $package "* ]] || installed "$package" ||
            missing+=("$package")
    done
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

echo "setup.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
as_root apt-get update -q
as_root apt-get install -q -y --no-install-recommends "${missing[@]}"
