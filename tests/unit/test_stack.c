/* SPDX-License-Identifier: MIT */
/*
 * test_stack.c - stacks: sizes, reuse, resident memory, limits, guards, and the report of an
 * overflow.
 *
 * What must die does so in a child of the test, whose last words and signal are looked at.
 */
#include "fiber/stack.h"

#include "base/atomic.h"
#include "base/lock.h"
#include "fiber/fiber.h"
#include "fiber/overflow.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_include)
# if __has_include(<valgrind/valgrind.h>)
#  include <valgrind/valgrind.h>
#  define ON_VALGRIND (RUNNING_ON_VALGRIND != 0)
# endif
#endif
#ifndef ON_VALGRIND
# define ON_VALGRIND false
#endif

#define INSTRUMENTED (WF_ASAN || WF_TSAN || ON_VALGRIND)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static struct wf_stack *get(struct wf_stack_cache *c, size_t size)
{
    struct wf_stack *s = NULL;

    CHECK_EQ(0, wf_stack_get(c, size, &s));
    CHECK(s);
    return s;
}

/* The pool is as if never used: nothing is mapped. */
static void check_nothing_left(struct wf_stack_cache *c)
{
    struct wf_stack_stats stats;

    wf_stack_cache_release(c);
    wf_stack_pool_trim();
    wf_stack_pool_stats(&stats);
    CHECK_EQ(0, stats.out);
    CHECK_EQ(0, stats.idle);
    CHECK_EQ(0, stats.dirty);
    CHECK_EQ(0, stats.slabs);
    CHECK_EQ(0, stats.mapped_bytes);
}

/* qemu pretends to have larger pages than its host, but not in each system call. */
static bool pretended_pages(void)
{
    return test_emulated() && page_size() != 4096;
}

#define SKIP_IF_PAGES_ARE_PRETENDED()                                                 \
 do {                                                                                 \
  if (pretended_pages())                                                              \
   TEST_SKIP("mincore and sigaltstack do not know the page size that qemu pretends"); \
 } while (0)

/* Pages of the stack that take memory. */
static size_t resident_pages(const struct wf_stack *s)
{
    size_t count = s->size / page_size(), resident = 0;
    unsigned char *pages = malloc(count);

    CHECK(pages);
    CHECK_EQ(0, mincore(s->low, s->size, pages));
    for (size_t i = 0; i < count; i++)
        resident += pages[i] & 1;
    free(pages);
    return resident;
}

/* Asks the kernel instead of dying. */
static bool readable(const char *p)
{
    int fds[2];
    ssize_t n;

    CHECK_EQ(0, pipe2(fds, O_CLOEXEC));
    n = write(fds[1], p, 1);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return n == 1;
}

/* Write like a fiber that went `bytes` deep. */
static void use_bytes(struct wf_stack *s, size_t bytes)
{
    memset((char *)wf_stack_top(s) - bytes, 0x5a, bytes);
}

/* ---- sizes and reuse ---- */

TEST(every_size_is_usable_from_end_to_end)
{
    static const size_t asked[] = {0,      1,      16384,   16385,           65536,
                                   262144, 262145, 1000000, (size_t)1 << 30, ((size_t)1 << 30) - 1};
    struct wf_stack_cache c;

    wf_stack_cache_init(&c);
    for (size_t i = 0; i < wf_array_count(asked); i++) {
        struct wf_stack *s = get(&c, asked[i]);
        char *top = wf_stack_top(s);
        size_t want = asked[i] ? asked[i] : WF_STACK_SIZE_DEFAULT;

        CHECK(s->size >= want && s->size >= WF_STACK_SIZE_MIN);
        CHECK(want < WF_STACK_SIZE_MIN || s->size < 2 * want || s->size == page_size());
        CHECK_EQ(0, (uintptr_t)top % 16);
        CHECK(top - s->low >= (ptrdiff_t)(s->size - page_size()) + 2304);
        *s->low = 1;
        top[-1] = 1;
        CHECK(wf_stack_contains(s, s->low));
        CHECK(wf_stack_contains(s, s->low + s->size - 1));
        CHECK(!wf_stack_contains(s, s->low - 1));
        CHECK(!wf_stack_contains(s, s->low + s->size));
        CHECK(wf_stack_in_guard(s, s->low - 1));
        CHECK(!readable(s->low - 1));
        CHECK(wf_stack_in_guard(s, s->low - page_size()));
        CHECK(!wf_stack_in_guard(s, s->low));
        CHECK(!wf_stack_in_guard(s, s->low - page_size() - 1));
        wf_stack_put(&c, s);
        CHECK(get(&c, asked[i]) == s); /* the hottest first */
        wf_stack_put(&c, s);
    }
    check_nothing_left(&c);
}

END_TEST

TEST(too_large_a_size_is_refused)
{
    struct wf_stack_cache c;
    struct wf_stack *s = NULL;

    wf_stack_cache_init(&c);
    CHECK_EQ(-ENOMEM, wf_stack_get(&c, ((size_t)1 << 30) + 1, &s));
    CHECK_EQ(-ENOMEM, wf_stack_get(&c, SIZE_MAX, &s));
    CHECK(s == NULL);
    check_nothing_left(&c);
}

END_TEST

TEST(neighbours_differ_in_colour)
{
    struct wf_stack_cache c;
    struct wf_stack *s[16];
    size_t offsets[16];

    wf_stack_cache_init(&c);
    for (size_t i = 0; i < 16; i++) {
        s[i] = get(&c, 0);
        offsets[i] = (uintptr_t)wf_stack_top(s[i]) % page_size() / WF_CACHE_LINE;
        for (size_t j = 0; j < i; j++)
            CHECK(offsets[i] != offsets[j]);
    }
    for (size_t i = 0; i < 16; i++)
        wf_stack_put(&c, s[i]);
    check_nothing_left(&c);
}

END_TEST

/* ---- memory ---- */

TEST(a_shallow_stack_has_one_resident_page)
{
    struct wf_stack_cache c;
    struct wf_stack *s;

    SKIP_IF_PAGES_ARE_PRETENDED();
    wf_stack_cache_init(&c);
    s = get(&c, 0);
    CHECK_EQ(1, resident_pages(s));
    use_bytes(s, 1500);
    wf_stack_put(&c, s);
    CHECK_EQ(1, resident_pages(s));
    CHECK(get(&c, 0) == s);
    CHECK_EQ(1, resident_pages(s));
    wf_stack_put(&c, s);
    check_nothing_left(&c);
}

END_TEST

TEST(a_deep_stack_is_trimmed_before_reuse)
{
    static const size_t depths[] = {5000, 9000, 20000, 100000, 250000};
    struct wf_stack_cache c;
    struct wf_stack *s;

    SKIP_IF_PAGES_ARE_PRETENDED();
    for (size_t i = 0; i < wf_array_count(depths); i++) {
        wf_stack_cache_init(&c);
        s = get(&c, 0);
        use_bytes(s, depths[i]);
        CHECK(resident_pages(s) > 1);
        wf_stack_put(&c, s);
        CHECK_EQ(1, resident_pages(s));
        CHECK(readable(s->low));
        CHECK(!readable(s->low - 1)); /* the guard is still there */
        check_nothing_left(&c);
    }
}

END_TEST

/* A hole over the lowest words of the top page, as a large array leaves one. */
TEST(a_deep_stack_with_a_hole_is_trimmed)
{
    struct wf_stack_cache c;
    struct wf_stack *s;
    char *page;

    SKIP_IF_PAGES_ARE_PRETENDED();
    wf_stack_cache_init(&c);
    s = get(&c, 0);
    page = (char *)s - (uintptr_t)s % page_size();
    use_bytes(s, 9000);
    memset(page, 0, 500);
    wf_stack_put(&c, s);
    CHECK_EQ(1, resident_pages(s));
    check_nothing_left(&c);
}

END_TEST

TEST(where_most_go_deep_a_few_pages_are_kept)
{
    struct wf_stack_cache c;
    struct wf_stack *s;

    SKIP_IF_PAGES_ARE_PRETENDED();
    wf_stack_cache_init(&c);
    for (int i = 0; i < 20; i++) {
        s = get(&c, 0);
        use_bytes(s, 9000);
        wf_stack_put(&c, s);
    }
    CHECK(resident_pages(s) >= 3 && resident_pages(s) <= 4);

    /* never more than a few */
    s = get(&c, 0);
    use_bytes(s, 30000);
    wf_stack_put(&c, s);
    CHECK_EQ(1, resident_pages(s));

    s = get(&c, 0);
    use_bytes(s, 9000);
    wf_stack_put(&c, s);
    CHECK(resident_pages(s) >= 3);
    /* and none any more, once most stay shallow */
    for (int i = 0; i < 20; i++) {
        s = get(&c, 0);
        use_bytes(s, 1000);
        wf_stack_put(&c, s);
    }
    CHECK_EQ(1, resident_pages(s));
    check_nothing_left(&c);
}

END_TEST

static size_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    CHECK(f);
    CHECK_EQ(2, fscanf(f, "%lu %lu", &total, &resident));
    (void)fclose(f);
    return resident * page_size();
}

TEST(a_hundred_thousand_at_once)
{
    size_t count = INSTRUMENTED ? 2000 : test_scaled(100000), before, after, peak;
    struct wf_stack_stats stats;
    struct wf_stack_cache c;
    struct wf_stack **s;

    wf_stack_cache_init(&c);
    wf_stack_put(&c, get(&c, 0));
    if (!wf_stack_test_light_guards() && count > 20000)
        count = 20000; /* an older kernel has no mappings for more */
    s = calloc(count, sizeof(struct wf_stack *));
    CHECK(s);
    memset(s, 1, count * sizeof(struct wf_stack *)); /* resident before it counts */
    before = resident_bytes();
    for (size_t i = 0; i < count; i++)
        s[i] = get(&c, 0);
    peak = resident_bytes();
    if (!INSTRUMENTED && !test_emulated())
        CHECK((peak - before) / count < 4400);
    wf_stack_pool_stats(&stats);
    CHECK_EQ(count, stats.out);

    /* In another order than they came: every second one first. */
    for (size_t i = 0; i < count; i += 2)
        wf_stack_put(&c, s[i]);
    wf_stack_pool_stats(&stats);
    CHECK(stats.out >= count / 2);
    CHECK(stats.idle + stats.dirty <= 2 * (4096 + count / 4));
    for (size_t i = 1; i < count; i += 2)
        wf_stack_put(&c, s[i]);
    wf_stack_pool_stats(&stats);
    CHECK_EQ(wf_stack_cache_count(&c), stats.out);
    CHECK(stats.idle + stats.dirty <= 2 * (4096 + count / 4));
    after = resident_bytes();
    if (!INSTRUMENTED && !test_emulated() && count == 100000)
        CHECK((after - before) / page_size() < 2 * 4096 + 1000);
    check_nothing_left(&c);
    free(s);
}

END_TEST

/* What came back to a slab and went to the kernel serves again, zeroed and guarded. */
TEST(returned_slots_serve_again)
{
    size_t count = 640;
    struct wf_stack **s = calloc(count, sizeof(struct wf_stack *));
    struct wf_stack_stats stats;
    struct wf_stack_cache c;

    SKIP_IF_PAGES_ARE_PRETENDED();
    CHECK(s);
    wf_stack_cache_init(&c);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < count; i++)
            if (!s[i]) {
                s[i] = get(&c, 0);
                CHECK_EQ(1, resident_pages(s[i]));
                use_bytes(s[i], 1000);
            }
        /* one of each slab stays */
        for (size_t i = 0; i < count; i++)
            if (i % 64 != (size_t)round) {
                wf_stack_put(&c, s[i]);
                s[i] = NULL;
            }
        wf_stack_cache_release(&c);
        wf_stack_pool_trim();
        wf_stack_pool_stats(&stats);
        CHECK_EQ(10, stats.out);
        CHECK_EQ(0, stats.dirty + stats.idle);
    }
    CHECK_EQ(10, stats.slabs);
    for (size_t i = 0; i < count; i++)
        if (s[i])
            wf_stack_put(&c, s[i]);
    check_nothing_left(&c);
    free(s);
}

END_TEST

/* ---- limits ---- */

TEST(without_address_space_get_fails_and_nothing_is_lost)
{
    struct rlimit limit = {.rlim_cur = (rlim_t)200 << 20, .rlim_max = (rlim_t)200 << 20};
    struct wf_stack *s, *all = NULL;
    struct wf_stack_stats stats;
    struct wf_stack_cache c;
    size_t count = 0;
    int rc;

    if (INSTRUMENTED || test_emulated())
        TEST_SKIP("sanitizers, Valgrind and emulators need the address space");
    wf_stack_cache_init(&c);
    CHECK_EQ(0, setrlimit(RLIMIT_AS, &limit));
    while ((rc = wf_stack_get(&c, 0, &s)) == 0) {
        s->arg = all;
        all = s;
        count++;
    }
    CHECK_EQ(-ENOMEM, rc);
    CHECK(count >= 400);
    CHECK_EQ(-ENOMEM, wf_stack_get(&c, (size_t)1 << 30, &s));
    wf_stack_pool_stats(&stats);
    CHECK_EQ(count, stats.out);
    s = all;
    all = all->arg;
    wf_stack_put(&c, s);
    CHECK(get(&c, 0) == s);
    wf_stack_put(&c, s);
    while (all) {
        s = all;
        all = all->arg;
        wf_stack_put(&c, s);
    }
    check_nothing_left(&c);
}

END_TEST

static long map_count_max(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    long n = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%ld", &n) != 1)
        n = 0;
    (void)fclose(f);
    return n;
}

/* Run fn in a child; its stderr goes to text. Returns the status of waitpid. */
static int in_child(void (*fn)(void), char *text, size_t size)
{
    int fds[2], status = 0;
    ssize_t n, used = 0;
    pid_t child;

    CHECK_EQ(0, pipe2(fds, O_CLOEXEC));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    (void)close(fds[1]);
    while ((size_t)used < size - 1 && (n = read(fds[0], text + used, size - 1 - (size_t)used)) > 0)
        used += n;
    text[used] = '\0';
    (void)close(fds[0]);
    CHECK_EQ(child, waitpid(child, &status, 0));
    return status;
}

static void exhaust_mappings(void)
{
    struct wf_stack *s, *all = NULL;
    struct wf_stack_cache c;
    int rc;

    wf_stack_cache_init(&c);
    wf_stack_test_force_mprotect(true);
    while ((rc = wf_stack_get(&c, 0, &s)) == 0) {
        s->arg = all;
        all = s;
    }
    if (rc != -ENOMEM || wf_stack_get(&c, 0, &s) != -ENOMEM)
        _exit(1);
    while (all) {
        s = all;
        all = all->arg;
        wf_stack_put(&c, s);
    }
    check_nothing_left(&c);
}

TEST(without_mappings_for_guards_get_fails_and_says_why_once)
{
    long limit = map_count_max();
    char text[4096], *at;

    if (INSTRUMENTED || test_slow() > 1)
        TEST_SKIP("too slow in this build");
    if (limit == 0 || limit > 200000)
        TEST_SKIP("vm.max_map_count is too high to be reached");
    CHECK_EQ(0, in_child(exhaust_mappings, text, sizeof(text)));
    at = strstr(text, "vm.max_map_count");
    CHECK(at);
    CHECK(!strstr(at + 1, "vm.max_map_count"));
}

END_TEST

/* ---- threads ---- */

#define TRADERS       4
#define COUNTER_SLOTS 64

/* A counter where threads leave stacks for each other. */
static struct {
    struct wf_lock lock;
    struct wf_stack *slots[COUNTER_SLOTS];
} counter = {.lock = WF_LOCK_INIT(WF_RANK_LEAF)};

static void *trade(void *arg)
{
    uint64_t state = test_seed() * 2 + 1 + (uint64_t)(uintptr_t)arg, rounds = test_scaled(200000);
    struct wf_stack_cache c;

    wf_stack_cache_init(&c);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t r = test_rand(&state);
        struct wf_stack *mine = NULL, **slot = &counter.slots[r % COUNTER_SLOTS];

        if (r >> 32 & 1) {
            mine = get(&c, r >> 33 & 1 ? 0 : 16384);
            use_bytes(mine, r >> 40 & 1 ? 100 : 1000);
            mine->arg = mine;
        }
        wf_lock(&counter.lock);
        {
            struct wf_stack *theirs = *slot;

            *slot = mine;
            mine = theirs;
        }
        wf_unlock(&counter.lock);
        if (mine) {
            CHECK(mine->arg == mine);
            use_bytes(mine, 200);
            wf_stack_put(&c, mine);
        }
        if (r >> 50 == 0)
            wf_stack_cache_release(&c);
        if (r >> 52 == 0)
            wf_stack_pool_trim();
    }
    wf_stack_cache_release(&c);
    return NULL;
}

TEST(threads_exchange_stacks)
{
    pthread_t threads[TRADERS];
    struct wf_stack_cache c;

    (void)test_seed(); /* printed once, by this thread */
    for (uintptr_t i = 0; i < TRADERS; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, trade, (void *)(i * 2)));
    for (size_t i = 0; i < TRADERS; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    wf_stack_cache_init(&c);
    for (size_t i = 0; i < COUNTER_SLOTS; i++)
        if (counter.slots[i])
            wf_stack_put(&c, counter.slots[i]);
    check_nothing_left(&c);
}

END_TEST

/* Thousands of stacks go back and forth between two workers' caches and the limits of the pool. */
static void *churn(void *arg)
{
    size_t count = INSTRUMENTED ? 1000 : 12000;
    struct wf_stack **s = calloc(count, sizeof(struct wf_stack *));
    struct wf_stack_cache c;

    (void)arg;
    CHECK(s);
    wf_stack_cache_init(&c);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < count; i++)
            s[i] = get(&c, 0);
        for (size_t i = 0; i < count; i++)
            wf_stack_put(&c, s[i * 7919 % count]);
    }
    wf_stack_cache_release(&c);
    free(s);
    return NULL;
}

TEST(bursts_on_two_threads_leave_nothing)
{
    pthread_t threads[2];
    struct wf_stack_cache c;

    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(0, pthread_create(&threads[i], NULL, churn, NULL));
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(0, pthread_join(threads[i], NULL));
    wf_stack_cache_init(&c);
    check_nothing_left(&c);
}

END_TEST

/* ---- overflow ---- */

static struct {
    struct wf_coro thread, fiber;
    bool force_mprotect;
    const char *name, *site;
} victim;

static bool describe(const void *addr, struct wf_overflow_report *out)
{
    if (!victim.fiber.stack || !wf_stack_in_guard(victim.fiber.stack, addr))
        return false;
    *out = (struct wf_overflow_report){.task_name = victim.name,
                                       .site = victim.site,
                                       .task_id = 17,
                                       .stack_size = victim.fiber.stack->size};
    return true;
}

WF_NOINLINE static unsigned dig(unsigned depth)
{
    char array[300];

    memset(array, (int)depth, sizeof(array));
    __asm__ volatile("" ::"r"(array) : "memory");
    return depth ? dig(depth - 1) + (unsigned char)array[depth % 300] : 0;
}

static void dig_for_ever(void *arg)
{
    (void)arg;
    (void)dig(~0u);
    wf_coro_exit(&victim.fiber, &victim.thread, NULL);
}

static void overflow_child(void)
{
    struct rlimit no_core = {0};
    struct wf_stack_cache c;

    (void)setrlimit(RLIMIT_CORE, &no_core);
    wf_stack_test_force_mprotect(victim.force_mprotect);
    wf_overflow_set_describe(describe);
    CHECK_EQ(0, wf_overflow_install());
    CHECK_EQ(0, wf_overflow_thread_enter());
    wf_stack_cache_init(&c);
    wf_coro_init_thread(&victim.thread);
    wf_coro_init(&victim.fiber, get(&c, 0), dig_for_ever, NULL);
    wf_coro_switch(&victim.thread, &victim.fiber, NULL);
}

static void check_overflow_report(const char *want)
{
    char text[4096], *end;
    int status = in_child(overflow_child, text, sizeof(text));
    char *line = strstr(text, "weft: ");

    CHECK(line);
    end = strchr(line, '\n');
    CHECK(end);
    *end = '\0';
    CHECK_STR(want, line);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(SIGABRT, WTERMSIG(status));
}

TEST(an_overflow_is_reported_by_name)
{
    SKIP_IF_PAGES_ARE_PRETENDED();
    victim.name = "conn";
    victim.site = "file.c:12";
    check_overflow_report("weft: stack overflow in task 17 \"conn\" (spawned at file.c:12): its "
                          "stack of 262144 bytes is full; give it more with "
                          "weft_task_options.stack_size or WEFT_STACK_SIZE");
    victim.name = victim.site = NULL;
    check_overflow_report("weft: stack overflow in task 17: its stack of 262144 bytes is full; "
                          "give it more with weft_task_options.stack_size or WEFT_STACK_SIZE");
}

END_TEST

TEST(an_overflow_is_reported_with_mprotected_guards_too)
{
    SKIP_IF_PAGES_ARE_PRETENDED();
    victim.force_mprotect = true;
    victim.name = "old kernel";
    check_overflow_report("weft: stack overflow in task 17 \"old kernel\": its stack of 262144 "
                          "bytes is full; give it more with weft_task_options.stack_size or "
                          "WEFT_STACK_SIZE");
}

END_TEST

/* Any other fault ends as it would have without weft. */
static const int guard_of_none; /* read-only memory */

static void fault(void)
{
    *(volatile int *)(uintptr_t)&guard_of_none = 1;
}

static void earlier_full(int number, siginfo_t *info, void *context)
{
    (void)context;
    _exit(number == SIGSEGV && info->si_addr == &guard_of_none ? 40 : 1);
}

static void earlier_plain(int number)
{
    _exit(number == SIGSEGV ? 41 : 1);
}

static void prepare_under(const struct sigaction *earlier)
{
    struct rlimit no_core = {0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)sigaction(SIGSEGV, earlier, NULL);
    wf_overflow_set_describe(describe);
    CHECK_EQ(0, wf_overflow_install());
    CHECK_EQ(0, wf_overflow_install());
    wf_overflow_uninstall(); /* one of two */
    CHECK_EQ(0, wf_overflow_thread_enter());
}

static void fault_under(const struct sigaction *earlier)
{
    prepare_under(earlier);
    fault();
}

static void fault_under_full(void)
{
    fault_under(&(struct sigaction){.sa_flags = SA_SIGINFO, .sa_sigaction = earlier_full});
}

static void fault_under_plain(void)
{
    fault_under(&(struct sigaction){.sa_handler = earlier_plain});
}

static void fault_under_default(void)
{
    fault_under(&(struct sigaction){.sa_handler = SIG_DFL});
}

static void fault_under_ignore(void)
{
    fault_under(&(struct sigaction){.sa_handler = SIG_IGN});
}

static void sent_under_default(void)
{
    prepare_under(&(struct sigaction){.sa_handler = SIG_DFL});
    (void)raise(SIGSEGV);
}

TEST(other_faults_go_to_whom_they_went_before)
{
    char text[4096];
    int status;

    SKIP_IF_PAGES_ARE_PRETENDED();
    status = in_child(fault_under_full, text, sizeof(text));
    CHECK(WIFEXITED(status));
    CHECK_EQ(40, WEXITSTATUS(status));
    status = in_child(fault_under_plain, text, sizeof(text));
    CHECK(WIFEXITED(status));
    CHECK_EQ(41, WEXITSTATUS(status));
    status = in_child(fault_under_default, text, sizeof(text));
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(SIGSEGV, WTERMSIG(status));
    status = in_child(fault_under_ignore, text, sizeof(text));
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(SIGSEGV, WTERMSIG(status));
    status = in_child(sent_under_default, text, sizeof(text));
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(SIGSEGV, WTERMSIG(status));
}

END_TEST

TEST(uninstalling_restores_and_spares_later_handlers)
{
    struct sigaction mine = {.sa_handler = earlier_plain}, now, before;

    CHECK_EQ(0, sigaction(SIGSEGV, NULL, &before));
    CHECK_EQ(0, wf_overflow_install());
    CHECK_EQ(0, sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_flags & SA_ONSTACK);
    wf_overflow_uninstall();
    CHECK_EQ(0, sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_handler == before.sa_handler);

    CHECK_EQ(0, wf_overflow_install());
    CHECK_EQ(0, sigaction(SIGSEGV, &mine, NULL));
    wf_overflow_uninstall();
    CHECK_EQ(0, sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_handler == earlier_plain);
    CHECK_EQ(0, wf_overflow_install());
    CHECK_EQ(0, sigaction(SIGSEGV, NULL, &now));
    CHECK(now.sa_handler == earlier_plain);
    wf_overflow_uninstall();
    CHECK_EQ(0, sigaction(SIGSEGV, &before, NULL));
}

END_TEST

static void *alternate_stack_comes_and_goes(void *arg)
{
    stack_t before, during, after, own = {.ss_size = 256 << 10};

    CHECK_EQ(0, sigaltstack(NULL, &before));
    CHECK_EQ(0, wf_overflow_thread_enter());
    CHECK_EQ(0, wf_overflow_thread_enter());
    CHECK_EQ(0, sigaltstack(NULL, &during));
    CHECK(!(during.ss_flags & SS_DISABLE));
    wf_overflow_thread_leave();
    CHECK_EQ(0, sigaltstack(NULL, &after));
    CHECK(after.ss_sp == during.ss_sp);
    wf_overflow_thread_leave();
    CHECK_EQ(0, sigaltstack(NULL, &after));
    CHECK_EQ(before.ss_flags, after.ss_flags);
    CHECK(after.ss_sp == before.ss_sp || after.ss_flags & SS_DISABLE);

    /* one that is large enough stays in use */
    own.ss_sp = malloc(own.ss_size);
    CHECK(own.ss_sp);
    CHECK_EQ(0, sigaltstack(&own, &before));
    CHECK_EQ(0, wf_overflow_thread_enter());
    CHECK_EQ(0, sigaltstack(NULL, &during));
    CHECK(during.ss_sp == own.ss_sp);
    wf_overflow_thread_leave();
    CHECK_EQ(0, sigaltstack(&before, NULL));
    free(own.ss_sp);
    return arg;
}

TEST(alternate_stacks_come_and_go)
{
    pthread_t thread;

    SKIP_IF_PAGES_ARE_PRETENDED();
    (void)alternate_stack_comes_and_goes(NULL);
    CHECK_EQ(0, pthread_create(&thread, NULL, alternate_stack_comes_and_goes, NULL));
    CHECK_EQ(0, pthread_join(thread, NULL));
}

END_TEST

TEST_MAIN("stack", every_size_is_usable_from_end_to_end, too_large_a_size_is_refused,
          neighbours_differ_in_colour, a_shallow_stack_has_one_resident_page,
          a_deep_stack_is_trimmed_before_reuse, a_deep_stack_with_a_hole_is_trimmed,
          where_most_go_deep_a_few_pages_are_kept, a_hundred_thousand_at_once,
          returned_slots_serve_again, without_address_space_get_fails_and_nothing_is_lost,
          without_mappings_for_guards_get_fails_and_says_why_once, threads_exchange_stacks,
          bursts_on_two_threads_leave_nothing, an_overflow_is_reported_by_name,
          an_overflow_is_reported_with_mprotected_guards_too,
          other_faults_go_to_whom_they_went_before, uninstalling_restores_and_spares_later_handlers,
          alternate_stacks_come_and_go)
