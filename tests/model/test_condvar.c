/* SPDX-License-Identifier: MIT */
/*
 * test_condvar.c - a change that is made under the mutex, and signalled, while others begin to wait for it or give up.
 */
#include "model/bell.h"

#include <errno.h>
#include <weft/condvar.h>

enum { WAITED, WAITED_NOT, PASSED_ON };

#define BIT(event) (1u << (event))

static weft_mutex mutex = WEFT_MUTEX_INIT;
static weft_condvar changed = WEFT_CONDVAR_INIT;
static struct bell bell[2] = {BELL, BELL};
static unsigned value; /* under the mutex */

static void end(void)
{
    CHECK_EQ(0, bell[0].refs.raw + bell[1].refs.raw);
}

/* --- threads, with the mutex and all ----------------------------------------------------------------- */

static void waits(void)
{
    CHECK_EQ(0, weft_mutex_lock_blocking(&mutex));
    model_reached(value ? WAITED_NOT : WAITED);
    while (!value)
        CHECK_EQ(0, weft_condvar_wait_blocking(&changed, &mutex));
    CHECK(weft_mutex_is_held(&mutex));
    CHECK_EQ(42, value);
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
}

static void changes(void)
{
    bool inside = model_choose(2);

    CHECK_EQ(0, weft_mutex_lock_blocking(&mutex));
    value = 42;
    if (inside)
        weft_condvar_signal(&changed);
    CHECK_EQ(0, weft_mutex_unlock(&mutex));
    if (!inside)
        weft_condvar_signal(&changed);
}

/* --- a signal and a waiter that goes -------------------------------------------------------------------- */

static weft_future future[2];

static void begin_two(void)
{
    for (int i = 0; i < 2; i++) {
        future[i] = weft_condvar_wait_future(&changed);
        CHECK(bell_poll(&bell[i], &future[i]) == WEFT_PENDING);
    }
}

static void goes(void)
{
    weft_future_drop(&future[0]);
    if (bell_has_rung(&bell[0]))
        model_reached(PASSED_ON);
}

static void stays(void)
{
    CHECK_EQ(0, bell_await(&bell[1], &future[1]));
}

static void signals(void)
{
    weft_condvar_signal(&changed);
}

const struct model_test model_tests[] = {
    {.name = "who begins to wait misses no change",
     .thread = {waits, changes},
     .end = end,
     .must_reach = BIT(WAITED) | BIT(WAITED_NOT)},
    {.name = "a signal finds the one that stays",
     .begin = begin_two,
     .thread = {goes, stays, signals},
     .end = end,
     .must_reach = BIT(PASSED_ON)},
    {0},
};
