/* SPDX-License-Identifier: MIT */
/*
 * test_litmus.c - the explorer proves itself: which outcomes of small well-known programs it reaches.
 *
 * IDEA     What the threads of a test read makes a number, its outcome: one bit for each read, the first
 *          one lowest. `allowed` is the set of outcomes that C17 allows, or, where the
 *          name says "limit", the part of it that the explorer knows. Every one of them must be reached
 *          (must_reach) and no other (end). Names are those of the literature: SB, MP, IRIW.
 * MODEL    docs/design/011-explorer.md says which rules stand behind the numbers.
 */
#include "model/model.h"

enum { X, Y, WORDS };

static struct wf_atomic_u32 word[WORDS], flag;
static uint32_t r[4];      /* what was read; each is written by one thread */
static uint32_t allowed;   /* outcomes, one bit each */
static unsigned payload;   /* plain memory: who comes to it too early is a race */
static unsigned reads = 2; /* in use, of r */

#define ALLOW(mask, reads_)                \
 static void allow_##mask##_##reads_(void) \
 {                                         \
  allowed = mask;                          \
  reads = reads_;                          \
 }
ALLOW(0xf, 2)
ALLOW(0xe, 2) /* not both 0 */
ALLOW(0xd, 2) /* not: the first 1, the second 0 */
ALLOW(0x7, 2) /* not both 1 */
ALLOW(0xffff, 4)
ALLOW(0xffdf, 4) /* not 1 0 1 0 */

static void outcome(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < reads; i++) {
        CHECK(r[i] <= 1);
        n |= r[i] << i;
    }
    CHECK(allowed >> n & 1);
    model_reached(n);
}

#define NOTHING      ((void)0)
#define SET(w, o)    wf_store_u32(&word[w], 1, o)
#define GET(i, w, o) (r[i] = wf_load_u32(&word[w], o))
#define THREAD(name, first, between, second) \
 static void name(void)                      \
 {                                           \
  first;                                     \
  between;                                   \
  second;                                    \
 }

/* --- SB: each stores, then reads the other's --- */

THREAD(sb_x_relaxed, SET(X, WF_RELAXED), NOTHING, GET(0, Y, WF_RELAXED))
THREAD(sb_y_relaxed, SET(Y, WF_RELAXED), NOTHING, GET(1, X, WF_RELAXED))
THREAD(sb_x_acquire, SET(X, WF_RELEASE), NOTHING, GET(0, Y, WF_ACQUIRE))
THREAD(sb_y_acquire, SET(Y, WF_RELEASE), NOTHING, GET(1, X, WF_ACQUIRE))
THREAD(sb_x_seq_cst, SET(X, WF_SEQ_CST), NOTHING, GET(0, Y, WF_SEQ_CST))
THREAD(sb_y_seq_cst, SET(Y, WF_SEQ_CST), NOTHING, GET(1, X, WF_SEQ_CST))
THREAD(sb_x_fence, SET(X, WF_RELAXED), wf_fence_seq_cst(), GET(0, Y, WF_RELAXED))
THREAD(sb_y_fence, SET(Y, WF_RELAXED), wf_fence_seq_cst(), GET(1, X, WF_RELAXED))
THREAD(sb_x_swap, (void)wf_swap_u32(&word[X], 1, WF_SEQ_CST), NOTHING, GET(0, Y, WF_SEQ_CST))
THREAD(sb_x_swap_relaxed, (void)wf_swap_u32(&word[X], 1, WF_SEQ_CST), NOTHING,
       GET(0, Y, WF_RELAXED))
THREAD(sb_y_add, (void)wf_add_u32(&word[Y], 1, WF_ACQ_REL), NOTHING, GET(1, X, WF_ACQUIRE))
THREAD(sb_x_add, (void)wf_add_u32(&word[X], 1, WF_ACQ_REL), NOTHING, GET(0, Y, WF_ACQUIRE))

/* Dekker's, lopsided: who comes often pays nothing, who comes seldom makes all threads pass a barrier. */
THREAD(sb_y_barrier, SET(Y, WF_RELAXED), model_barrier_all(), GET(1, X, WF_RELAXED))

/* --- MP: data, then a flag --- */

THREAD(mp_relaxed, SET(X, WF_RELAXED), NOTHING, SET(Y, WF_RELAXED))
THREAD(mp_release, SET(X, WF_RELAXED), NOTHING, SET(Y, WF_RELEASE))
THREAD(mp_fence, SET(X, WF_RELAXED), wf_fence_seq_cst(), SET(Y, WF_RELAXED))
THREAD(mp_swap, SET(X, WF_RELAXED), NOTHING, (void)wf_swap_u32(&word[Y], 1, WF_RELEASE))
THREAD(mp_read_relaxed, GET(0, Y, WF_RELAXED), NOTHING, GET(1, X, WF_RELAXED))
THREAD(mp_read_acquire, GET(0, Y, WF_ACQUIRE), NOTHING, GET(1, X, WF_RELAXED))
THREAD(mp_read_fence, GET(0, Y, WF_RELAXED), wf_fence_seq_cst(), GET(1, X, WF_RELAXED))

static void mp_read_cas(bool acquire)
{
    uint32_t old = 7;
    bool done = acquire ? wf_cas_u32(&word[Y], &old, 8, WF_RELAXED, WF_ACQUIRE)
                        : wf_cas_u32(&word[Y], &old, 8, WF_ACQUIRE, WF_RELAXED);

    CHECK(!done);
    r[0] = old;
    GET(1, X, WF_RELAXED);
}

/* The data, not the flag, by one that fails: a load like any other. */
static void mp_read_data_cas(void)
{
    uint32_t old = 7;

    GET(0, Y, WF_RELAXED);
    CHECK(!wf_cas_u32(&word[X], &old, 8, WF_ACQ_REL, WF_RELAXED));
    r[1] = old;
}

static void mp_read_failed_acquire(void)
{
    mp_read_cas(true);
}

static void mp_read_failed_relaxed(void)
{
    mp_read_cas(false);
}

/* --- IRIW: two write, two read both, in opposite order --- */

THREAD(iriw_x, SET(X, WF_RELEASE), NOTHING, NOTHING)
THREAD(iriw_y, SET(Y, WF_RELEASE), NOTHING, NOTHING)
THREAD(iriw_xy, GET(0, X, WF_ACQUIRE), NOTHING, GET(1, Y, WF_ACQUIRE))
THREAD(iriw_yx, GET(2, Y, WF_ACQUIRE), NOTHING, GET(3, X, WF_ACQUIRE))
THREAD(iriw_xy_fence, GET(0, X, WF_RELAXED), wf_fence_seq_cst(), GET(1, Y, WF_RELAXED))
THREAD(iriw_yx_fence, GET(2, Y, WF_RELAXED), wf_fence_seq_cst(), GET(3, X, WF_RELAXED))
THREAD(iriw_x_seq_cst, SET(X, WF_SEQ_CST), NOTHING, NOTHING)
THREAD(iriw_y_seq_cst, SET(Y, WF_SEQ_CST), NOTHING, NOTHING)
THREAD(iriw_xy_seq_cst, GET(0, X, WF_SEQ_CST), NOTHING, GET(1, Y, WF_SEQ_CST))
THREAD(iriw_yx_seq_cst, GET(2, Y, WF_SEQ_CST), NOTHING, GET(3, X, WF_SEQ_CST))

/* --- coherence: one location alone is seen in one order --- */

THREAD(co_read_read, GET(0, X, WF_RELAXED), NOTHING, GET(1, X, WF_RELAXED))
THREAD(co_write_1, SET(X, WF_RELAXED), NOTHING, NOTHING)

static void co_write_2(void)
{
    wf_store_u32(&word[X], 2, WF_RELAXED);
}

/* Its own 1 or the other's 2: never what was there before. */
static void co_write_read(void)
{
    uint32_t got;

    SET(X, WF_RELAXED);
    got = wf_load_u32(&word[X], WF_RELAXED);
    CHECK(got == 1 || got == 2);
    model_reached(got);
}

static void co_read_write(void)
{
    GET(0, X, WF_RELAXED);
    SET(X, WF_RELAXED);
}

static void co_end(void)
{
    uint32_t last = wf_load_u32(&word[X], WF_RELAXED);

    CHECK(r[0] == 0 || r[0] == 2);
    CHECK(r[0] == 0 || last == 1);
    model_reached(r[0] + last);
}

THREAD(co_see_a, GET(0, X, WF_RELAXED), NOTHING, GET(1, X, WF_RELAXED))
THREAD(co_see_b, GET(2, X, WF_RELAXED), NOTHING, GET(3, X, WF_RELAXED))

/* Nobody sees 1 before 2 where another sees 2 before 1. */
static void co_agree_end(void)
{
    bool up = (r[0] == 1 && r[1] == 2) || (r[2] == 1 && r[3] == 2);
    bool down = (r[0] == 2 && r[1] == 1) || (r[2] == 2 && r[3] == 1);

    CHECK(!up || !down);
    model_reached(up ? 0 : down ? 1 : 2);
}

static void co_see_last(void)
{
    GET(0, X, WF_RELAXED);
}

static void co_see_last_too(void)
{
    GET(1, X, WF_RELAXED);
}

/* Both stores were last, and seen by both: the states between differ in the order of the stores alone. */
static void co_last_end(void)
{
    uint32_t last = wf_load_u32(&word[X], WF_RELAXED);

    if (r[0] == last && r[1] == last)
        model_reached(last);
}

/* --- release sequences --- */

static void rs_release(void)
{
    payload = 1;
    wf_store_u32(&flag, 1, WF_RELEASE);
}

static void rs_add(void)
{
    (void)wf_add_u32(&flag, 10, WF_RELAXED);
}

/* 1: the store, after the addition or without it. 11: the addition to it, which is relaxed, and hands on what the
 * store carried. */
static void rs_acquire(void)
{
    uint32_t got = wf_load_u32(&flag, WF_ACQUIRE);

    if (got % 10 == 1) {
        CHECK_EQ(1, payload);
        model_reached(got / 10);
    }
}

static void rs_store(void)
{
    if (wf_load_u32(&flag, WF_RELAXED) == 1)
        wf_store_u32(&flag, 11, WF_RELAXED);
}

/* --- read-modify-writes --- */

static void rmw_add_twice(void)
{
    (void)wf_add_u32(&word[X], 1, WF_RELAXED);
    (void)wf_add_u32(&word[X], 1, WF_RELAXED);
}

static void rmw_end(void)
{
    CHECK_EQ(6, wf_load_u32(&word[X], WF_RELAXED));
}

static void rmw_bits(void)
{
    CHECK_EQ(0, wf_or_u32(&word[X], 1, WF_RELAXED) & 1);
    CHECK_EQ(1, wf_and_u32(&word[X], ~1u, WF_RELAXED) & 1);
    (void)wf_sub_u32(&word[X], 4, WF_RELAXED);
}

static void rmw_other_bit(void)
{
    CHECK_EQ(0, wf_or_u32(&word[X], 2, WF_RELAXED) & 2);
}

static void rmw_bits_end(void)
{
    CHECK_EQ((uint32_t)(2 - 4), wf_load_u32(&word[X], WF_RELAXED));
}

enum { CAS_DONE, CAS_LOST, CAS_SPURIOUS };

static void cas_weak(void)
{
    uint32_t old = 0;

    if (wf_cas_weak_u32(&word[X], &old, 5, WF_RELAXED, WF_RELAXED))
        model_reached(CAS_DONE);
    else
        model_reached(old ? CAS_LOST : CAS_SPURIOUS);
}

static void cas_strong(void)
{
    uint32_t old = 0;

    if (wf_cas_u32(&word[X], &old, 5, WF_RELAXED, WF_RELAXED)) {
        model_reached(CAS_DONE);
    } else {
        CHECK_EQ(1, old);
        model_reached(CAS_LOST);
    }
}

static void cas_other(void)
{
    uint32_t old = 0;

    (void)wf_cas_u32(&word[X], &old, 1, WF_RELAXED, WF_RELAXED);
}

/* One that fails is a load, of any value that the thread may still see. */
static void cas_reads_old(void)
{
    uint32_t old = 9;

    CHECK(!wf_cas_u32(&word[X], &old, 5, WF_RELAXED, WF_RELAXED));
    model_reached(old);
}

static void store_1_2(void)
{
    wf_store_u32(&word[X], 1, WF_RELAXED);
    wf_store_u32(&word[X], 2, WF_RELAXED);
}

/* One that succeeds has read the newest. */
static void cas_count(void)
{
    uint32_t old = wf_load_u32(&word[X], WF_RELAXED);

    for (int i = 0; i < 2; i++)
        while (!wf_cas_weak_u32(&word[X], &old, old + 1, WF_RELAXED, WF_RELAXED))
            ;
}

static void cas_count_end(void)
{
    CHECK_EQ(4, wf_load_u32(&word[X], WF_RELAXED));
}

/* --- limits --- */

THREAD(lb_x, GET(0, X, WF_RELAXED), NOTHING, SET(Y, WF_RELAXED))
THREAD(lb_y, GET(1, Y, WF_RELAXED), NOTHING, SET(X, WF_RELAXED))

/* C17 lets the first load take effect behind the second: nothing but the order of the program says otherwise. */
THREAD(late_stores, SET(X, WF_SEQ_CST), NOTHING, SET(Y, WF_SEQ_CST))
THREAD(late_relaxed_load, GET(0, Y, WF_RELAXED), NOTHING, GET(1, X, WF_SEQ_CST))

static void ww_xy(void)
{
    wf_store_u32(&word[X], 1, WF_RELAXED);
    wf_store_u32(&word[Y], 2, WF_RELAXED);
}

static void ww_yx(void)
{
    wf_store_u32(&word[Y], 1, WF_RELAXED);
    wf_store_u32(&word[X], 2, WF_RELAXED);
}

static void ww_end(void)
{
    uint32_t x = wf_load_u32(&word[X], WF_RELAXED), y = wf_load_u32(&word[Y], WF_RELAXED);

    CHECK(x != 1 || y != 1);
    model_reached(x + 2 * y);
}

/* --- choices --- */

static void choose(void)
{
    unsigned a = model_choose(3), b = model_choose(2);

    model_reached(a + 3 * b);
}

#define OUTCOMES(begin_, mask, ...) \
 .begin = begin_, .thread = {__VA_ARGS__}, .end = outcome, .must_reach = mask

const struct model_test model_tests[] = {
    {.name = "SB relaxed: both may read 0", OUTCOMES(allow_0xf_2, 0xf, sb_x_relaxed, sb_y_relaxed)},
    {.name = "SB release, acquire: both may read 0",
     OUTCOMES(allow_0xf_2, 0xf, sb_x_acquire, sb_y_acquire)},
    {.name = "SB seq_cst: one reads 1", OUTCOMES(allow_0xe_2, 0xe, sb_x_seq_cst, sb_y_seq_cst)},
    {.name = "SB, one of them seq_cst: both may read 0",
     OUTCOMES(allow_0xf_2, 0xf, sb_x_seq_cst, sb_y_acquire)},
    {.name = "SB with fences: one reads 1", OUTCOMES(allow_0xe_2, 0xe, sb_x_fence, sb_y_fence)},
    {.name = "SB with one fence: both may read 0",
     OUTCOMES(allow_0xf_2, 0xf, sb_x_fence, sb_y_relaxed)},
    {.name = "SB, a fence and seq_cst accesses: one reads 1",
     OUTCOMES(allow_0xe_2, 0xe, sb_x_seq_cst, sb_y_fence)},
    {.name = "SB, swap seq_cst and load seq_cst: one reads 1",
     OUTCOMES(allow_0xe_2, 0xe, sb_x_swap, sb_y_seq_cst)},
    {.name = "SB, swap seq_cst and load relaxed: both may read 0",
     OUTCOMES(allow_0xf_2, 0xf, sb_x_swap_relaxed, sb_y_seq_cst)},
    {.name = "SB, add acq_rel is no fence: both may read 0",
     OUTCOMES(allow_0xf_2, 0xf, sb_x_add, sb_y_add)},
    {.name = "SB with a barrier for all threads on one side: one reads 1",
     OUTCOMES(allow_0xe_2, 0xe, sb_x_relaxed, sb_y_barrier)},

    {.name = "MP relaxed: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_relaxed, mp_read_relaxed)},
    {.name = "MP release, acquire: the data are new",
     OUTCOMES(allow_0xd_2, 0xd, mp_release, mp_read_acquire)},
    {.name = "MP release, relaxed: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_release, mp_read_relaxed)},
    {.name = "MP relaxed, acquire: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_relaxed, mp_read_acquire)},
    {.name = "MP by a fence before the store: the data are new",
     OUTCOMES(allow_0xd_2, 0xd, mp_fence, mp_read_acquire)},
    {.name = "MP by a fence after the load: the data are new",
     OUTCOMES(allow_0xd_2, 0xd, mp_release, mp_read_fence)},
    {.name = "MP by fences: the data are new", OUTCOMES(allow_0xd_2, 0xd, mp_fence, mp_read_fence)},
    {.name = "MP by a fence of the writer alone: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_fence, mp_read_relaxed)},
    {.name = "MP by a fence of the reader alone: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_relaxed, mp_read_fence)},
    {.name = "MP, swap release, failed cas acquire: the data are new",
     OUTCOMES(allow_0xd_2, 0xd, mp_swap, mp_read_failed_acquire)},
    {.name = "MP, swap release, failed cas relaxed: the data may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_swap, mp_read_failed_relaxed)},
    {.name = "MP, the data by a failed cas: they may be old",
     OUTCOMES(allow_0xf_2, 0xf, mp_release, mp_read_data_cas)},

    {.name = "IRIW release, acquire: the readers may disagree",
     OUTCOMES(allow_0xffff_4, 0xffff, iriw_x, iriw_y, iriw_xy, iriw_yx)},
    {.name = "IRIW seq_cst: the readers agree",
     OUTCOMES(allow_0xffdf_4, 0xffdf, iriw_x_seq_cst, iriw_y_seq_cst, iriw_xy_seq_cst,
              iriw_yx_seq_cst)},
    {.name = "IRIW with fences: the readers agree",
     OUTCOMES(allow_0xffdf_4, 0xffdf, iriw_x, iriw_y, iriw_xy_fence, iriw_yx_fence)},

    {.name = "CoRR: what was seen stays seen",
     OUTCOMES(allow_0xd_2, 0xd, co_write_1, co_read_read)},
    {.name = "CoWR: a thread sees its own store",
     .thread = {co_write_read, co_write_2},
     .must_reach = 0x6},
    {.name = "CoRW: a store comes after what its thread has seen",
     .thread = {co_read_write, co_write_2},
     .end = co_end,
     .must_reach = 0xe},
    {.name = "CoRR: two readers see two stores in one order",
     .thread = {co_write_1, co_write_2, co_see_a, co_see_b},
     .end = co_agree_end,
     .must_reach = 0x7},
    {.name = "CoWW: either of two stores is the last",
     .thread = {co_write_1, co_write_2, co_see_last, co_see_last_too},
     .end = co_last_end,
     .must_reach = 0x6},

    {.name = "a relaxed addition hands on what a release carried",
     .thread = {rs_release, rs_add, rs_acquire},
     .must_reach = 0x3},
    {.name = "a relaxed store hands on nothing",
     .thread = {rs_release, rs_store, rs_acquire},
     .expect = "a race between"},

    {.name = "relaxed additions are exact",
     .thread = {rmw_add_twice, rmw_add_twice, rmw_add_twice},
     .end = rmw_end},
    {.name = "bits set, cleared and subtracted are exact",
     .thread = {rmw_bits, rmw_other_bit},
     .end = rmw_bits_end},
    {.name = "a weak compare-and-swap may fail for no reason",
     .thread = {cas_weak, cas_other},
     .must_reach = 1u << CAS_DONE | 1u << CAS_LOST | 1u << CAS_SPURIOUS},
    {.name = "a strong one does not",
     .thread = {cas_strong, cas_other},
     .must_reach = 1u << CAS_DONE | 1u << CAS_LOST},
    {.name = "a compare-and-swap that fails may read an old value",
     .thread = {cas_reads_old, store_1_2},
     .must_reach = 0x7},
    {.name = "counting by weak compare-and-swap is exact",
     .thread = {cas_count, cas_count},
     .end = cas_count_end},

    {.name = "limit: LB, no load sees a store that is executed later",
     OUTCOMES(allow_0x7_2, 0x7, lb_x, lb_y)},
    {.name = "limit: a seq_cst load behind a relaxed one is not early",
     OUTCOMES(allow_0xd_2, 0xd, late_stores, late_relaxed_load)},
    {.name = "limit: 2+2W, stores take effect in the order executed",
     .thread = {ww_xy, ww_yx},
     .end = ww_end,
     .must_reach = 1u << (1 + 4) | 1u << (2 + 2) | 1u << (2 + 4)},

    {.name = "every choice is made", .thread = {choose}, .must_reach = 0x3f},
    {0},
};
