/* SPDX-License-Identifier: MIT */
/*
 * test_planted.c - the explorer proves itself: each kind of defect is planted once, and must be reported.
 *
 * Beside most stands the same program without the defect, which must pass: so that it is this defect that was
 * seen. `expect` holds words of the report.
 */
#include "base/sys.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

static struct wf_atomic_u32 flag, word, lock_a, lock_b;

static struct {
    char bytes[8];
    uint64_t wide;
    char text[16];
} shared;

static uint64_t *block;
static bool freed;

/* Something is done with it, or the compiler would not read it. */
static void look(uint64_t value)
{
    CHECK(value < 0x1000);
}

/* --- races --- */

static void write_wide(void)
{
    shared.wide = 1;
}

static void read_wide(void)
{
    look(shared.wide);
}

static void write_byte_0(void)
{
    shared.bytes[0] = 1;
}

static void write_byte_1(void)
{
    shared.bytes[1] = 1;
}

/* Two bytes, of which another thread writes the second. */
static void read_bytes(void)
{
    char out[2];

    memcpy(out, shared.bytes, sizeof(out));
    look((uint64_t)out[0]);
}

static void copy_text(void)
{
    memcpy(shared.text, "0123456789abcde", sizeof(shared.text));
}

static void read_text(void)
{
    look((uint64_t)shared.text[14]);
}

static void read_raw(void)
{
    look(word.raw);
}

static void write_raw(void)
{
    word.raw = 1;
}

static void add_word(void)
{
    (void)wf_add_u32(&word, 1, WF_SEQ_CST);
}

static void load_word(void)
{
    look(wf_load_u32(&word, WF_SEQ_CST));
}

static void publish(void)
{
    shared.wide = 1;
    wf_store_u32(&flag, 1, WF_RELEASE);
}

static void publish_relaxed(void)
{
    shared.wide = 1;
    wf_store_u32(&flag, 1, WF_RELAXED);
}

static void consume(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE)) {
        CHECK_EQ(1, shared.wide);
        model_reached(0);
    }
}

/* Only if the store that published was the last: a race that one interleaving in many has. */
static void consume_late(void)
{
    uint32_t old = 0;

    if (!wf_cas_u32(&flag, &old, 2, WF_RELAXED, WF_RELAXED))
        consume();
}

/* --- memory --- */

static void begin_block(void)
{
    block = wf_sys_malloc(2 * sizeof(*block));
}

static void end_block(void)
{
    if (!freed)
        wf_sys_free(block);
}

static void read_block(void)
{
    look(block[0]);
    wf_store_u32(&flag, 1, WF_RELEASE);
}

static void read_block_relaxed(void)
{
    look(block[0]);
    wf_store_u32(&flag, 1, WF_RELAXED);
}

static void read_block_behind(void)
{
    wf_store_u32(&flag, 1, WF_RELEASE);
    look(block[0]);
}

static void free_block(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE)) {
        wf_sys_free(block);
        freed = true;
        model_reached(0);
    }
}

static void free_then_say(void)
{
    wf_sys_free(block);
    wf_store_u32(&flag, 1, WF_RELEASE);
}

static void read_when_said(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE))
        look(block[0]);
}

static void free_when_said(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE))
        wf_sys_free(block);
}

static void use_atomic_when_said(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE))
        (void)wf_load_u32((struct wf_atomic_u32 *)block, WF_RELAXED);
}

static void write_behind(void)
{
    block[2] = 1;
}

static void write_before(void)
{
    block[-1] = 1;
}

static void forget_block(void)
{
    block = NULL;
}

static void free_inside(void)
{
    wf_sys_free(block + 2);
}

/* --- waiting --- */

static void spin_lock(struct wf_atomic_u32 *l)
{
    uint32_t old = 0;

    while (!wf_cas_u32(l, &old, 1, WF_ACQUIRE, WF_RELAXED)) {
        wf_spin_pause();
        old = 0;
    }
}

static void spin_unlock(struct wf_atomic_u32 *l)
{
    wf_store_u32(l, 0, WF_RELEASE);
}

static void both(struct wf_atomic_u32 *first, struct wf_atomic_u32 *second)
{
    spin_lock(first);
    spin_lock(second);
    shared.wide++;
    spin_unlock(second);
    spin_unlock(first);
}

static void lock_ab(void)
{
    both(&lock_a, &lock_b);
}

static void lock_ba(void)
{
    both(&lock_b, &lock_a);
}

static void end_two_turns(void)
{
    CHECK_EQ(2, shared.wide);
}

static void futex_waiter(void)
{
    while (wf_load_u32(&word, WF_ACQUIRE) == 0)
        if (wf_sys_futex_wait(&word, 0, WF_NO_TIMEOUT) == 0)
            model_reached(0);
        else
            model_reached(1);
}

static void futex_waker(void)
{
    wf_store_u32(&word, 1, WF_RELEASE);
    (void)wf_sys_futex_wake(&word, 1);
}

/* It looks at one word, and sleeps on another that does not change. */
static void futex_waiter_careless(void)
{
    if (wf_load_u32(&flag, WF_ACQUIRE) == 0)
        (void)wf_sys_futex_wait(&word, 0, WF_NO_TIMEOUT);
}

static void futex_waker_careless(void)
{
    wf_store_u32(&flag, 1, WF_RELEASE);
    (void)wf_sys_futex_wake(&word, 1);
}

static void futex_waker_before(void)
{
    (void)wf_sys_futex_wake(&word, 1);
    wf_store_u32(&word, 1, WF_RELEASE);
}

static void futex_waiter_limited(void)
{
    uint64_t from = model_clock();

    if (wf_sys_futex_wait(&word, 0, 1000) == 0) {
        model_reached(0);
    } else if (model_clock() - from >= 1000) {
        model_reached(1);
    }
}

static void spin_without_pause(void)
{
    while (wf_load_u32(&flag, WF_ACQUIRE) == 0)
        ;
}

static void spin_with_pause(void)
{
    while (wf_load_u32(&flag, WF_ACQUIRE) == 0)
        wf_spin_pause();
    CHECK_EQ(1, shared.wide);
    model_reached(0);
}

static bool is_published(void *arg)
{
    (void)arg;
    return shared.wide != 0;
}

static void block_until_published(void)
{
    CHECK(model_block(is_published, NULL, UINT64_MAX));
}

/* --- the tests themselves --- */

static void check_fails(void)
{
    CHECK_EQ(1, wf_load_u32(&flag, WF_RELAXED));
}

static void set_flag(void)
{
    wf_store_u32(&flag, 1, WF_RELAXED);
}

static void abort_now(void)
{
    abort();
}

static void touch_nothing(void)
{
    block[0] = 1;
}

/* What is not part of the program's memory is not put back: the C library's random numbers. */
static void not_repeated(void)
{
    for (int i = 0; i < 16; i++)
        (void)model_choose(2 + ((unsigned)rand() >> 10) % 2);
}

static void many_choices(void)
{
    for (int i = 0; i < 40; i++)
        (void)model_choose(1);
    (void)model_choose(2);
}

const struct model_test model_tests[] = {
    {.name = "one writes, one reads",
     .thread = {write_wide, read_wide},
     .expect = "a race between"},
    {.name = "both write", .thread = {write_wide, write_wide}, .expect = "a race between"},
    {.name = "both only read", .thread = {read_wide, read_raw}},
    {.name = "neighbouring bytes are no race", .thread = {write_byte_0, write_byte_1}},
    {.name = "one of several bytes is written",
     .thread = {write_byte_1, read_bytes},
     .expect = "a race between"},
    {.name = "memory that is copied to",
     .thread = {copy_text, read_text},
     .expect = "a race between"},
    {.name = "a plain write beside an atomic one",
     .thread = {write_raw, add_word},
     .expect = "plain write by T"},
    {.name = "a plain read beside an atomic write",
     .thread = {read_raw, add_word},
     .expect = "plain read by T"},
    {.name = "a plain write beside an atomic read",
     .thread = {write_raw, load_word},
     .expect = "a race between"},
    {.name = "a plain read beside an atomic read", .thread = {read_raw, load_word}},
    {.name = "published by release, acquire", .thread = {publish, consume}, .must_reach = 1},
    {.name = "published relaxed", .thread = {publish_relaxed, consume}, .expect = "a race between"},
    {.name = "published relaxed, and late",
     .thread = {publish_relaxed, consume_late},
     .expect = "a race between"},

    {.name = "freed behind the last use",
     .begin = begin_block,
     .thread = {read_block, free_block},
     .end = end_block,
     .must_reach = 1},
    {.name = "freed without an order behind the last use",
     .begin = begin_block,
     .thread = {read_block_relaxed, free_block},
     .end = end_block,
     .expect = "a race between"},
    {.name = "freed before the last use",
     .begin = begin_block,
     .thread = {read_block_behind, free_block},
     .end = end_block,
     .expect = "a race between"},
    {.name = "used after it was freed",
     .begin = begin_block,
     .thread = {free_then_say, read_when_said},
     .expect = "use after free"},
    {.name = "an atomic used after it was freed",
     .begin = begin_block,
     .thread = {free_then_say, use_atomic_when_said},
     .expect = "use after free"},
    {.name = "freed twice",
     .begin = begin_block,
     .thread = {free_then_say, free_when_said},
     .expect = "or freed before"},
    {.name = "freed in the middle",
     .begin = begin_block,
     .thread = {free_inside},
     .expect = "was not allocated"},
    {.name = "written behind the end",
     .begin = begin_block,
     .thread = {write_behind},
     .expect = "out of bounds"},
    {.name = "written before the beginning",
     .begin = begin_block,
     .thread = {write_before},
     .expect = "out of bounds"},
    {.name = "not given back",
     .begin = begin_block,
     .thread = {forget_block},
     .expect = "memory was not given back"},
    {.name = "not given back, as the test says",
     .begin = begin_block,
     .thread = {forget_block},
     .leaks = true},

    {.name = "two locks, always in one order", .thread = {lock_ab, lock_ab}, .end = end_two_turns},
    {.name = "two locks in both orders",
     .thread = {lock_ab, lock_ba},
     .expect = "nobody can go on"},
    {.name = "a futex: looked at, and slept on",
     .thread = {futex_waiter, futex_waker},
     .must_reach = 3},
    {.name = "a futex: the wake comes between the look and the sleep",
     .thread = {futex_waiter_careless, futex_waker_careless},
     .expect = "nobody can go on"},
    {.name = "a futex: the wake comes before the change",
     .thread = {futex_waiter, futex_waker_before},
     .expect = "nobody can go on"},
    {.name = "a futex: a sleep with a limit",
     .thread = {futex_waiter_limited, futex_waker},
     .must_reach = 3},
    {.name = "a loop that waits without a pause",
     .thread = {spin_without_pause},
     .expect = "no end after"},
    {.name = "a loop that waits with a pause",
     .thread = {spin_with_pause, publish},
     .must_reach = 1},
    {.name = "a loop that nobody ends", .thread = {spin_with_pause}, .expect = "nobody can go on"},
    {.name = "waiting for memory that nothing orders",
     .thread = {block_until_published, write_wide},
     .expect = "a race between"},

    {.name = "a claim that one interleaving breaks",
     .thread = {check_fails, set_flag},
     .expect = "is 0, not 1"},
    {.name = "an assertion of the library", .thread = {abort_now}, .expect = "aborted"},
    {.name = "a null pointer", .thread = {touch_nothing}, .expect = "Segmentation fault"},
    {.name = "nothing that must be reached is reached",
     .thread = {set_flag},
     .expect = "no execution came by 0x4",
     .must_reach = 4},
    {.name = "a test that does not repeat itself",
     .thread = {not_repeated},
     .expect = "does not repeat itself"},
    {.name = "a single choice is none", .thread = {many_choices}},
    {0},
};
