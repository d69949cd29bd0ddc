#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# expect.sh LINE COMMAND... - the command ends with 0 and prints that line, perhaps among others.
set -euo pipefail
line=$1
shift
output=$("$@")
printf '%s\n' "$output"
grep -qxF -- "$line" <<<"$output" || { echo "not printed: $line"; exit 1; }
