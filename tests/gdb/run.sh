#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh PROGRAM SCRIPT FIBER - tools/gdb/weft-gdb.py shows what is known about tests/gdb/parked.c: of a
# live process, and from the core that the kernel writes when it aborts. FIBER is asm or ucontext;
# the latter has no stacks that can be shown.
#
# Exits 77 with a reason where a half of that is impossible.
set -euo pipefail
program=$1 script=$2 fiber=$3

if ! command -v gdb >/dev/null || ! gdb -nx -batch -ex 'python print(1)' >/dev/null 2>&1; then
    echo "skipped: no gdb with Python (scripts/setup.sh gdb)"
    exit 77
fi

tmp=$(mktemp -d)
parked=
finish() {
    [[ -z $parked ]] || kill "$parked" 2>/dev/null || true
    rm -rf "$tmp"
}
trap finish EXIT

# The program stands until this end of its standard input is written to.
mkfifo "$tmp/stdin"
(
    cd "$tmp"
    ulimit -c unlimited 2>/dev/null || true
    exec "$program" <"$tmp/stdin" >"$tmp/stdout"
) &
parked=$!
exec 3>"$tmp/stdin"
for _ in {1..200}; do
    [[ ! -s $tmp/stdout ]] || break
    kill -0 "$parked" 2>/dev/null || break
    sleep 0.05
done
if ! grep -q ready "$tmp/stdout"; then
    echo "the program did not come into position"
    exit 1
fi

commands=(
    'source' "$script"
    'echo' '== tasks\n'
    'weft' 'tasks'
    'echo' '== some\n'
    'weft' 'tasks weft_join'
    'echo' '== backtraces\n'
    'weft' 'bt all'
    'echo' '== runtime\n'
    'weft' 'runtime'
    'echo' '== none\n'
    'weft' 'bt 4711'
    'echo' '== selected\n'
    'weft' 'select 1'
    'frame' 'function sleep_in_the_third'
    'info' 'locals'
    'weft' 'deselect'
    'echo' '== thread\n'
    'backtrace' ''
)

# look WHAT GDB-ARGUMENT...: what gdb says goes to a file.
look() {
    local what=$1 arguments=() i
    shift

    for ((i = 0; i < ${#commands[@]}; i += 2)); do
        arguments+=(-ex "${commands[i]} ${commands[i + 1]}")
    done
    timeout 60 gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set width 0' "$@" \
        "${arguments[@]}" >"$tmp/said-$what" 2>&1 || true
}

failures=0
fail() {
    printf '%s\n' "$1"
    failures=$((failures + 1))
}

# The part of what gdb said under that heading.
part() {
    sed -n "/^== $2\$/,/^== /p" "$tmp/said-$1"
}

# claim WHAT HEADING REGEX: some line there matches.
claim() {
    part "$1" "$2" | grep -qE -- "$3" || fail "$1, $2: nothing like: $3"
}

# in_order WHAT TASK FUNCTION...: frames of the backtrace of that task, innermost first, with others
# in between.
in_order() {
    local what=$1 task=$2 text function
    local clone='(\.[a-z0-9_.]+)?' # what link-time optimisation adds to names
    shift 2

    text=$(part "$what" backtraces | sed -n "/^task $task /,/^\$/p")
    for function in "$@"; do
        if ! grep -qE "^#.* ?$function$clone \(" <<<"$text"; then
            fail "$what: task $task: no $function below the last one, in: $text"
            return
        fi
        text=$(sed -nE "/^#.* ?$function$clone \(/,\$p" <<<"$text" | tail -n +2)
    done
    # Below the last one there is nothing, and gdb knows why.
    [[ ! $text =~ [^[:space:]] ]] || fail "$what: task $task goes on: $text"
}

check() {
    local what=$1 root=(fiber_main coro_start switch_start)

    claim "$what" tasks '^7 tasks$'
    claim "$what" tasks 'running +fiber .* on thread [0-9]+ '
    claim "$what" tasks 'ready +fiber .* not begun: newcomer \(.*parked\.c:[0-9]+\)'
    claim "$what" tasks \
        'ready +fiber .* not begun: nobody_else_polls \(.*parked\.c:[0-9]+\), pinned to worker 0  spawned at '
    [[ $(part "$what" tasks | grep -c 'pinned to') == 1 ]] || fail "$what: others are pinned, too"
    claim "$what" tasks 'waiting +stackless .* nap \(.*parked\.c:[0-9]+\), at its line [0-9]+'
    claim "$what" runtime 'multi-thread, 1 workers$'
    claim "$what" runtime ' 7 tasks: 1 running, 2 ready, 4 waiting$'
    claim "$what" runtime 'injection queue 1, 6 spawned from outside$'
    claim "$what" runtime ' seat 0: awake, 0 ready, 0 new; '
    claim "$what" none 'no task 4711 is alive'
    claim "$what" thread '^#.* main \('
    if [[ $fiber == ucontext ]]; then
        claim "$what" tasks 'waiting +fiber .* stacks of ucontext are not known.*"the sleeper"$'
        return
    fi
    claim "$what" tasks \
        'waiting +fiber .* (weft_sleep|wf_await_future)[.a-z0-9_]*, in sleep_in_the_third at .*parked\.c:[0-9]+ .*parked\.c:[0-9]+  "the sleeper"$'
    claim "$what" tasks 'waiting +fiber .*, in read_in_vain at '
    claim "$what" some '7 tasks, 1 shown'
    claim "$what" some 'weft_join[.a-z0-9_]*, in joiner at '
    in_order "$what" 1 '(weft_sleep|wf_await_future)' sleep_in_the_third call_the_third sleeper "${root[@]}"
    in_order "$what" 2 read_in_vain reader "${root[@]}"
    in_order "$what" 3 weft_join joiner "${root[@]}"
    in_order "$what" "$(part "$what" tasks | awk '$2 == "running" { print $1 }')" \
        spin_in_place spinner "${root[@]}"
    claim "$what" selected '^secret = 242$'
    part "$what" thread | grep -q sleep_in_the_third && fail "$what: a fiber is still selected"
    part "$what" thread | grep -q 'parked\.c' || fail "$what: no line of main"
    grep -qE 'Python Exception|Traceback|Backtrace stopped' "$tmp/said-$what" && fail "$what: gdb complains"
    return 0
}

skipped=
look live -p "$parked"
if grep -q 'ptrace: Operation not permitted' "$tmp/said-live"; then
    skipped="gdb may not attach to a process here"
else
    check live
fi

# By SIGABRT, for the kernel's core has what gdb's own gcore leaves out.
echo x >&3
wait "$parked" 2>/dev/null || true
parked=
core=$(find "$tmp" -maxdepth 1 -name 'core*' | head -n 1)
if [[ -z $core ]]; then
    skipped="no core: see ulimit -c and /proc/sys/kernel/core_pattern ($(</proc/sys/kernel/core_pattern))"
else
    look core "$program" "$core"
    check core
fi

if [[ $failures -gt 0 ]]; then
    for what in live core; do
        [[ ! -f $tmp/said-$what ]] || sed "s/^/$what: /" "$tmp/said-$what"
    done
    exit 1
fi
if [[ -n $skipped ]]; then
    echo "skipped: $skipped"
    exit 77
fi
echo "gdb shows all tasks, live and from a core"
