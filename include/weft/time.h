/* SPDX-License-Identifier: MIT */
/*
 * weft/time.h - the clock, sleeping, and deadlines around blocks of code.
 *
 * All times are on the monotonic clock. A timer never fires early; on an idle
 * runtime it fires within about 0.15 ms.
 */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Now, on the monotonic clock. From any thread. */
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

/* As futures; the time of weft_sleep_future counts from its first poll. Result 0. */
WEFT_API weft_future weft_sleep_future(weft_duration d);
WEFT_API weft_future weft_sleep_until_future(weft_instant at);

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
