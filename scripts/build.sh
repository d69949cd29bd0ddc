#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# build.sh PRESET [-DNAME=VALUE...] [TARGET...] - configure and build one of the builds of
# CMakePresets.json, or only some of its targets.
#
# WEFT_BUILD_DIR   where builds go; default: build
# WEFT_WERROR      ON: a warning is an error; default: OFF
# JOBS             processes at a time; default: one per processor
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
dir=${WEFT_BUILD_DIR:-build}/$preset
jobs=${JOBS:-$(nproc)}

# A build folder keeps the generator that it began with.
if [[ ! -f $dir/CMakeCache.txt ]] && command -v ninja >/dev/null; then
    export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
fi
settings=("-DWEFT_WERROR=${WEFT_WERROR:-OFF}") targets=()
for argument in "$@"; do
    case $argument in
    -D*) settings+=("$argument") ;;
    *) targets+=(--target "$argument") ;;
    esac
done
cmake --preset "$preset" -B "$dir" "${settings[@]}" --log-level=WARNING >/dev/null
cmake --build "$dir" --parallel "$jobs" "${targets[@]}"
