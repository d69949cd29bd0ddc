/* SPDX-License-Identifier: MIT */
/*
 * test_fiber.c - the switch itself: values, registers, floating-point control, other threads.
 */
#include "fiber/fiber.h"

#include "support.h"

#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include)
# if __has_include(<valgrind/valgrind.h>)
#  include <valgrind/valgrind.h>
#  define ON_VALGRIND (RUNNING_ON_VALGRIND != 0)
# endif
#endif
#ifndef ON_VALGRIND
# define ON_VALGRIND false
#endif

#if defined(__ARM_FEATURE_PAC_DEFAULT)
# define SIGNED_RETURNS true
#else
# define SIGNED_RETURNS false
#endif

/* Most tests have one thread and look at it from fibers: */
static struct wf_coro thread_coro;
static struct wf_stack_cache cache;

static void begin(void)
{
    wf_stack_cache_init(&cache);
    wf_coro_init_thread(&thread_coro);
}

static void end(void)
{
    wf_coro_release_thread(&thread_coro);
    wf_stack_cache_release(&cache);
    wf_stack_pool_trim();
}

static void fiber_new(struct wf_coro *c, void (*entry)(void *arg), void *arg)
{
    struct wf_stack *s = NULL;

    CHECK_EQ(0, wf_stack_get(&cache, 0, &s));
    wf_coro_init(c, s, entry, arg);
}

static void fiber_free(struct wf_coro *c)
{
    struct wf_stack *s = c->stack;

    wf_coro_release(c);
    wf_stack_put(&cache, s);
}

static void *value_of(size_t n)
{
    static char base[2000];

    return base + n;
}

/* Gives back what it was given, in the opposite direction, a number of times. */
static void echo(void *arg)
{
    struct wf_coro *self = arg;
    void *value = value_of(1000);

    for (int i = 0; i < 10; i++)
        value = wf_coro_switch(self, &thread_coro, value);
    wf_coro_exit(self, &thread_coro, NULL);
}

TEST(values_travel_both_ways)
{
    struct wf_coro c;

    begin();
    fiber_new(&c, echo, &c);
    CHECK(wf_coro_switch(&thread_coro, &c, NULL) == value_of(1000));
    for (size_t i = 0; i < 9; i++)
        CHECK(wf_coro_switch(&thread_coro, &c, value_of(i)) == value_of(i));
    CHECK(wf_coro_switch(&thread_coro, &c, value_of(1)) == NULL);
    fiber_free(&c);
    end();
}

END_TEST

/* More locals of both kinds than a compiler keeps in memory by choice. */
struct mixer {
    struct wf_coro c;
    uint64_t seed;
    uint64_t ints, mismatches;
    double doubles;
};

WF_NOINLINE static void mix(struct mixer *m, struct wf_coro *self, struct wf_coro *other,
                            int rounds)
{
    uint64_t a = m->seed, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13;
    double p = (double)(a % 100), q = p * 2, r = p * 3, s = p * 5, t = p * 7, u = p * 11;

    for (int i = 0; i < rounds; i++) {
        wf_coro_switch(self, other, NULL);
        a++;
        b++;
        c++;
        d++;
        e++;
        f++;
        p += 1;
        q += 1;
        r += 1;
        s += 1;
        t += 1;
        u += 1;
    }
    m->ints = a + b + c + d + e + f;
    m->doubles = p + q + r + s + t + u;
}

static void mix_check(const struct mixer *m, int rounds)
{
    CHECK_EQ(m->seed * 40 + (uint64_t)rounds * 6, m->ints);
    CHECK_EQ((m->seed % 100) * 29 + (uint64_t)rounds * 6, (uint64_t)m->doubles);
}

static void mix_on_fiber(void *arg)
{
    struct mixer *m = arg;

    mix(m, &m->c, &thread_coro, 100);
    wf_coro_exit(&m->c, &thread_coro, NULL);
}

TEST(what_a_call_preserves_is_preserved)
{
    struct mixer inside = {.seed = 123456789}, outside = {.seed = 987654321};

    begin();
    fiber_new(&inside.c, mix_on_fiber, &inside);
    mix(&outside, &thread_coro, &inside.c, 101);
    mix_check(&inside, 100);
    mix_check(&outside, 101);
    fiber_free(&inside.c);
    end();
}

END_TEST

static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

struct rounder {
    struct wf_coro c;
    int mode;
};

static double third(void)
{
    /* volatile: divided at run time */
    volatile double one = 1, three = 3;

    return one / three;
}

static void round_own_way(void *arg)
{
    struct rounder *r = arg;
    double own;

    CHECK_EQ(FE_DOWNWARD, fegetround()); /* as whoever prepared it */
    CHECK_EQ(0, fesetround(r->mode));
    own = third();
    for (int i = 0; i < 3; i++) {
        wf_coro_switch(&r->c, &thread_coro, NULL);
        CHECK_EQ(r->mode, fegetround());
        CHECK(third() == own);
    }
    wf_coro_exit(&r->c, &thread_coro, NULL);
}

TEST(each_fiber_rounds_in_its_own_way)
{
    struct rounder r[4];

    begin();
    if (ON_VALGRIND)
        goto out; /* Valgrind computes in one mode only */
    CHECK_EQ(0, fesetround(FE_DOWNWARD));
    for (size_t i = 0; i < 4; i++) {
        r[i].mode = roundings[i];
        fiber_new(&r[i].c, round_own_way, &r[i]);
    }
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < 4; i++) {
            wf_coro_switch(&thread_coro, &r[i].c, NULL);
            CHECK_EQ(FE_DOWNWARD, fegetround());
        }
    CHECK_EQ(0, fesetround(FE_TONEAREST));
    for (size_t i = 0; i < 4; i++)
        fiber_free(&r[i].c);
out:
    end();
}

END_TEST

/* A chain: each fiber runs the next and is given back what the last one says, plus one each. */
#define CHAIN 50

struct link {
    struct wf_coro c;
    struct wf_coro *below;
    struct link *rest; /* one element less */
    size_t left;
};

static void chain(void *arg)
{
    struct link *l = arg;
    size_t said = 0;

    if (l->left > 1) {
        l->rest->below = &l->c;
        l->rest->left = l->left - 1;
        l->rest->rest = l->rest + 1;
        fiber_new(&l->rest->c, chain, l->rest);
        said = (size_t)((char *)wf_coro_switch(&l->c, &l->rest->c, NULL) - (char *)value_of(0));
        fiber_free(&l->rest->c);
    }
    wf_coro_exit(&l->c, l->below, value_of(said + 1));
}

TEST(fibers_run_fibers)
{
    struct link links[CHAIN] = {{.below = &thread_coro, .left = CHAIN, .rest = links + 1}};

    begin();
    fiber_new(&links[0].c, chain, &links[0]);
    CHECK(wf_coro_switch(&thread_coro, &links[0].c, NULL) == value_of(CHAIN));
    fiber_free(&links[0].c);
    end();
}

END_TEST

/* A ring: each switches straight to the next, the last one back to the thread. */
struct runner {
    struct wf_coro c;
    struct wf_coro *next;
    unsigned laps, left;
};

static void run_laps(void *arg)
{
    struct runner *r = arg;

    while (r->left > 0) {
        r->left--;
        r->laps++;
        wf_coro_switch(&r->c, r->next, NULL);
    }
    wf_coro_exit(&r->c, &thread_coro, NULL);
}

TEST(ten_thousand_fibers_alternate)
{
    /* The thread sanitizer has room for some thousand contexts only. */
    unsigned count = WF_TSAN || ON_VALGRIND || test_slow() > 1 ? 1000 : 10000, laps = 20;
    struct runner *r = calloc(count, sizeof(*r));

    CHECK(r);
    begin();
    for (unsigned i = 0; i < count; i++) {
        r[i].next = i + 1 < count ? &r[i + 1].c : &thread_coro;
        r[i].left = laps;
        fiber_new(&r[i].c, run_laps, &r[i]);
    }
    for (unsigned i = 0; i < laps; i++)
        wf_coro_switch(&thread_coro, &r[0].c, NULL);
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(laps, r[i].laps);
        wf_coro_switch(&thread_coro, &r[i].c, NULL);
        fiber_free(&r[i].c);
    }
    end();
    free(r);
}

END_TEST

/* Ends far down, in frames that never return. */
WF_NOINLINE static void exit_below(struct wf_coro *self, int frames)
{
    char array[200];

    memset(array, frames, sizeof(array));
    __asm__ volatile("" ::"r"(array) : "memory");
    if (frames > 0)
        exit_below(self, frames - 1);
    else if (frames == 0)
        wf_coro_exit(self, &thread_coro, NULL);
    __asm__ volatile("" ::"r"(array) : "memory");
}

static void end_early(void *arg)
{
    exit_below(arg, 20);
}

/* Uses as much of the stack as end_early, in frames of other shapes. */
static void use_it_all(void *arg)
{
    char text[6000];

    memset(text, 'x', sizeof(text));
    CHECK_EQ(9, snprintf(text, sizeof(text), "%.3f %s", 1.5, "abc"));
    CHECK_STR("1.500 abc", text);
    wf_coro_exit(arg, &thread_coro, NULL);
}

TEST(a_stack_left_in_the_middle_serves_the_next_fiber)
{
    struct wf_coro c;
    struct wf_stack *first = NULL;

    begin();
    for (int i = 0; i < 100; i++) {
        fiber_new(&c, i % 2 ? use_it_all : end_early, &c);
        if (!first)
            first = c.stack;
        CHECK(c.stack == first);
        wf_coro_switch(&thread_coro, &c, NULL);
        fiber_free(&c);
    }
    end();
}

END_TEST

static void look_at_alignment(void *arg)
{
    _Alignas(16) char aligned[16];

    __asm__ volatile("" ::"r"(aligned) : "memory");
    CHECK_EQ(0, (uintptr_t)aligned % 16);
    /* the frame of a function that was called as the ABI says */
    CHECK_EQ(0, (uintptr_t)__builtin_frame_address(0) % 16);
    wf_coro_exit(arg, &thread_coro, NULL);
}

TEST(frames_are_aligned)
{
    struct wf_coro c;

    begin();
    for (int i = 0; i < 30; i++) {
        fiber_new(&c, look_at_alignment, &c);
        wf_coro_switch(&thread_coro, &c, NULL);
        /* without putting the stack: each has its own colour */
        wf_coro_release(&c);
    }
}

END_TEST

/* A fiber that is continued by one thread after the other. */
struct traveller {
    struct wf_coro c;
    struct wf_coro *host; /* of the moment */
    unsigned stops;
    double sum;
};

static void travel(void *arg)
{
    struct traveller *t = arg;
    double sum = 0;

    for (;;) {
        sum += 0.5;
        t->stops++;
        t->sum = sum;
        if (!wf_coro_switch(&t->c, t->host, NULL))
            wf_coro_exit(&t->c, t->host, NULL);
    }
}

static void *host(void *arg)
{
    struct traveller *t = arg;
    struct wf_coro self;

    wf_coro_init_thread(&self);
    t->host = &self;
    wf_coro_switch(&self, &t->c, t);
    wf_coro_release_thread(&self);
    return NULL;
}

TEST(a_parked_fiber_continues_on_another_thread)
{
    struct traveller t = {0};
    pthread_t thread;

    begin();
    fiber_new(&t.c, travel, &t);
    for (unsigned i = 1; i <= 20; i++) {
        CHECK_EQ(0, pthread_create(&thread, NULL, host, &t));
        CHECK_EQ(0, pthread_join(thread, NULL));
        CHECK_EQ(i, t.stops);
        CHECK(t.sum == i * 0.5);
    }
    t.host = &thread_coro;
    wf_coro_switch(&thread_coro, &t.c, NULL);
    fiber_free(&t.c);
    end();
}

END_TEST

/* What a backtrace of a parked fiber begins with. */
TEST(a_parked_frame_tells_where_it_continues)
{
    struct wf_coro c;
    char *pc = NULL, *near = (char *)(uintptr_t)echo;

    if (!WF_SWITCH_FRAME_SIZE)
        TEST_SKIP("ucontext has no frame of ours");
    begin();
    fiber_new(&c, echo, &c);
    CHECK(wf_stack_contains(c.stack, c.sp));
    CHECK((char *)c.sp + WF_SWITCH_FRAME_SIZE <= (char *)wf_stack_top(c.stack));
    wf_coro_switch(&thread_coro, &c, NULL);
    memcpy(&pc, (char *)c.sp + WF_SWITCH_FRAME_PC, sizeof(pc));
    if (!SIGNED_RETURNS)
        CHECK(pc > near && pc < near + 4096);
    for (int i = 0; i < 10; i++)
        wf_coro_switch(&thread_coro, &c, NULL);
    fiber_free(&c);
    end();
}

END_TEST

TEST_MAIN("fiber", values_travel_both_ways, what_a_call_preserves_is_preserved,
          each_fiber_rounds_in_its_own_way, fibers_run_fibers, ten_thousand_fibers_alternate,
          a_stack_left_in_the_middle_serves_the_next_fiber, frames_are_aligned,
          a_parked_fiber_continues_on_another_thread, a_parked_frame_tells_where_it_continues)
