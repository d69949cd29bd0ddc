#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh quick | full | mutants [NAME...] - spin over the model of the park protocol: every state that a
# scenario has.
#
#   quick     the small scenarios: what `make check` runs
#   full      these, the large ones, and the claim that all comes to an end
#   mutants   the model without one of its steps: spin must find an error, or the list says why not
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

# mutant FLAG SCENARIO WHAT [WHY]: an error; with WHY none, for that reason.
mutant() {
    local flag=$1 scenario=$2 what=$3 why=${4:-}

    [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $flag "* ]] || return 0
    run "$scenario" "$flag"
    case $result in
    none) verdict="survives${why:+: $why}" ;;
    stopped) verdict="stopped" ;;
    *) verdict="found: $result" ;;
    esac
    printf '%-14s %-10s %-62s %s\n' "$flag" "$scenario" "$what" "$verdict"
    if [[ $result == stopped || ($result == none && -z $why) || ($result != none && -n $why) ]]; then
        echo "    not as expected"
        failures=$((failures + 1))
    fi
}

mutants() {
    # What is left out, or as it was. P2: wake-ups.
    mutant NO_P2_d outside "no fence between saying that it sleeps and looking"
    mutant NO_P2_e batch "who wakes takes no token"
    mutant NO_P2_f outside "no fence between pushing and looking for sleepers"
    mutant NO_P2_h batch "a token without a signal"
    mutant NO_P2_i batch "the look before the sleep leaves out the injection queue"
    mutant NO_P2_j local "the look before the sleep leaves out the others' queues"
    mutant NO_P2_k events "who brings several tasks from a sleep calls nobody" \
        "W4.e does so a moment later"
    mutant NO_P2_l hand-on "a searcher that sees work before it sleeps is none any more"
    # P3: one wakes the next.
    mutant NO_P3_a outside+ "the last searcher that finds work calls nobody"
    mutant NO_P3_b batch "the last searcher that leaves calls nobody" "it leaves after a stop, as all do"
    mutant NO_P4_b batch "who leaves does not signal the next"
    # W4: nothing waits behind a long poll.
    mutant NO_W4_a batch "no fence behind the rest of a batch"
    mutant NO_W4_b events "a look that finds several tasks calls nobody" "W4.e does so a moment later"
    mutant NO_W4_c local "a wake with another task in the slot calls nobody"
    mutant NO_W4_d local "a spawn beside other tasks calls nobody"
    mutant NO_W4_e local "no glance before a poll"
    mutant LIFO_STRICT local "claimed of polls out of the LIFO slot as well"
    # E1: events.
    mutant NO_E1_a events "a sleeper leaves the events that it was woken for"
    mutant NO_E1_b events "a full harvest does not ask the set again"
    # A1: timers.
    mutant NO_A1_b deadlines "the alarm is set without a second look under the lock"
    mutant NO_A1_c relay "an alarm that has gone off counts as set"
    mutant NO_A1_d timers "no fence between arming and looking for sleepers"
    mutant NO_A1_g relay "no fence between clearing the alarm and looking at the wheels"
    mutant NO_A1_h relay "who took the alarm does not set it for the other sleepers"
    mutant NO_A1_i timers "who goes to sleep does not set the alarm"
    mutant NO_A1_j timers "nobody tells the alarm of a timer"
    mutant OLD_A1_j rearm "it is told when the earliest timer is another than last time"
    mutant OLD_yield yields "it is not told when the poll ends in a yield"
    # That nobody goes round for ever.
    mutant "CLAIM NO_steal" batch "who looks for work to steal need not find it"
}

chosen=("$@")
case $mode in
quick | full)
    for scenario in outside batch local events timers relay; do
        check "$scenario"
    done
    if [[ $mode == full ]]; then
        for scenario in outside+ local+ events+ yields rearm deadlines mixed three hand-on stop; do
            check "$scenario"
        done
        check local LIFO_STRICT LIFO_FENCE
        check batch CLAIM
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
