/* SPDX-License-Identifier: MIT */
/*
 * test_backtrace.c - the question for a thread's backtrace, and its answer, under all interleavings: who asks has the
 * frames of its own question, whole, or none.
 *
 * The handler is a thread of its own, which answers each signal as late as it may: in time, after the limit, or in the
 * middle of the next question. The signal carries its number and orders nothing; the frames are plain memory. The
 * source is included, with an unwinder that writes the number of the question.
 */
#include "base/sys.h"
#include "model/model.h"

#include <unwind.h>

static _Unwind_Reason_Code write_frames(_Unwind_Trace_Fn fn, void *arg);
static int send_signal(uint32_t id, int number, void *value);

#define _Unwind_Backtrace    write_frames
#define wf_sys_thread_signal send_signal

#include "fiber/backtrace.c" /* NOLINT(bugprone-suspicious-include) */

#define FRAMES 2
#define LIMIT  BACKTRACE_LOOK_NS
#define MOST   4 /* signals */

enum { ANSWERED, TOO_LATE, STILL_AT_IT, ANOTHER_ASKS };

static struct wf_atomic_u32 sent[MOST], count_sent; /* serial numbers, from 1 */
static struct wf_atomic_u32 asked;                  /* threads that have asked all they will */
static unsigned askers;                             /* of so many */
static unsigned number_answered;                    /* by the handler */

static int send_signal(uint32_t id, int number, void *value)
{
    /* relaxed: the kernel is not relied on to order anything */
    uint32_t i = wf_load_u32(&count_sent, WF_RELAXED);

    (void)id;
    CHECK_EQ(BACKTRACE_SIGNAL, number);
    CHECK(i < MOST);
    wf_store_u32(&sent[i], (uint32_t)((char *)value - backtrace.serials) + 1, WF_RELAXED);
    wf_store_u32(&count_sent, i + 1, WF_RELAXED);
    return 0;
}

static _Unwind_Reason_Code write_frames(_Unwind_Trace_Fn fn, void *arg)
{
    struct backtrace_walk *walk = arg;

    if (fn == backtrace_prime)
        return _URC_END_OF_STACK;
    for (walk->count = 0; walk->count < FRAMES; walk->count++)
        walk->frames[walk->count] = &backtrace.serials[number_answered];
    return _URC_END_OF_STACK;
}

/* In the thread that is asked for. */
static void handles(void)
{
    for (unsigned i = 0; i < MOST; i++) {
        uint32_t serial;

        while (!(serial = wf_load_u32(&sent[i], WF_RELAXED))) {
            if (wf_load_u32(&asked, WF_RELAXED) == askers)
                return;
            wf_spin_pause();
        }
        number_answered = serial - 1;
        backtrace_answer(serial - 1);
    }
}

static void ask(void)
{
    void *frames[WF_BACKTRACE_MAX] = {NULL};
    uint32_t before = wf_load_u32(&count_sent, WF_RELAXED);
    unsigned count = wf_backtrace_of_thread(7, frames, LIMIT);
    uint32_t after = wf_load_u32(&count_sent, WF_RELAXED);

    if (count == 0) {
        if (askers == 1)
            model_reached(after == before ? STILL_AT_IT : TOO_LATE);
        else if (after == 0)
            model_reached(ANOTHER_ASKS);
        return;
    }
    model_reached(ANSWERED);
    CHECK_EQ(FRAMES, count);
    CHECK(frames[0] == frames[1]);
    if (askers == 1)
        CHECK(frames[0] == &backtrace.serials[after]);
}

static void asks_thrice(void)
{
    for (int i = 0; i < 3; i++)
        ask();
    wf_add_u32(&asked, 1, WF_RELAXED);
}

static void asks(void)
{
    ask();
    wf_add_u32(&asked, 1, WF_RELAXED);
}

static void begin_one(void)
{
    askers = 1;
}

static void begin_two(void)
{
    askers = 2;
}

const struct model_test model_tests[] = {
    {.name = "who asks has the frames of its own question, or none",
     .begin = begin_one,
     .thread = {asks_thrice, handles},
     .preemptions = 4,
     .must_reach = 1u << ANSWERED | 1u << TOO_LATE | 1u << STILL_AT_IT},
    {.name = "two ask, one after the other or one in vain",
     .begin = begin_two,
     .thread = {asks, asks, handles},
     .must_reach = 1u << ANSWERED | 1u << ANOTHER_ASKS},
    {0},
};
