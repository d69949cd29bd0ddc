/* SPDX-License-Identifier: MIT */
/*
 * worker.pml - part of park.pml: what src/sched/worker.c and runtime.c do, and what a poll may do.
 */

/* --- worker.c --- */

/* From a task. */
inline worker_woken_here()
{
    d_step {
        owed++;
        may = lifo[me];
        pushed[me] = pushed[me] + lifo[me];
        lifo[me] = 1
    };
    if
    :: may ->
#ifndef NO_W4_c
        wf_worker_notify(); /* (W4.c) */
#endif
        alone_ok[me] = 0;
        behind_ok[me] = 0
    :: else
    fi
}

inline worker_spawned()
{
    d_step {
        owed++;
        may = (lifo[me] || MINE > 0);
        pushed[me]++
    };
    if
    :: may ->
#ifndef NO_W4_d
        wf_worker_notify(); /* (W4.d) */
#endif
        alone_ok[me] = 0;
        behind_ok[me] = 0
    :: else -> alone_ok[me] = 1
    fi
}

inline worker_take_injected()
{
    n = injected / WORKERS + 1;
    d_step {
        injected = injected + injecting;
        injecting = 0;
        injector = NOBODY;
        n = (n > injected -> injected : n);
        injected = injected - n;
        if
        :: n > 0 -> task = 1; DRAIN; pushed[me] = pushed[me] + n - 1
        :: else
        fi
    };
#ifndef NO_W4_a
    if
    :: n > 1 -> d_step { DRAIN } /* (W4.a) */
    :: else
    fi;
#endif
    n = 0
}

/* At seat i: its own, or one of a worker that does not sleep. */
inline worker_look()
{
#if EVENTS
    wf_poller_harvest();
#endif
#if ARMS
    d_step {
        t = now;
        if
        :: SEEN_NEXT(i) <= t -> wf_wheel_advance()
        :: else
        fi;
        t = 0
    };
#endif
    i = 0;
    if
#ifndef NO_W4_b
    :: woken > 1 || MINE > 1 -> woken = 0; wf_worker_notify(); may = 0 /* (W4.b) */
#endif
    :: else -> woken = 0
    fi
}

/* task: one was found. unfenced: it came out of the slot, where there is no fence. */
inline worker_next()
{
#if ARMS || EVENTS
# ifndef STAGED
    if
    :: true
    :: atomic { !is_sleeping[0] && (events[0] > 0 || SEEN_NEXT(0) <= now) -> i = 0 }; worker_look()
    :: atomic { !is_sleeping[1] && (events[1] > 0 || SEEN_NEXT(1) <= now) -> i = 1 }; worker_look()
    fi;
# endif
#endif
    if
    :: lifo[me] -> d_step {
            lifo[me] = 0;
            task = 1;
#ifdef LIFO_FENCE
            DRAIN
#else
            unfenced = 1
#endif
        }
    :: lifo[me] || MINE > 0 -> d_step {
            pushed[me] = pushed[me] + lifo[me];
            lifo[me] = 0;
            DRAIN;
            task = (ready[me] > 0);
            ready[me] = ready[me] - task
        }
    :: !lifo[me] && injected > 0 -> worker_take_injected()
#if PINS
    :: atomic { PINNED_HERE -> d_step { pinned--; task = 1; DRAIN } }
#endif
    :: !lifo[me] && MINE == 0 && injected == 0 && !PINNED_HERE
    fi
}

inline worker_check_alarm()
{
#if defined(OLD_A1_j)
    lowered[me] = 0;
    if
    :: next[me] == told
    :: else ->
        told = next[me];
        if
        :: told != FOREVER -> wf_worker_alarm()
        :: else
        fi
    fi
#elif defined(NO_A1_j)
    lowered[me] = 0
#else
    if
    :: lowered[me] -> lowered[me] = 0; wf_worker_alarm() /* (A1.j) */
    :: else
    fi
#endif
}

inline worker_poll()
{
#ifndef NO_W4_e
    if
    :: searching == 0 && sleeping != tokens && (lifo[me] || MINE > 0) ->
        wf_worker_notify() /* (W4.e) */
    :: else
    fi;
#endif
    d_step {
        owed--;
        task = 0;
#ifndef LIFO_STRICT
        behind_ok[me] = unfenced;
#endif
        unfenced = 0
    };
    do
#ifdef STAGED
    /* Seat 0's first poll spawns, or arms the last deadline and wakes one task. From there on all compute. */
    :: atomic { spawns > 0 && me == 0 -> spawns-- }; worker_spawned()
    :: atomic { arms > 0 && me == 0 -> arms-- }; wf_timer_arm(TIMES); worker_woken_here(); break
    :: atomic { spawns + arms == 0 && longs > 0 && !released -> longs--; is_long[me] = 1 };
        released;
        is_long[me] = 0;
        break
    :: else -> break
#else
    :: break
    :: atomic { spawns > 0 -> spawns-- }; worker_spawned()
    :: atomic { wakes > 0 -> wakes-- }; worker_woken_here()
# if PINS
    :: atomic { pins > 0 && me != 0 -> pins-- }; pins_push_remote()
# endif
    :: atomic { arms > 0 && !(wheel[me] & 1) -> arms-- }; wf_timer_arm(1); armed = 1
    :: atomic { cancels > 0 && (wheel[me] & 1) -> cancels-- }; wf_timer_cancel(1)
# if TIMES > 1
    :: atomic { arms > 0 && !(wheel[me] & 2) -> arms-- }; wf_timer_arm(2); armed = 1
    :: atomic { cancels > 0 && (wheel[me] & 2) -> cancels-- }; wf_timer_cancel(2)
# endif
    /* What this very poll has armed is told when it ends. */
    :: atomic { longs > 0 && !released && !armed -> longs--; is_long[me] = 1 };
        released;
        is_long[me] = 0;
        break
    :: atomic { yields > 0 -> yields-- }; yielded = 1; break
#endif
    od;
    may = 0;
    d_step {
        armed = 0;
        alone_ok[me] = 0;
        behind_ok[me] = 0;
        owed = owed + yielded;
        pushed[me] = pushed[me] + yielded
    };
    if
#ifdef OLD_yield
    :: yielded -> yielded = 0
#endif
    :: else -> yielded = 0; worker_check_alarm()
    fi
}

inline worker_find()
{
    worker_next();
    if
    :: !task -> wf_worker_steal()
    :: else
    fi;
    if
    :: task && is_searching[me] ->
        wf_idle_search_end();
#ifndef NO_P3_a
        if
        :: was_last -> wf_worker_notify(); may = 0 /* (P3.a) */
        :: else
        fi;
#endif
        was_last = 0
    :: else
    fi
}

inline wf_worker_run()
{
    do
    :: stopped -> break
    :: else ->
        worker_find();
        if
        :: task -> worker_poll()
        :: else -> wf_worker_park()
        fi
    od;
    if
    :: is_searching[me] ->
        wf_idle_search_end();
        if
#ifndef NO_P3_b
        :: was_last -> wf_worker_notify() /* (P3.b) */
#endif
        :: else
        fi
    :: else
    fi
}

/* --- runtime.c --- */

inline wf_runtime_inject()
{
    d_step {
        injected = injected + injecting; /* (P2.m) */
#ifndef NO_P2_m
        injecting = 1;
        injector = me;
#endif
        owed++
    };
#ifndef NO_P2_n
    wf_worker_notify() /* (P2.n) */
#endif
}

inline shutdown_stop()
{
    stopped = 1; /* (P4.a) */
#ifndef NO_P4_a
    edge_signal = 1
#endif
}

inline runtime_thread()
{
    wf_worker_run();
#ifndef NO_P4_b
    wf_hub_signal(); /* (P4.b) */
#endif
    d_step { DRAIN; left++ }
}
