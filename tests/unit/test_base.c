/* SPDX-License-Identifier: MIT */
/*
 * test_base.c - the ground floor: lists, the lock, chance, texts, clocks, lengths of time.
 */
#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/sys.h"
#include "support.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- lists ------------------------------------------------------------------ */

struct item {
    int value;
    struct wf_list link;
};

static int item_value(struct wf_list *node)
{
    return wf_container_of(node, struct item, link)->value;
}

/* The values of a list as the digits of a number. */
static int list_digits(const struct wf_list *head)
{
    int digits = 0;

    WF_LIST_FOREACH(node, head)
        digits = digits * 10 + item_value(node);
    return digits;
}

TEST(a_list_keeps_its_order)
{
    struct item items[5] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}, {.value = 5}};
    struct wf_list a, b;

    wf_list_init(&a);
    wf_list_init(&b);
    CHECK(wf_list_empty(&a));
    CHECK(!wf_list_pop_front(&a));
    wf_list_move_all(&b, &a); /* nothing */
    CHECK(wf_list_empty(&b));
    for (size_t i = 0; i < 3; i++)
        wf_list_push_back(&a, &items[i].link);
    CHECK_EQ(123, list_digits(&a));
    wf_list_remove(&items[1].link); /* from the middle */
    CHECK(!wf_list_linked(&items[1].link));
    CHECK(wf_list_linked(&items[2].link));
    CHECK_EQ(13, list_digits(&a));
    wf_list_push_back(&b, &items[3].link);
    wf_list_push_back(&b, &items[4].link);
    wf_list_move_all(&a, &b);
    CHECK(wf_list_empty(&b));
    CHECK_EQ(1345, list_digits(&a));
    wf_list_push_back(&b, &items[1].link); /* b can be used again */
    CHECK_EQ(2, list_digits(&b));
    CHECK_EQ(1, item_value(wf_list_pop_front(&a)));
    CHECK_EQ(345, list_digits(&a));
}

/* --- the lock --------------------------------------------------------------- */

struct locked {
    struct wf_lock lock;
    struct wf_atomic_u32 inside; /* threads between lock and unlock */
    uint64_t count, rounds;
    bool sleepy;
};

static void *locked_add(void *arg)
{
    struct locked *l = arg;

    for (uint64_t i = 0; i < l->rounds; i++) {
        wf_lock(&l->lock);
        CHECK_EQ(0, wf_add_u32(&l->inside, 1, WF_RELAXED));
        l->count++;
        if (l->sleepy && i % 16 == 0)
            (void)usleep(50); /* long enough for the others to sleep in the kernel */
        CHECK_EQ(1, wf_sub_u32(&l->inside, 1, WF_RELAXED));
        wf_unlock(&l->lock);
    }
    return NULL;
}

static void locked_run(uint64_t rounds, bool sleepy)
{
    struct locked l = {.lock = WF_LOCK_INIT(WF_RANK_LEAF), .rounds = rounds, .sleepy = sleepy};
    pthread_t threads[4];

    for (size_t i = 0; i < wf_array_count(threads); i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, locked_add, &l));
    for (size_t i = 0; i < wf_array_count(threads); i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    CHECK_EQ(wf_array_count(threads) * rounds, l.count);
    CHECK_EQ(0, wf_load_u32(&l.lock.word, WF_RELAXED));
}

TEST(a_lock_admits_one_thread)
{
    locked_run(test_scaled(200000), false);
    locked_run(test_scaled(1000), true);
}

TEST(try_lock_does_not_wait)
{
    struct wf_lock l = WF_LOCK_INIT(WF_RANK_LEAF);

    CHECK(wf_try_lock(&l));
    CHECK(!wf_try_lock(&l));
    wf_unlock(&l);
    CHECK(wf_try_lock(&l));
    wf_unlock(&l);
}

/* Run fn in a child; its stderr in text; true if it aborted. */
static bool child_aborts(void (*fn)(void), char *text, size_t size)
{
    int ends[2], status = 0;
    size_t used = 0;
    ssize_t n;
    pid_t pid;

    CHECK_EQ(0, pipe(ends));
    pid = fork();
    if (pid == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        if (dup2(ends[1], STDERR_FILENO) >= 0)
            fn();
        _exit(0);
    }
    CHECK(pid > 0);
    (void)close(ends[1]);
    while (used < size - 1 && (n = read(ends[0], text + used, size - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    (void)close(ends[0]);
    CHECK_EQ(pid, waitpid(pid, &status, 0));
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void locks_out_of_order(void)
{
    static struct wf_lock outer = WF_LOCK_INIT(WF_RANK_WHEEL), inner = WF_LOCK_INIT(WF_RANK_LEAF);

    wf_lock(&inner);
    wf_lock(&outer);
}

TEST(locks_out_of_order_abort_in_debug_builds)
{
    struct wf_lock outer = WF_LOCK_INIT(WF_RANK_WHEEL), inner = WF_LOCK_INIT(WF_RANK_LEAF);
    char text[1024];

    wf_lock(&outer);
    wf_lock(&inner);
    wf_unlock(&outer); /* may be left in any order */
    wf_unlock(&inner);
    CHECK_EQ(WF_DEBUG, child_aborts(locks_out_of_order, text, sizeof(text)));
    CHECK_EQ(WF_DEBUG, strstr(text, "lock order") != NULL);
}

/* --- asserts and texts ------------------------------------------------------ */

static void false_claim(void)
{
    wf_assert(1 + 1 == 3);
}

TEST(a_failed_assert_says_what_and_where)
{
    char text[1024];

    CHECK(child_aborts(false_claim, text, sizeof(text)));
    CHECK(strstr(text, "weft: "));
    CHECK(strstr(text, "test_base.c:"));
    CHECK(strstr(text, "1 + 1 == 3"));
    CHECK(text[strlen(text) - 1] == '\n');
}

static void long_message(void)
{
    char text[2000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    wf_log("%s", text);
}

TEST(a_long_message_is_cut_and_stays_a_line)
{
    char text[4096];

    CHECK(!child_aborts(long_message, text, sizeof(text)));
    CHECK(strlen(text) > 400 && strlen(text) <= 512);
    CHECK(strncmp(text, "weft: xxx", 9) == 0);
    CHECK(text[strlen(text) - 1] == '\n');
}

static void misuse_message(void)
{
    if (wf_misuse(-22, "call %d: wrong", 7) == -22)
        wf_log("rc came back");
}

TEST(misuse_is_told_in_debug_builds)
{
    char text[1024];

    CHECK(!child_aborts(misuse_message, text, sizeof(text)));
    CHECK_EQ(WF_DEBUG, strstr(text, "weft: call 7: wrong\n") != NULL);
    CHECK(strstr(text, "weft: rc came back\n"));
}

TEST(text_is_built_without_the_c_library)
{
    char buffer[64];
    struct wf_text t = {buffer, buffer + sizeof(buffer) - 1};

    wf_text_str(&t, "a ");
    wf_text_u64(&t, 0);
    wf_text_str(&t, " ");
    wf_text_u64(&t, UINT64_MAX);
    wf_text_str(&t, " ");
    wf_text_hex(&t, 0xdeadbeef01u);
    *t.at = '\0';
    CHECK_STR("a 0 18446744073709551615 0xdeadbeef01", buffer);

    memset(buffer, '#', sizeof(buffer));
    t = (struct wf_text){buffer, buffer + 5};
    wf_text_str(&t, "abc");
    wf_text_u64(&t, 123456); /* cut where the room ends */
    wf_text_str(&t, "more");
    CHECK(t.at == t.end);
    CHECK_EQ(0, memcmp(buffer, "abc12#", 6));
}

TEST(every_error_has_a_text)
{
    CHECK_STR("success", weft_strerror(0));
    CHECK_STR("the task was cancelled", weft_strerror(-ECANCELED));
    CHECK_STR("the task was cancelled", weft_strerror(ECANCELED));
    CHECK_STR("the task panicked", weft_strerror(-EOWNERDEAD));
    CHECK_STR("shut down or aborted", weft_strerror(-ESHUTDOWN));
    CHECK_STR("unknown error", weft_strerror(-4000));
    CHECK_STR("unknown error", weft_strerror(SSIZE_MAX));
    CHECK_STR("unknown error", weft_strerror(-SSIZE_MAX - 1));
    CHECK_STR("unknown error", weft_strerror((ssize_t)1 << 32)); /* not "success" */
    for (int code = 1; code <= EHWPOISON; code++) {
        if (code == 41 || code == 58) /* numbers without an error of their own */
            continue;
        CHECK(strcmp(weft_strerror(-code), "unknown error") != 0);
        CHECK(weft_strerror(code) == weft_strerror(-code));
    }
    CHECK_STR(WEFT_VERSION, weft_version());
}

/* --- errno ------------------------------------------------------------------ */

static void *errno_elsewhere(void *arg)
{
    errno = 5;
    *(int **)arg = weft_errno_location();
    CHECK_EQ(5, *weft_errno_location());
    return NULL;
}

TEST(errno_belongs_to_the_thread)
{
    int *there = NULL;
    pthread_t thread;

    errno = 3;
    CHECK_EQ(0, pthread_create(&thread, NULL, errno_elsewhere, &there));
    CHECK_EQ(0, pthread_join(thread, NULL));
    CHECK_EQ(3, errno);
    CHECK(there != weft_errno_location());
    CHECK_EQ(-1, close(-1));
    CHECK_EQ(EBADF, errno);
    CHECK_EQ(-EBADF, wf_sys_close(-1));
}

/* --- chance ----------------------------------------------------------------- */

TEST(random_numbers_stay_in_range_and_spread)
{
    unsigned seen[7] = {0};
    struct wf_rand a, b;

    wf_rand_init(&a, 1);
    wf_rand_init(&b, 2);
    CHECK(wf_rand_u32(&a) != wf_rand_u32(&b));
    wf_rand_init(&b, 0x61c8864680b583ebu); /* the seed that would mix to zero */
    CHECK(b.state != 0);
    for (unsigned i = 0; i < 70000; i++) {
        uint32_t n = wf_rand_below(&a, 7);

        CHECK(n < 7);
        seen[n]++;
    }
    for (unsigned i = 0; i < 7; i++)
        CHECK(seen[i] > 9500 && seen[i] < 10500);
    CHECK_EQ(0, wf_rand_below(&a, 1));
}

/* --- time ------------------------------------------------------------------- */

/* Usable where the language wants a constant. */
_Static_assert(WEFT_SECS(1) == 1000000000u && WEFT_MS(1) == 1000000u && WEFT_US(1) == 1000u, "");
_Static_assert(WEFT_NS(7) == 7, "");

TEST(durations_saturate)
{
    CHECK(WEFT_SECS(18446744073) == 18446744073000000000u);
    CHECK(WEFT_SECS(18446744074) == WEFT_FOREVER);
    CHECK(WEFT_MS(18446744073709) == 18446744073709000000u);
    CHECK(WEFT_MS(18446744073710) == WEFT_FOREVER);
    CHECK(WEFT_US(18446744073709551) == 18446744073709551000u);
    CHECK(WEFT_US(18446744073709552) == WEFT_FOREVER);
    CHECK(WEFT_SECS(UINT64_MAX) == WEFT_FOREVER);
    CHECK(WEFT_SECS(-1) == WEFT_FOREVER); /* taken as unsigned */
    CHECK(WEFT_NS(WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(WEFT_SECS(0) == 0);

    CHECK(weft_instant_add(5, 6) == 11);
    CHECK(weft_instant_add(5, WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(weft_instant_add(WEFT_FOREVER, 0) == WEFT_FOREVER);
    CHECK(weft_instant_add(WEFT_FOREVER - 5, 5) == WEFT_FOREVER);
    CHECK(weft_instant_add(WEFT_FOREVER - 5, 4) == WEFT_FOREVER - 1);
    CHECK(weft_instant_add(WEFT_FOREVER - 5, 6) == WEFT_FOREVER);
}

TEST(until_counts_down_and_stops)
{
    weft_instant now = weft_now();
    weft_duration left = weft_until(now + WEFT_SECS(1000));

    CHECK(left <= WEFT_SECS(1000) && left > WEFT_SECS(900));
    CHECK_EQ(0, weft_until(now));
    CHECK_EQ(0, weft_until(0));
    CHECK(weft_until(WEFT_FOREVER) == WEFT_FOREVER);
    CHECK(weft_now() >= now);
}

TEST(ticks_measure_what_the_clock_measures)
{
    uint64_t ns, ticks, measured;

    wf_ticks_calibrate();
    ns = wf_clock_now();
    ticks = wf_ticks();
    do {
        measured = wf_clock_now() - ns;
    } while (measured < 3000000);
    ticks = wf_ticks_to_ns(wf_ticks() - ticks);
    ns = wf_clock_now() - ns;
    if (test_slow() == 1) { /* valgrind stops for longer than this to translate what is new */
        CHECK(ticks >= measured / 100 * 95);
        CHECK(ticks <= ns / 100 * 105);
    }

    measured = wf_ticks_to_ns(wf_ns_to_ticks(1000000000));
    CHECK(measured > 999000000 && measured < 1001000000);
    measured = wf_ticks_to_ns(wf_ns_to_ticks(WEFT_SECS(86400 * 365)));
    CHECK(measured > WEFT_SECS(86400 * 364) && measured < WEFT_SECS(86400 * 366));
}

TEST_MAIN("base", a_list_keeps_its_order, a_lock_admits_one_thread, try_lock_does_not_wait,
          locks_out_of_order_abort_in_debug_builds, a_failed_assert_says_what_and_where,
          a_long_message_is_cut_and_stays_a_line, misuse_is_told_in_debug_builds,
          text_is_built_without_the_c_library, every_error_has_a_text, errno_belongs_to_the_thread,
          random_numbers_stay_in_range_and_spread, durations_saturate, until_counts_down_and_stops,
          ticks_measure_what_the_clock_measures)
