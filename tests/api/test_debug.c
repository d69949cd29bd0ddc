/* SPDX-License-Identifier: MIT */
/*
 * test_debug.c - what debug builds of the library catch: handles that are used up, futures that are
 * moved or forgotten while pending.
 *
 * Each misuse is committed in a child, whose last words and end are looked at. A release build of
 * the library does not look, so there these tests are skipped.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

struct last_words {
    char text[4096];
    int status; /* of waitpid */
};

static void child_reads(int fd, struct last_words *words)
{
    size_t used = 0;
    ssize_t n;

    while ((n = read(fd, words->text + used, sizeof(words->text) - 1 - used)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        CHECK(n > 0);
        used += (size_t)n;
    }
    words->text[used] = '\0';
}

/* Run fn in a child and listen. It ends by _exit(0) unless it is stopped. */
static void in_child(void (*fn)(void), struct last_words *words)
{
    int ends[2];
    pid_t pid;

    CHECK_EQ(0, pipe(ends));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        fn();
        _exit(0);
    }
    (void)close(ends[1]);
    child_reads(ends[0], words);
    (void)close(ends[0]);
    CHECK_EQ(pid, waitpid(pid, &words->status, 0));
}

static void says(const struct last_words *words, const char *what)
{
    if (!strstr(words->text, what))
        test_failed(__FILE__, __LINE__, "\"%s\" is not said in \"%s\"", what, words->text);
}

static void ends_well(const struct last_words *words)
{
    if (!WIFEXITED(words->status) || WEXITSTATUS(words->status) != 0)
        test_failed(__FILE__, __LINE__, "the child ended with status %#x: %s", words->status,
                    words->text);
}

/* By abort, which a sanitizer may turn into an exit of its own. */
static void ends_badly(const struct last_words *words)
{
    CHECK(!(WIFEXITED(words->status) && WEXITSTATUS(words->status) == 0));
    if (WIFSIGNALED(words->status))
        CHECK_EQ(SIGABRT, WTERMSIG(words->status));
}

static void misuse_something(void)
{
    (void)weft_defer(NULL, NULL);
}

/* Only debug builds speak of a misuse that has an error code. */
static bool library_is_debug(void)
{
    struct last_words words;

    in_child(misuse_something, &words);
    ends_well(&words);
    return words.text[0] != '\0';
}

#define ONLY_IN_DEBUG_BUILDS() \
 if (!library_is_debug())      \
 TEST_SKIP("a release build of the library does not look")

static void run_one(weft_fn *fn)
{
    test_run_on(&test_flavours[1], fn, NULL);
}

/* --- handles ---------------------------------------------------------------------- */

/* A waker keeps the header of the task in memory after its handle was joined. */
static weft_waker held;

static weft_poll hold_poll(weft_future *f, weft_context *cx)
{
    held = weft_context_waker(cx);
    f->result = 0;
    return WEFT_READY;
}

static const weft_future_type hold_type = {.poll = hold_poll, .name = "hold"};

static int leave_waker(void *arg)
{
    weft_future f = weft_future_of(&hold_type);

    (void)arg;
    return (int)weft_await(&f);
}

static int join_twice(void *arg)
{
    weft_task *t = weft_spawn(leave_waker, NULL);
    int result = 7;

    (void)arg;
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(-EINVAL, weft_join(t, &result));
    CHECK_EQ(7, result);
    weft_waker_drop(&held);
    return 0;
}

static void child_joins_twice(void)
{
    run_one(join_twice);
}

TEST(a_second_join_of_a_handle_is_einval)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_joins_twice, &words);
    ends_well(&words);
    says(&words, "was joined before");
}

static int return_zero(void *arg)
{
    (void)arg;
    return 0;
}

static int use_stale(void *arg)
{
    weft_task *t = weft_spawn(return_zero, NULL);
    weft_task_info info;

    (void)arg;
    CHECK_EQ(0, weft_join(t, NULL));
    CHECK_EQ(-EINVAL, weft_join(t, NULL));
    CHECK(!weft_is_finished(t));
    CHECK_EQ(0, weft_task_id(t));
    CHECK_STR("", weft_task_name(t));
    CHECK(weft_task_ref(t) == NULL);
    CHECK_EQ(-EINVAL, weft_task_get_info(t, &info));
    weft_cancel(t);
    weft_detach(t);
    return 0;
}

static void child_uses_stale(void)
{
    run_one(use_stale);
}

TEST(a_stale_handle_is_named)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_uses_stale, &words);
    ends_well(&words);
    says(&words, "weft_join: the task handle is stale");
    says(&words, "weft_cancel: the task handle is stale");
    says(&words, "weft_detach: the task handle is stale");
    says(&words, "weft_task_ref: the task handle is stale");
}

/* --- futures ------------------------------------------------------------------------ */

static void keep(weft_future *f)
{
    weft_future ready = weft_ready_future(0), *const list[] = {f, &ready};

    CHECK_EQ(1, weft_select_n(list, 2, WEFT_SELECT_BIASED | WEFT_SELECT_KEEP));
}

static int move_pending(void *arg)
{
    weft_future a = weft_sleep_future(WEFT_SECS(100)), b;

    keep(&a);
    b = a;
    if (arg)
        weft_future_drop(&b);
    else
        (void)weft_await(&b);
    return 0;
}

static void child_awaits_moved(void)
{
    run_one(move_pending);
}

static void child_drops_moved(void)
{
    static int yes;

    test_run_on(&test_flavours[1], move_pending, &yes);
}

TEST(a_future_that_is_moved_while_pending_stops_the_program)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_awaits_moved, &words);
    ends_badly(&words);
    says(&words, "poll: the sleep future was moved");
    in_child(child_drops_moved, &words);
    ends_badly(&words);
    says(&words, "drop: the sleep future was moved");
}

/* The future lies deep enough not to be overwritten by the next calls. */
static NOINLINE void forget_inner(void)
{
    weft_future f = weft_pending_future();

    keep(&f);
}

static NOINLINE void forget(void)
{
    volatile char room[16384];

    room[0] = room[sizeof(room) - 1] = 0;
    forget_inner();
    room[1] = room[0];
}

static int forget_and_wait(void *arg)
{
    (void)arg;
    forget();
    CHECK_EQ(0, weft_yield());
    return 0;
}

static void child_forgets(void)
{
    run_one(forget_and_wait);
}

TEST(a_future_that_is_forgotten_while_pending_stops_the_program)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_forgets, &words);
    ends_badly(&words);
    says(&words, "a future was forgotten while pending");
}

static int end_with_pending(void *arg)
{
    weft_future *f = arg;

    *f = weft_sleep_future(WEFT_SECS(100));
    keep(f);
    return 0;
}

static void child_leaves_pending(void)
{
    static weft_future f;

    test_run_on(&test_flavours[1], end_with_pending, &f);
}

TEST(a_future_left_pending_by_its_task_is_named_and_dropped)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_leaves_pending, &words);
    ends_well(&words);
    says(&words, "ended with a sleep future left pending");
}

/* --- calls that do not belong --------------------------------------------------------- */

static void child_calls_from_a_thread(void)
{
    weft_future f = weft_ready_future(0);

    CHECK_EQ(-EPERM, weft_sleep(0));
    CHECK_EQ(-EPERM, weft_await(&f));
    CHECK(weft_spawn(return_zero, NULL) == NULL);
}

TEST(a_call_outside_a_fiber_is_explained)
{
    struct last_words words;

    ONLY_IN_DEBUG_BUILDS();
    in_child(child_calls_from_a_thread, &words);
    ends_well(&words);
    says(&words, "weft_sleep: called outside a fiber");
    says(&words, "weft_await: called outside a fiber");
    says(&words, "plain threads use weft_spawn_on");
}

/* Not of debug builds alone: there is no task to end, so the program does. */
static void child_panics(void)
{
    weft_panic("nowhere to go, %s", "alas");
}

static weft_poll panicking_poll(void *self, weft_context *cx)
{
    (void)self;
    (void)cx;
    weft_panic("on no stack of its own");
}

static const weft_async_type panicking_type = {.poll = panicking_poll, .size = sizeof(weft_async)};

static int spawn_panicking(void *arg)
{
    (void)arg;
    return weft_join(weft_spawn_async(&panicking_type, &(weft_async){0}), NULL);
}

static void child_panics_stackless(void)
{
    run_one(spawn_panicking);
}

TEST(a_panic_outside_a_fiber_stops_the_program)
{
    struct last_words words;

    in_child(child_panics, &words);
    ends_badly(&words);
    says(&words, "nowhere to go, alas");
    in_child(child_panics_stackless, &words);
    ends_badly(&words);
    says(&words, "on no stack of its own");
}

TEST_MAIN("debug", a_second_join_of_a_handle_is_einval, a_stale_handle_is_named,
          a_future_that_is_moved_while_pending_stops_the_program,
          a_future_that_is_forgotten_while_pending_stops_the_program,
          a_future_left_pending_by_its_task_is_named_and_dropped,
          a_call_outside_a_fiber_is_explained, a_panic_outside_a_fiber_stops_the_program)
