#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# format.sh [--check] - lay out every C file by .clang-format, or only say which ones differ.
#
# Versions of clang-format disagree with each other; 14 decides.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$(command -v clang-format-14 || command -v clang-format || true)
if [[ -z $tool ]] || ! "$tool" --version | grep -q 'version 14\.'; then
    echo "format.sh: clang-format 14 is needed (scripts/setup.sh lint)" >&2
    exit 1
fi
mapfile -t files < <(find src include tests bench examples tools -name '*.[ch]' | sort)

if [[ ${1:-} == --check ]]; then
    "$tool" --dry-run -Werror "${files[@]}"
    echo "format: ${#files[@]} files are laid out well"
else
    "$tool" -i "${files[@]}"
fi
