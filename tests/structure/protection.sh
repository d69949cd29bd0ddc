#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# protection.sh SOURCE_DIR CC SHARED - what the switch says to loaders about protected control
# flow, and whether it is true (docs/design/010-switch-abi.md):
#
#   x86-64   built with -fcf-protection it knows branch tracking and no shadow stacks; what may be
#            reached indirectly begins with endbr64, and no jump of ours is tracked
#   all      no stack of the library is executable
#
# aarch64 is scripts/cross.sh protected, which runs it.
set -euo pipefail
source=$1 cc=$2 shared=$3

for tool in readelf objdump; do
    command -v "$tool" >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
    printf '%s\n' "$1"
    exit 1
}

readelf -lW "$shared" | grep -q 'GNU_STACK .* RW  ' || fail "the library asks for an executable stack"

if ! echo 'int main(void) { return 0; }' |
    "$cc" -x c -fcf-protection=full -o "$tmp/probe" - 2>/dev/null; then
    echo "no stack is executable; the compiler has no -fcf-protection to look further"
    exit 0
fi
"$cc" -fcf-protection=full -c "$source/src/fiber/switch_x86_64.S" -o "$tmp/switch.o"
"$cc" -std=c17 -D_GNU_SOURCE -O2 -fPIC -mno-red-zone -fcf-protection=full \
    "-I$source/src" "-I$source/include" -c "$source/src/task/fiber_task.c" -o "$tmp/task.o"

features=$(readelf -n "$tmp/switch.o" | grep 'x86 feature' || true)
[[ $features == *IBT* ]] || fail "the switch does not say that it knows branch tracking: $features"
[[ $features != *SHSTK* ]] || fail "the switch says that it knows shadow stacks: $features"

code=$(objdump -d --no-show-raw-insn "$tmp/switch.o")
for function in wf_switch wf_switch_prepare switch_start; do
    grep -A1 "<$function>:" <<<"$code" | grep -q endbr64 || fail "$function has no landing pad"
done

# The jump to the other stack, out of line and laid in, goes through rcx.
for object in switch task; do
    jumps=$(objdump -d --no-show-raw-insn "$tmp/$object.o" | grep -E 'jmp +\*%rcx' || true)
    [[ -n $jumps ]] || fail "$object.o: where is the jump?"
    ! grep -v notrack <<<"$jumps" || fail "$object.o: a jump that is tracked"
done
echo "branch tracking is known, shadow stacks are refused, no stack is executable"
