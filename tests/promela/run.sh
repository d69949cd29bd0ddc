#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh quick | full | mutants [NAME...] - spin over the model of the park protocol: every state that a
# scenario has.
#
#   quick     the small scenarios: what `make check` runs
#   full      these, the large ones, and the claim that all comes to an end
#   mutants   the model without one of its steps, each of them: the claim must fail that the list names, or the
#             list says why none does
#
# Each run prints its states and time. Exits 1 if a run ends as it should not, and 77 without spin. A run that
# was stopped, by its limit of time or of memory, has failed: nothing is taken for all that is not all.
#
# PROMELA_SECONDS   the limit of a run; default: 900
# CC                what compiles the search
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mode=${1:-quick}
shift || true
seconds=${PROMELA_SECONDS:-900}

command -v spin >/dev/null || {
    echo "skipped: no spin (scripts/setup.sh promela)"
    exit 77
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0

# Budgets: see park.pml.
declare -A small=(
    [outside]="OUTSIDE=2 ASLEEP=2 LONG=1"
    [batch]="OUTSIDE=1 PUSHES=2 LONG=1"
    [local]="READY=1 SPAWNS=1 WAKES=2 YIELDS=1 LONG=1"
    [events]="EVENTS=2 LONG=1"
    [timers]="READY=1 WAKES=1 ARMS=1 LONG=1"
    [pinned]="OUTSIDE=1 PINS=1 LONG=1"
    [pinned-hub]="OUTSIDE=1 PINS=1 LONG=1 PIN_HUB"
    [relay]="WORKERS=3 READY=1 ASLEEP=2 ARMED=1 ARMS=1 TIMES=2 LONG=2 STAGED"
)
declare -A large=(
    [outside+]="OUTSIDE=2 SPAWNS=1 WAKES=1 LONG=1"
    [local+]="READY=1 SPAWNS=2 WAKES=2 YIELDS=2 LONG=1 SPURIOUS=1"
    [events+]="READY=1 EVENTS=3 WAKES=1 LONG=1 SPURIOUS=1"
    [yields]="READY=1 YIELDS=1 ARMS=1 LONG=1 SPURIOUS=1"
    [rearm]="READY=1 WAKES=2 ARMS=2 CANCELS=1 LONG=1"
    [deadlines]="READY=1 WAKES=1 ARMS=2 TIMES=2 LONG=1"
    [mixed]="OUTSIDE=1 EVENTS=1 ARMS=1 LONG=1 ASLEEP=2"
    [three]="WORKERS=3 ASLEEP=3 OUTSIDE=1 PUSHES=2 SPAWNS=1 LONG=2"
    [hand-on]="WORKERS=3 READY=1 ASLEEP=2 OUTSIDE=1 SPAWNS=2 LONG=2 STAGED"
    [pinned+]="OUTSIDE=1 SPAWNS=1 PINS=2 LONG=1 ASLEEP=2 SPURIOUS=1"
    [pinned-hub+]="OUTSIDE=1 PINS=2 LONG=1 SPURIOUS=1 PIN_HUB"
    [pinned-three]="WORKERS=3 ASLEEP=3 OUTSIDE=1 PUSHES=1 PINS=1 LONG=1"
    [stop]="OUTSIDE=1 SPAWNS=1 WAKES=1 EVENTS=1 STOP_ANY_TIME"
)

# run SCENARIO FLAG...: a flag may be several words. Its budgets from the lists above. Sets result (none, the claim that failed, or "stopped"),
# states and took.
run() {
    local budgets=${small[$1]:-${large[$1]:-}} flags=() compile=(-DSAFETY -DCOLLAPSE) search=() flag
    shift

    rm -rf "$tmp/run"
    mkdir "$tmp/run"
    # shellcheck disable=SC2068 # words
    for flag in $budgets $@; do
        flags+=("-D$flag")
        if [[ $flag == CLAIM ]]; then
            compile=(-DCOLLAPSE -DNFAIR=3)
            search=(-a -f)
        fi
    done
    (
        cd "$tmp/run"
        # spin's own exit status says nothing.
        spin -a "${flags[@]}" "$here/park.pml" >spin.out 2>&1 || true
        if [[ ! -f pan.c ]]; then
            cat spin.out >&2
            exit 1
        fi
        "${CC:-cc}" -O1 -w -DMEMLIM=4000 "${compile[@]}" -o pan pan.c
        timeout "$seconds" ./pan -m5000000 "${search[@]}" >pan.out 2>&1 || true
    )
    states=$(awk '/states, stored/ { print $1; exit }' "$tmp/run/pan.out")
    took=$(awk '/^pan: elapsed time/ { print $4 }' "$tmp/run/pan.out")
    if grep -q 'errors: 0' "$tmp/run/pan.out" &&
        ! grep -qE 'max search depth too small|out of memory|not completed' "$tmp/run/pan.out"; then
        result=none
    else
        result=$(sed -nE 's/^pan:1: (assertion violated )?(.*) \(at depth .*/\2/p' "$tmp/run/pan.out")
        result=${result:-stopped}
    fi
}

# check SCENARIO FLAG...: no error.
check() {
    run "$@"
    printf '%-30s %10s states %8s s   %s\n' "$*" "${states:-?}" "${took:-?}" \
        "$([[ $result == none ]] && echo "no error" || echo "$result")"
    [[ $result == none ]] || failures=$((failures + 1))
}

# claimed TEXT: which claim of park.pml it is that spin says has failed. Any other text is answered as it
# stands, and is what nobody expects.
claimed() {
    case $1 in
    *injected+injecting*) echo "M1: a task from outside" ;;
    *events\[i\]*) echo "M1: an event" ;;
    *next\[i\]*now*) echo "M1: a timer" ;;
    *alone_ok*) echo "M1: a task behind a poll" ;;
    *is_sleeping\[0\]*pinned*) echo "M1: a pinned task" ;;
    *lifo*ready*) echo "M1: a task of a sleeper" ;;
    *searching==*tokens* | *sleeping==*is_sleeping*) echo "M2" ;;
    *owed==0*) echo "M3" ;;
    *left==*outside_done*) echo "M4" ;;
    "acceptance cycle") echo "M5" ;;
    *) echo "$1" ;;
    esac
}

# mutant FLAG SCENARIO CLAIM WHAT: this claim fails. survivor FLAG SCENARIO WHAT WHY: none does, for that reason.
mutant() {
    local verdict

    wanted "$1" || return 0
    run "$2" "$1"
    verdict=$(claimed "$result")
    lines "$1" "$2" "$4" "$verdict"
    [[ $verdict == "$3" ]] || unexpected "$3"
}

survivor() {
    wanted "$1" || return 0
    run "$2" "$1"
    if [[ $result == none ]]; then
        lines "$1" "$2" "$3" "survives: $4"
    else
        lines "$1" "$2" "$3" "$(claimed "$result")"
        unexpected "no error, for: $4"
    fi
}

# wanted FLAG: it is among those that were asked for, and in the model.
wanted() {
    local flag=${1#CLAIM }

    [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $flag "* ]] || return 1
    tried+=("$flag")
    grep -qwF "$flag" "$here"/*.pml || unexpected "no $flag in the model"
}

lines() {
    printf '%-14s %-10s %-62s %s\n' "$@"
}

unexpected() {
    echo "    not as expected: $1"
    failures=$((failures + 1))
}

mutants() {
    local name

    # What is left out, or as it was. P2: wake-ups.
    mutant NO_P2_a batch "M2" "who begins to search is not counted"
    mutant NO_P2_b batch "M2" "who ends its search is still counted"
    mutant NO_P2_c batch "M2" "who goes to sleep is not counted"
    mutant NO_P2_d outside "M1: a task from outside" "no fence between saying that it sleeps and looking"
    mutant NO_P2_e batch "M2" "who wakes takes no token"
    mutant NO_P2_f outside "M1: a task from outside" "no fence between pushing and looking for sleepers"
    mutant NO_P2_g hand-on "M1: a task behind a poll" "a signal without a token: two signals are one edge"
    mutant NO_P2_h batch "M2" "a token without a signal"
    mutant NO_P2_i batch "M1: a task from outside" "the look before the sleep leaves out the injection queue"
    mutant NO_P2_j local "M1: a task behind a poll" "the look before the sleep leaves out the others' queues"
    survivor NO_P2_k events "who brings several tasks from a sleep calls nobody" \
        "W4.e does so a moment later"
    mutant NO_P2_l hand-on "M1: a task behind a poll" "a searcher that sees work before it sleeps is none any more"
    mutant NO_P2_m batch "M3" "a task from outside is not pushed"
    mutant NO_P2_n outside "M1: a task from outside" "who pushes from outside calls nobody"
    # P3: one wakes the next.
    mutant NO_P3_a outside+ "M1: a task from outside" "the last searcher that finds work calls nobody"
    survivor NO_P3_b batch "the last searcher that leaves calls nobody" "it leaves after a stop, as all do"
    # P4: a stop.
    mutant NO_P4_a batch "M4" "a stop without a signal"
    mutant NO_P4_b batch "M4" "who leaves does not signal the next"
    # W4: nothing waits behind a long poll.
    mutant NO_W4_a batch "M1: a task behind a poll" "no fence behind the rest of a batch"
    survivor NO_W4_b events "a look that finds several tasks calls nobody" "W4.e does so a moment later"
    mutant NO_W4_c local "M1: a task behind a poll" "a wake with another task in the slot calls nobody"
    mutant NO_W4_d local "M1: a task behind a poll" "a spawn beside other tasks calls nobody"
    mutant NO_W4_e local "M1: a task behind a poll" "no glance before a poll"
    mutant LIFO_STRICT local "M1: a task behind a poll" "claimed of polls out of the LIFO slot as well"
    # E1, E2: events and edges.
    mutant NO_E1_a events "M1: an event" "a sleeper leaves the events that it was woken for"
    mutant NO_E1_b events "M1: an event" "a full harvest does not ask the set again"
    mutant NO_E2_a batch "M4" "a signal is no edge"
    mutant "CLAIM NO_E2_b" batch "M5" "an edge ends more than one sleep"
    # A1: timers.
    survivor NO_A1_a timers "the alarm is set without a glance at it" "A1.b looks at it under the lock: the glance saves that"
    mutant NO_A1_b deadlines "M1: a timer" "the alarm is set without a second look under the lock"
    mutant NO_A1_c relay "M1: a timer" "an alarm that has gone off counts as set"
    mutant NO_A1_d timers "M1: a timer" "no fence between arming and looking for sleepers"
    survivor NO_A1_e timers "the alarm is set though nobody sleeps" "it goes off for whoever sleeps next: a system call in vain"
    mutant NO_A1_f timers "M1: a timer" "who goes to sleep looks at its own wheel only"
    mutant NO_A1_g relay "M1: a timer" "no fence between clearing the alarm and looking at the wheels"
    mutant NO_A1_h relay "M1: a timer" "who took the alarm does not set it for the other sleepers"
    mutant NO_A1_i timers "M1: a timer" "who goes to sleep does not set the alarm"
    mutant NO_A1_j timers "M1: a timer" "nobody tells the alarm of a timer"
    mutant NO_A1_k timers "M1: a timer" "an earlier timer is not counted as one"
    mutant OLD_A1_j rearm "M1: a timer" "it is told when the earliest timer is another than last time"
    mutant OLD_yield yields "M1: a timer" "it is not told when the poll ends in a yield"
    # P5, E4: pinned tasks.
    mutant NO_P5_a pinned "M3" "a pinned task is not pushed"
    mutant NO_P5_b pinned "M1: a pinned task" "no fence between pushing and looking where its worker sleeps"
    mutant NO_P5_c pinned "M1: a pinned task" "who pushes does not look whether its worker sleeps"
    mutant NO_P5_d pinned "M1: a pinned task" "the bell is not rung"
    mutant NO_P5_e pinned "M1: a pinned task" "who goes to sleep does not say where"
    mutant "CLAIM NO_P5_f" pinned-hub "M5" "who is roused does not say that it is up"
    mutant NO_P5_g pinned "M1: a pinned task" "the look before the sleep leaves out the pinned tasks"
    mutant NO_E4_a pinned-hub "M1: a pinned task" "nobody on the hub is roused"
    mutant "CLAIM NO_E4_b" pinned-hub "M5" "the hub goes on to rouse"
    # That nobody goes round for ever.
    mutant "CLAIM NO_steal" batch "M5" "who looks for work to steal need not find it"

    for name in "${chosen[@]}"; do
        if [[ " ${tried[*]} " != *" $name "* ]]; then
            echo "no such mutant: $name"
            failures=$((failures + 1))
        fi
    done
}

chosen=("$@") tried=()
case $mode in
quick | full)
    for scenario in outside batch local events timers relay pinned pinned-hub; do
        check "$scenario"
    done
    if [[ $mode == full ]]; then
        for scenario in outside+ local+ events+ yields rearm deadlines mixed three hand-on pinned+ \
            pinned-hub+ pinned-three stop; do
            check "$scenario"
        done
        check local LIFO_STRICT LIFO_FENCE
        check batch CLAIM
        check pinned CLAIM
        check pinned-hub CLAIM
    fi
    ;;
mutants) mutants ;;
*)
    echo "run.sh quick | full | mutants [NAME...]" >&2
    exit 2
    ;;
esac
[[ $failures -eq 0 ]] || {
    echo "$failures not as they should be"
    exit 1
}
