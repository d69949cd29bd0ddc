/* SPDX-License-Identifier: MIT */
/*
 * weft/time.h - the clock, sleeping, ticking, deadlines around blocks of code, and a clock that tests can stop.
 *
 * All times are on the monotonic clock, unless a test has stopped its runtime's: weft_clock_pause. A timer never
 * fires early; on an idle runtime it fires within about 0.15 ms.
 */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Now: on the clock of the runtime whose task or blocking job calls, which is the monotonic one unless a test has
 * stopped it. From any thread. */
WEFT_API weft_instant weft_now(void);

/* at + d, saturating at WEFT_FOREVER. */
WEFT_API weft_instant weft_instant_add(weft_instant at, weft_duration d);

/* What is left from now until at; 0 when it has passed. */
WEFT_API weft_duration weft_until(weft_instant at);

/*
 * weft_sleep - suspend this task for at least d.
 *
 * Awaits   always, but for d = 0, which only spends one unit of the coop budget.
 * Returns  0, or -ECANCELED, -ETIMEDOUT (an enclosing deadline), -EPERM.
 */
WEFT_API int weft_sleep(weft_duration d);
WEFT_API int weft_sleep_until(weft_instant at);

/* As futures; the time of weft_sleep_future counts from its first poll. Result 0. The coop budget holds no timer up:
 * beside a branch that spends all of it in each poll a sleep still begins and ends, and a tick comes. One that is
 * pending when its runtime ends, in a set of futures perhaps, wakes whom it was to wake, and goes on in the task that
 * polls it next, until the same moment; on a plain thread, which has no timers, it ends with -EPERM then. */
WEFT_API weft_future weft_sleep_future(weft_duration d);
WEFT_API weft_future weft_sleep_until_future(weft_instant at);

/*
 * weft_sleep_reset - let a sleep end at another moment.
 *
 * sleep    of weft_sleep_future or weft_sleep_until_future, in any state: one that was not polled yet or is pending
 *          ends then instead, also inside a select that has kept it; one that is finished or was dropped is as new.
 *
 * For whoever may poll the future, while nobody does. Never awaits, allocates nothing.
 * Returns  0, or -EINVAL: NULL, or another kind of future.
 */
WEFT_API int weft_sleep_reset(weft_future *sleep, weft_instant at);

/* When it ends or has ended; of a weft_sleep_future that was not polled yet: when it would, polled now. WEFT_FOREVER
 * for what is no sleep. */
WEFT_API weft_instant weft_sleep_deadline(const weft_future *sleep);

/*
 * Ticks, one every period.
 *
 *     weft_interval every;
 *
 *     rc = weft_interval_init(&every, WEFT_MS(100));
 *     while (rc == 0) {
 *         rc = weft_interval_tick(&every, NULL);
 *         ...
 *     }
 *
 * Each tick has its scheduled moment, and is never early. One that is taken late does not move those behind it, but
 * as the policy for missed ticks says: so there is no drift. An interval holds no resources, and needs
 * no release. It is for one task at a time, and must stay where it is while a tick is awaited.
 */
typedef struct weft_interval {
    uintptr_t words_[14]; /* do not touch */
} weft_interval;

/* What becomes of the ticks that came due while nobody took any. */
typedef enum weft_tick_policy {
    WEFT_TICK_BURST =
        0, /* all of them are taken, at once: the next is scheduled a period after the one before */
    WEFT_TICK_DELAY =
        1, /* the next comes a period after the late one was taken. Late is one by a whole period or
                            by a millisecond, whichever is less; else as burst, so that it does not drift */
    WEFT_TICK_SKIP =
        2 /* those that are past are left out: the next is a whole number of periods after the one
                            before, and not past */
} weft_tick_policy;

/*
 * The first tick comes at once, or at start, which may be past.
 * Returns 0, or -EINVAL: iv is NULL, or the period is 0.
 */
WEFT_API WEFT_MUST_CHECK int weft_interval_init(weft_interval *iv, weft_duration period);
WEFT_API WEFT_MUST_CHECK int weft_interval_init_at(weft_interval *iv, weft_instant start,
                                                   weft_duration period);

/*
 * weft_interval_tick - wait for the next tick.
 *
 * scheduled  may be NULL; when the tick was due, which is now or in the past. Written when 0 is returned.
 *
 * Awaits   until it is due.
 * Cancel   safe: no tick is lost.
 * Returns  0
 *          -EINVAL      iv is NULL, or was not initialised
 *          -EBUSY       a tick of it is awaited already
 *          -ECANCELED, -ETIMEDOUT, -EPERM as weft_await
 */
WEFT_API WEFT_MUST_CHECK int weft_interval_tick(weft_interval *iv, weft_instant *scheduled);
WEFT_API weft_future weft_interval_tick_future(weft_interval *iv, weft_instant *scheduled);

/* The policy, from the next tick that is taken on; -EINVAL: there is no such. */
WEFT_API int weft_interval_set_missed(weft_interval *iv, weft_tick_policy policy);
WEFT_API weft_tick_policy weft_interval_missed(const weft_interval *iv);

WEFT_API weft_duration weft_interval_period(const weft_interval *iv);

/*
 * The next tick comes a period from now; at once; d from now; at that moment; and those behind it a period each. A tick
 * that is awaited moves, too. Return 0, or -EINVAL as weft_interval_tick.
 */
WEFT_API int weft_interval_reset(weft_interval *iv);
WEFT_API int weft_interval_reset_immediately(weft_interval *iv);
WEFT_API int weft_interval_reset_after(weft_interval *iv, weft_duration d);
WEFT_API int weft_interval_reset_at(weft_interval *iv, weft_instant at);

/*
 * A deadline over a block of code: every await inside returns -ETIMEDOUT once the
 * time has passed, at any depth of calls. Blocks nest; the nearest passed one counts.
 *
 *     WEFT_DEADLINE(WEFT_SECS(5)) {
 *         rc = fetch(url);
 *     }
 *
 * break and continue leave the block only; return and goto out are safe.
 */
typedef struct weft_deadline {
    uintptr_t words_[14]; /* do not touch */
} weft_deadline;

/* The functions behind the block, for bindings and for compilers without cleanup
 * attributes. scope must stay where it is until it is left, in reverse order of
 * entering. Outside a fiber they do nothing. enter returns scope. */
WEFT_API weft_deadline *weft_deadline_enter(weft_deadline *scope, weft_duration limit);
WEFT_API weft_deadline *weft_deadline_enter_at(weft_deadline *scope, weft_instant at);
WEFT_API void weft_deadline_leave(weft_deadline *scope);

/* Has any deadline around the running code passed? Tells -ETIMEDOUT of a deadline from that
 * of the network: ask inside the block. */
WEFT_API bool weft_deadline_passed(void);

/* The nearest deadline around the running code; WEFT_FOREVER when there is none. */
WEFT_API weft_instant weft_deadline_current(void);

/*
 * A clock that stands still, for tests: of a current-thread runtime, from one of its tasks, or from the beginning by
 * weft_config.start_paused. Then weft_now, in its tasks and blocking jobs, gives the moment at which it was stopped,
 * and all its timers go by that: sleeps, timeouts, deadlines, intervals, delay queues. Other runtimes, plain
 * threads, and the limit of a shutdown are not affected.
 *
 * When nothing is left to do the clock jumps to the next timer, and its task runs at exactly that moment: so a test
 * in which hours pass takes no time, and comes to the same times whenever it is run. Nothing is left to do when no
 * task is ready, no descriptor that a task waits for is, and no blocking job (weft_spawn_blocking, weft_blocking)
 * is queued or runs. What is still on its way from another thread, process or machine does not hold the clock.
 *
 * Return 0, or
 *          -EPERM       not in a task, or the runtime has worker threads
 *          -EALREADY    (pause) it stands still; (resume) it runs
 */
WEFT_API int weft_clock_pause(void);
/* It runs on, from where it is. */
WEFT_API int weft_clock_resume(void);

/*
 * weft_clock_advance - move a clock that stands still by d.
 *
 * Awaits   until each task with a timer that has come due has been polled once: not, what they go on to wait for.
 *          The clock jumps all the way: a task that ticks meets it late. To let time pass in order, sleep instead.
 * Cancel   the clock has moved, if it returns after it was first pending.
 * Returns  0
 *          -EINVAL      the clock runs, or would come beyond 2^63 ns
 *          -ECANCELED, -ETIMEDOUT as weft_await; -EPERM also on a runtime with worker threads
 */
WEFT_API int weft_clock_advance(weft_duration d);
WEFT_API weft_future weft_clock_advance_future(weft_duration d);

#ifdef WEFT_CLEANUP
/* NOLINTBEGIN(bugprone-macro-parentheses): scope and once are names */
# define WEFT_DEADLINE_BLOCK_(scope, once, enter) \
  for (weft_deadline scope WEFT_CLEANUP(weft_deadline_leave), *once = enter; once; once = NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
# define WEFT_DEADLINE(limit)                                                                 \
  WEFT_DEADLINE_BLOCK_(WEFT_CONCAT(weft_scope_, __LINE__), WEFT_CONCAT(weft_once_, __LINE__), \
                       weft_deadline_enter(&WEFT_CONCAT(weft_scope_, __LINE__), limit))
# define WEFT_DEADLINE_AT(at)                                                                 \
  WEFT_DEADLINE_BLOCK_(WEFT_CONCAT(weft_scope_, __LINE__), WEFT_CONCAT(weft_once_, __LINE__), \
                       weft_deadline_enter_at(&WEFT_CONCAT(weft_scope_, __LINE__), at))
#endif

#ifdef __cplusplus
}
#endif

#endif
