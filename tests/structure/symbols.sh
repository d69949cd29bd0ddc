#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# symbols.sh ARCHIVE SHARED - what the two libraries show to the linker: every global symbol of the
# archive starts with weft_ or wf_, and the shared library exports weft_* and all that the public
# headers declare reach no further.
set -euo pipefail
archive=$1
shared=$2

command -v nm >/dev/null || {
    echo "skipped: no nm"
    exit 77
}

# Names that the linker or link-time optimisation makes are not ours.
stray=$(nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(weft_|wf_|__gnu_lto_|__odr_asan|DW\.ref\.)' | sort -u || true)
exported=$(nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
leaked=$(grep -v '^weft_' <<<"$exported" || true)

if [[ -n $stray ]]; then
    printf 'global in %s without the prefix weft_ or wf_:\n%s\n' "${archive##*/}" "$stray"
fi
if [[ -n $leaked ]]; then
    printf 'exported by %s:\n%s\n' "${shared##*/}" "$leaked"
fi
if [[ -z $exported ]]; then
    printf 'nothing is exported by %s\n' "${shared##*/}"
    exit 1
fi
[[ -z $stray && -z $leaked ]]
printf '%d symbols exported\n' "$(wc -l <<<"$exported")"
