/* SPDX-License-Identifier: MIT */
/*
 * protocol.pml - part of park.pml: what src/sched/idle.c and park.c do, and what they stand on in src/io/epoll.c
 * and src/time/wheel.c.
 *
 * In an inline, me is the worker, or the thread outside; i, n, t and the rest are variables of its process.
 */

/* --- idle.c --- */

/* may: this worker searches now. */
inline wf_idle_search_begin()
{
    may = (2 * searching < WORKERS);
    if
    :: may -> d_step {
#ifndef NO_P2_a
            searching++; /* (P2.a) */
#endif
            is_searching[me] = 1;
            DRAIN;
            COUNTED
        }
    :: else
    fi
}

inline wf_idle_search_end()
{
    d_step {
#ifndef NO_P2_b
        searching--; /* (P2.b) */
#endif
        is_searching[me] = 0;
        DRAIN;
        COUNTED;
        was_last = (searching == 0)
    }
}

/* was_last: it searched. */
inline wf_idle_sleep_begin()
{
    d_step {
        was_last = is_searching[me];
        searching = searching - is_searching[me]; /* (P2.c) */
        is_searching[me] = 0;
#ifndef NO_P2_c
        sleeping++;
#endif
        is_sleeping[me] = 1;
        DRAIN; /* (P2.d): see wf_worker_park */
        COUNTED
    }
}

/* was_last: it is to search again. */
inline idle_sleep_leave()
{
    d_step {
        sleeping--; /* (P2.e) */
        is_sleeping[me] = 0;
        if
#ifndef NO_P2_e
        :: tokens > 0 -> tokens--; is_searching[me] = 1
#endif
        :: else -> searching = searching + was_last; is_searching[me] = was_last
        fi;
        was_last = 0;
        DRAIN;
        COUNTED
    }
}

/* may: a sleeper must be signalled. */
inline wf_idle_notify()
{
#ifndef NO_P2_f
    d_step { DRAIN }; /* (P2.f) */
#endif
    d_step {
        if
        :: searching > 0 || sleeping == tokens -> may = 0
        :: else ->
#ifndef NO_P2_g
            tokens++; /* (P2.g) */
            searching++;
#endif
            DRAIN;
            COUNTED;
            may = 1
        fi
    }
}

/* --- epoll.c, wheel.c --- */

/* A system call: whom the edge wakes sees what was stored before. */
inline wf_hub_signal()
{
    d_step {
        DRAIN;
#ifndef NO_E2_a
        edge_signal = 1 /* (E2.a) */
#endif
    }
}

/* rang: the alarm has gone off. sets: whose events to harvest. */
inline epoll_sleep_parent()
{
    atomic {
        if
        :: edge_signal || edge_alarm || ANY_EDGE || CALLED
        :: spurious > 0 -> spurious--
        fi;
        d_step {
#ifndef NO_E2_b
            edge_signal = 0; /* (E2.b) */
#endif
#if PINS
            edge_bell = edge_bell && me != 0;
#endif
            rang = edge_alarm;
            edge_alarm = 0;
            i = 0;
            do
            :: i < WORKERS -> sets = sets | (edge_set[i] << i); edge_set[i] = 0; i++
            :: else -> break
            od;
            i = 0
        }
    }
}

#if PINS
inline wf_hub_rouse()
{
# ifdef NO_E4_a
    skip
# else
    d_step { DRAIN; roused++ } /* (E4.a) */
# endif
}

inline wf_hub_roused()
{
# ifdef NO_E4_b
    skip
# else
    d_step { DRAIN; roused-- } /* (E4.b) */
# endif
}
#endif

/* n events of seat i are delivered. */
inline epoll_deliver()
{
    pushed[me] = pushed[me] + n;
    owed = owed + n;
    woken = woken + n;
#ifndef NO_E1_b
    if
    :: n == HARVEST && events[i] -> edge_set[i] = 1 /* (E1.b) */
    :: else
    fi;
#endif
    n = 0
}

inline wf_poller_harvest()
{
    d_step {
        n = (events[i] < HARVEST -> events[i] : HARVEST); /* (E1.a) */
        events[i] = events[i] - n;
        edge_set[i] = edge_set[i] && events[i]
    };
    d_step { epoll_deliver() }
}

inline wf_hub_alarm_lower()
{
    if
#ifndef NO_A1_a
    :: earliest >= SEEN_ALARM /* (A1.a) */
#endif
    :: else -> d_step {
            if
#ifdef NO_A1_b
            :: true ->
#else
            :: earliest < alarm -> /* (A1.b) */
#endif
                timer_at = earliest;
                edge_alarm = 0;
                alarm = earliest
#ifndef NO_A1_b
            :: else
#endif
            fi;
            alarm_seen = alarm;
            alarm_by = NOBODY
        }
    fi
}

inline wf_hub_alarm_clear()
{
#ifdef NO_A1_c
    skip
#else
    d_step {
        alarm_seen = alarm; /* (A1.c) */
        alarm = FOREVER;
        alarm_by = me
    }
#endif
}

/* Under the wheel's lock. */
inline wheel_publish_armed(at)
{
    if
#ifdef NO_A1_k
    :: at < next[me] -> next[me] = at
#else
    :: at < next[me] -> next[me] = at; lowered[me] = 1 /* (A1.k) */
#endif
    :: else
    fi
}

inline wf_timer_arm(at)
{
    d_step {
        wheel[me] = wheel[me] | (1 << (at - 1));
        wheel_publish_armed(at)
    }
}

inline wf_timer_cancel(at)
{
    d_step {
        wheel[me] = wheel[me] & ~(1 << (at - 1));
        next[me] = EARLIEST(wheel[me]);
        next_seen[me] = next[me]
    }
}

/* What is due on seat i at t. In a d_step. */
inline wf_wheel_advance()
{
    n = wheel[i] & ((1 << t) - 1);
    n = (n & 1) + (n >> 1);
    wheel[i] = wheel[i] & ~((1 << t) - 1);
    next[i] = EARLIEST(wheel[i]);
    next_seen[i] = next[i];
    pushed[me] = pushed[me] + n;
    owed = owed + n;
    woken = woken + n;
    n = 0
}

/* --- park.c --- */

inline wf_worker_notify()
{
    wf_idle_notify();
    if
#ifdef NO_P2_h
    :: may
#else
    :: may -> wf_hub_signal() /* (P2.h) */
#endif
    :: else
    fi
}

inline wf_worker_alarm()
{
    earliest = next[me];
#ifndef NO_A1_d
    d_step { DRAIN }; /* (A1.d) */
#endif
    if
#ifdef NO_A1_e
    :: wf_hub_alarm_lower()
#else
    :: sleeping > 0 -> wf_hub_alarm_lower() /* (A1.e) */
    :: else
#endif
    fi;
    earliest = FOREVER
}

/* Half of what is seen of seat i, the first to be polled. In a d_step. */
inline steal_from()
{
    n = ready[i] - ready[i] / 2;
    ready[i] = ready[i] - n;
    DRAIN;
    pushed[me] = pushed[me] + n - 1;
    n = 0;
    i = 0;
    task = 1
}

/* It may come back with nothing at any time, as when others are faster: what counts is the look before
 * the sleep. Not for the claim, as it might do so for ever. */
inline wf_worker_steal()
{
    may = is_searching[me];
    if
    :: !may -> wf_idle_search_begin()
    :: else
    fi;
    if
    :: atomic { may && me != 0 && ready[0] > 0 -> i = 0; d_step { steal_from() } }
    :: atomic { may && me != 1 && ready[1] > 0 -> i = 1; d_step { steal_from() } }
#if WORKERS > 2
    :: atomic { may && me != 2 && ready[2] > 0 -> i = 2; d_step { steal_from() } }
#endif
#if defined(CLAIM) && !defined(NO_steal)
    :: else
#else
    :: true
#endif
    fi;
    may = 0
}

/* may: something lies in a queue. */
inline wf_worker_work_waits()
{
#ifdef NO_P2_i
    may = 0;
#else
    may = (injected > 0); /* (P2.i) */
#endif
#ifndef NO_P2_j
    i = 0;
    do
    :: atomic {
        i < WORKERS && !may -> may = (ready[i] > 0 || (i == me && pushed[me] > 0)); i++ /* (P2.j) */
       }
    :: else -> break
    od;
    i = 0
#endif
}

/* may: there is something to do. */
inline park_work_visible()
{
    wf_worker_work_waits();
    if
    :: stopped -> may = 1
#ifndef NO_P5_g
    :: PINNED_HERE -> may = 1 /* (P5.g) */
#endif
    :: else
    fi
}

/* --- pins.c --- */

#if PINS
inline pins_push_remote()
{
    d_step {
        owed++;
# ifndef NO_P5_a
        pinned = pinned + pinning; /* (P5.a) */
        pinning = 1;
        pinner = me
# endif
    };
# ifndef NO_P5_b
    d_step { DRAIN }; /* (P5.b) */
# endif
    d_step {
# ifdef NO_P5_c
        may = 0;
# else
        may = bed; /* (P5.c) */
# endif
        if
        :: may -> bed = 0; DRAIN
        :: else
        fi
    };
    if
# ifndef NO_P5_d
#  ifdef PIN_HUB
    :: may -> wf_hub_rouse()
#  else
    :: may -> d_step { DRAIN; edge_bell = 1 } /* (P5.d) */
#  endif
# endif
    :: else
    fi;
    may = 0
}

/* From here on it has said so, to itself. */
inline wf_pins_sleep_begin()
{
# ifdef NO_P5_e
    skip
# else
    bed_held = bed_held || me == 0 /* (P5.e) */
# endif
}

inline wf_pins_sleep_end()
{
# ifdef NO_P5_f
    skip
# else
    if
    :: me == 0 ->
        d_step { DRAIN; may = !bed; bed = 0 }; /* (P5.f) */
#  ifdef PIN_HUB
        if
        :: may -> wf_hub_roused()
        :: else
        fi
#  endif
    :: else
    fi;
    may = 0
# endif
}
#endif

/* earliest: of all seats, in one step. (Seeing a later change without an earlier one is possible all the
 * same: the world drains in any order.) */
inline park_next_timer()
{
    d_step {
        earliest = FOREVER;
        i = 0;
        do
#ifdef NO_A1_f
        :: i < WORKERS && i != me -> i++
        :: i == me ->
#else
        :: i < WORKERS ->
#endif
            earliest = (SEEN_NEXT(i) < earliest -> SEEN_NEXT(i) : earliest); /* (A1.f) */
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline park_set_alarm()
{
    park_next_timer();
    if
    :: earliest != FOREVER -> wf_hub_alarm_lower()
    :: else
    fi;
    earliest = FOREVER
}

#define NEXT_DUE                                                                                   \
 do                                                                                                \
 :: i < WORKERS && SEEN_NEXT(i) > t -> i++                                                         \
 :: else -> break                                                                                  \
 od

inline park_fire_due()
{
    atomic { t = now; i = 0; NEXT_DUE };
    do
    :: atomic { i < WORKERS -> d_step { wf_wheel_advance() }; NEXT_DUE }
    :: else -> break
    od;
    t = 0;
    i = 0
}

inline park_collect()
{
    i = 0;
#if EVENTS
    do
    :: i < WORKERS && (sets & (1 << i)) ->
# ifndef NO_E1_a
        wf_poller_harvest();
# endif
        i++
    :: i < WORKERS && !(sets & (1 << i)) -> i++
    :: else -> break
    od;
    i = 0;
    sets = 0;
#endif
#if ARMS
    if
    :: rang ->
        wf_hub_alarm_clear();
# ifndef NO_A1_g
        d_step { DRAIN } /* (A1.g) */
# endif
    :: else
    fi;
    park_fire_due();
# ifndef NO_A1_h
    if
    :: rang && sleeping > 0 -> park_set_alarm() /* (A1.h) */
    :: else
    fi;
# endif
    rang = 0
#endif
}

inline park_sleep()
{
    epoll_sleep_parent();
    idle_sleep_leave();
    park_collect();
    if
#ifndef NO_P2_k
    :: woken > 1 -> woken = 0; wf_worker_notify() /* (P2.k) */
#endif
    :: else -> woken = 0
    fi;
    may = 0
}

inline wf_worker_park()
{
#if PINS
    wf_pins_sleep_begin();
#endif
#ifdef NO_P2_d
    /* The looks may come before. */
    if
    :: wf_idle_sleep_begin(); park_work_visible(); park_next_timer()
    :: park_work_visible(); park_next_timer(); wf_idle_sleep_begin()
    fi;
#else
    wf_idle_sleep_begin();
    park_work_visible();
#endif
    if
    :: may ->
#ifdef NO_P2_l
        was_last = 0;
#endif
        idle_sleep_leave() /* (P2.l) */
    :: else ->
        assert(!lifo[me]);
        was_last = 0;
#if ARMS && defined(NO_P2_d)
        wf_hub_alarm_lower();
        earliest = FOREVER;
#elif ARMS && !defined(NO_A1_i)
        park_set_alarm(); /* (A1.i) */
#endif
        park_sleep()
    fi;
#if PINS
    wf_pins_sleep_end();
#endif
    may = 0
}
