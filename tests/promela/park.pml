/* SPDX-License-Identifier: MIT */
/*
 * park.pml - how idle workers sleep and are woken, for spin: src/sched/idle.c, park.c and worker.c, and of
 * src/io/epoll.c what they sleep on.
 *
 * IDEA     Workers, threads outside, the clock and the kernel take their steps in all orders. A poll does
 *          whatever a poll may do (spawn, wake, arm, cancel, yield, compute for ever), as often as
 *          the budgets say. When nothing moves any more the monitor looks whether anything
 *          lies about that an idle worker should have seen; then it lets the polls that compute
 *          for ever end, looks again, and shuts down.
 *          An inline is called as the function that it models, and its steps carry the marks that stand
 *          there, as (P2.a) here. steps.sh compares the two.
 * MEMORY   What a thread stores is seen by itself at once, and by the others when the world drains it:
 *          arbitrarily late, in any order. A fence drains it, a read-modify-write too, and a lock
 *          that goes to the next thread. So each fence has work to do. For the one behind a
 *          read-modify-write (P2.d), what follows may also come before, when it is left out.
 *          Loads are otherwise in the order of the program.
 * PROPERTY M1   At rest, with a worker asleep: the injection queue is empty, no event waits, no timer is
 *               due, and a worker that computes has nothing in its queues that was there when its
 *               poll began, or that it called others for. A worker that sleeps has no pinned task ready.
 *          M2   Tokens are conserved: searching counts those who search, and the tokens; sleeping counts
 *               those who sleep; tokens <= sleeping, and <= 1. At rest nobody searches, no token is out.
 *          M3   Each task is polled once for each time that it became ready.
 *          M4   Stopped, all workers leave.
 *          M5   All this comes to an end: nobody goes round for ever. (CLAIM, with weak fairness.)
 * LIMITS   Only worker 0 has pinned tasks, from others, and either has its bell from the beginning or none ever.
 *          Queues and wheels are counts and bits. Left out: what comes before a sleep (hooks, spinning, the
 *          washing of stacks), a seat that is taken, a timerfd that cannot be set.
 *          A task woken or spawned alone in a poll stays behind that poll: so it does in the library.
 */

/* Sizes and budgets: run.sh sets them. */
#ifndef WORKERS
# define WORKERS 2 /* or 3 */
#endif
#ifndef OUTSIDE
# define OUTSIDE 0 /* threads outside, PUSHES tasks each */
#endif
#ifndef PUSHES
# define PUSHES 1
#endif
#ifndef SPAWNS
# define SPAWNS 0
#endif
#ifndef WAKES
# define WAKES 0
#endif
#ifndef YIELDS
# define YIELDS 0
#endif
#ifndef LONG
# define LONG 0 /* polls that compute until nothing else moves */
#endif
#ifndef ARMS
# define ARMS 0
#endif
#ifndef CANCELS
# define CANCELS 0
#endif
#ifndef EVENTS
# define EVENTS 0
#endif
#ifndef PINS
# define PINS 0 /* tasks pinned to worker 0, that others make ready. PIN_HUB: it has no bell */
#endif
#ifndef SPURIOUS
# define SPURIOUS 0 /* sleeps that end by themselves */
#endif
#ifndef TIMES
# define TIMES 1 /* the clock goes from 0 to this, and deadlines from 1; at most 2 */
#endif
#ifndef ASLEEP
# define ASLEEP 0 /* workers that sleep at the beginning: the last ones */
#endif
#ifndef READY
# define READY 0 /* tasks that seat 0 has at the beginning */
#endif
#ifndef ARMED
# define ARMED 0 /* at the beginning: a timer of seat 0, and the alarm set to it */
#endif

#define FOREVER (TIMES + 1)
#define NOBODY  15
#define HARVEST 1 /* events that a harvest can take */

/* The word of idle.c: three counts, changed together. */
byte searching, sleeping = ASLEEP, tokens;

/* A seat's queues, as one: what all see, and what its worker has pushed that others do not see yet. */
byte ready[WORKERS], pushed[WORKERS];
bit lifo[WORKERS];

/* The injection queue: what all see, and what the thread that pushed last holds back. */
byte injected, injecting, injector = NOBODY;

/* A wheel: a bit for each deadline, the earliest of them, and what others see of that. */
byte wheel[WORKERS], next[WORKERS] = FOREVER, next_seen[WORKERS] = FOREVER;
bit lowered[WORKERS]; /* next was made earlier since the alarm was told */
byte now, last;       /* the clock, and where it stops */

/* The hub: the word of the alarm, what others see of it, and who holds the new value back; the timerfd;
 * edges that nobody has taken. Setting a timerfd takes back what it has to report: with that its edge. */
byte alarm = FOREVER, alarm_seen = FOREVER, alarm_by = NOBODY;
byte timer_at;
bit edge_signal, edge_alarm, edge_set[WORKERS];
byte events[WORKERS];

#if PINS
/* Worker 0's own list, what is held back of it and by whom; where it says that it sleeps, what it holds back of that;
 * edges of its bell; and how many are roused. */
byte pinned, pinning, pinner = NOBODY;
bit bed = (ASLEEP == WORKERS), bed_held, edge_bell;
short roused;
#endif

bit stopped, released;

/* What is left to be done. */
byte spawns = SPAWNS, wakes = WAKES, yields = YIELDS, longs = LONG, arms = ARMS, cancels = CANCELS,
     arrivals = EVENTS, spurious = SPURIOUS, pins = PINS;

/* For the properties. is_searching is w->searching besides. */
bit is_searching[WORKERS], is_sleeping[WORKERS], is_long[WORKERS];
bit alone_ok[WORKERS];  /* one task may stay behind this poll */
bit behind_ok[WORKERS]; /* any number may: see W4 in worker.c */
byte owed;              /* polls: of tasks that became ready */
byte left, outside_done;
bit at_rest;

#define SEEN_NEXT(i) ((i) == me -> next[i] : next_seen[i])
#define SEEN_ALARM   (alarm_by == me -> alarm : alarm_seen)
#define MINE         (ready[me] + pushed[me])
#define EARLIEST(b)  ((b) & 1 -> 1 : ((b) & 2 -> 2 : FOREVER))

#if WORKERS == 2
# define SUM(a)   (a[0] + a[1])
# define ANY_EDGE (edge_set[0] || edge_set[1])
#else
# define SUM(a)   (a[0] + a[1] + a[2])
# define ANY_EDGE (edge_set[0] || edge_set[1] || edge_set[2])
#endif

/* M2, in the step that changes the word. */
#define COUNTED                                                                                    \
 assert(searching == SUM(is_searching) + tokens);                                                  \
 assert(sleeping == SUM(is_sleeping) && tokens <= sleeping && tokens <= 1)

/* In a d_step: all see what `me` has stored. */
#define DRAIN                                                                                      \
 if                                                                                                \
 :: me < WORKERS ->                                                                                \
     ready[me] = ready[me] + pushed[me];                                                           \
     pushed[me] = 0;                                                                               \
     next_seen[me] = next[me]                                                                      \
 :: else                                                                                           \
 fi;                                                                                               \
 if                                                                                                \
 :: alarm_by == me -> alarm_seen = alarm; alarm_by = NOBODY                                        \
 :: else                                                                                           \
 fi;                                                                                               \
 if                                                                                                \
 :: injector == me -> injected = injected + injecting; injecting = 0; injector = NOBODY            \
 :: else                                                                                           \
 fi;                                                                                               \
 DRAIN_PINS

#if PINS
# define DRAIN_PINS                                                                                \
  if                                                                                               \
  :: pinner == me -> pinned = pinned + pinning; pinning = 0; pinner = NOBODY                       \
  :: else                                                                                          \
  fi;                                                                                              \
  if                                                                                               \
  :: me == 0 && bed_held -> bed = 1; bed_held = 0                                                  \
  :: else                                                                                          \
  fi
# define PINNED_HERE (me == 0 && pinned > 0)
# define CALLED      (roused > 0 || (me == 0 && edge_bell))
#else
# define DRAIN_PINS  skip
# define PINNED_HERE false
# define CALLED      false
#endif

#include "protocol.pml"
#include "worker.pml"

proctype worker(byte me)
{
    byte i, n, t, earliest = FOREVER, sets, woken;
    bit may, was_last, task, unfenced, armed, yielded, rang;
#ifdef OLD_A1_j
    byte told = FOREVER;
#endif

    if
    :: is_sleeping[me] ->
        park_sleep();
#if PINS
        wf_pins_sleep_end()
#endif
    :: else
    fi;
    runtime_thread()
}

proctype outside(byte me)
{
    byte n;
    bit may;

    do
    :: n < PUSHES -> wf_runtime_inject(); n++
#if PINS
    :: atomic { pins > 0 -> pins-- }; pins_push_remote()
#endif
    :: else -> break
    od;
    outside_done++
}

/* The clock, the kernel, and the memory, which lets stores through when it likes. */
active proctype world()
{
#if ARMS
# if TIMES == 1 || defined(STAGED)
    last = TIMES;
# else
    if
    :: last = 1
    :: last = 2
    fi;
# endif
#endif
end:
    do
    :: d_step { now < last -> now++ }
    :: d_step { timer_at > 0 && timer_at <= now -> timer_at = 0; edge_alarm = 1 }
    :: d_step { arrivals > 0 -> arrivals--; events[0]++; edge_set[0] = 1 }
    :: d_step { arrivals > 0 -> arrivals--; events[1]++; edge_set[1] = 1 }
    :: d_step { pushed[0] > 0 -> ready[0] = ready[0] + pushed[0]; pushed[0] = 0 }
    :: d_step { pushed[1] > 0 -> ready[1] = ready[1] + pushed[1]; pushed[1] = 0 }
    :: d_step { next_seen[0] != next[0] -> next_seen[0] = next[0] }
    :: d_step { next_seen[1] != next[1] -> next_seen[1] = next[1] }
#if WORKERS > 2
    :: d_step { pushed[2] > 0 -> ready[2] = ready[2] + pushed[2]; pushed[2] = 0 }
    :: d_step { next_seen[2] != next[2] -> next_seen[2] = next[2] }
#endif
    :: d_step { alarm_by != NOBODY -> alarm_seen = alarm; alarm_by = NOBODY }
    :: d_step { injecting > 0 -> injected = injected + injecting; injecting = 0; injector = NOBODY }
#if PINS
    :: d_step { pinning > 0 -> pinned = pinned + pinning; pinning = 0; pinner = NOBODY }
    :: d_step { bed_held -> bed = 1; bed_held = 0 }
#endif
    od
}

/* M1 and M2. */
inline look_at_rest()
{
    d_step {
        assert(searching == 0 && tokens == 0);
        assert(sleeping + SUM(is_long) == WORKERS);
        assert(sleeping == 0 || injected + injecting == 0);
#if PINS
        assert(!is_sleeping[0] || pinned + pinning == 0);
#endif
        i = 0;
        do
        :: i < WORKERS ->
            assert(sleeping == 0 || events[i] == 0);
            assert(sleeping == 0 || next[i] > now);
            if
            :: is_sleeping[i] -> assert(!lifo[i] && ready[i] + pushed[i] == 0)
            :: is_long[i] && sleeping > 0 && !behind_ok[i] -> assert(ready[i] <= alone_ok[i])
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

active proctype monitor()
{
    byte i;

#ifdef STOP_ANY_TIME
    released = 1;
#else
    timeout;
    look_at_rest();
    released = 1;
    timeout;
    look_at_rest();
    assert(sleeping == WORKERS);
    assert(owed == 0); /* M3 */
#endif
    d_step { shutdown_stop() };
    timeout;
    assert(left == WORKERS && outside_done == OUTSIDE); /* M4 */
    at_rest = 1
}

init
{
    byte k;

    atomic {
        ready[0] = READY;
        owed = READY;
#if ARMED
        wheel[0] = 1 << (ARMED - 1);
        next[0] = ARMED;
        next_seen[0] = ARMED;
        alarm = ARMED;
        alarm_seen = ARMED;
        timer_at = ARMED;
#endif
        do
        :: k < WORKERS -> is_sleeping[k] = (k >= WORKERS - ASLEEP); run worker(k); k++
        :: k >= WORKERS && k < WORKERS + OUTSIDE -> run outside(k); k++
        :: else -> break
        od
    }
}

#ifdef CLAIM
ltl rest { <> at_rest } /* M5 */
#endif
