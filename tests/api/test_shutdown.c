/* SPDX-License-Identifier: MIT */
/*
 * test_shutdown.c - how runtimes end: from outside and inside, in time and late, once and for all.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A task that never ends keeps its memory: what is made between these two is no leak. */
#ifdef __SANITIZE_ADDRESS__
# include <sanitizer/lsan_interface.h>
#else
# define __lsan_disable() ((void)0)
# define __lsan_enable()  ((void)0)
#endif

static const struct test_flavour two_workers = {"2 workers", WEFT_MULTI_THREAD, 2};

static int forever(void *unused)
{
    (void)unused;
    return weft_sleep(WEFT_FOREVER);
}

static int nothing(void *unused)
{
    (void)unused;
    return 0;
}

/* As the first task of a current-thread runtime: the others get on meanwhile. */
static int yields(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++)
        CHECK_EQ(0, weft_yield());
    return 0;
}

static void pause_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0)
        continue;
}

static void thread_start(pthread_t *thread, void *fn(void *), void *arg)
{
    CHECK_EQ(0, pthread_create(thread, NULL, fn, arg));
}

static void thread_join(pthread_t thread)
{
    CHECK_EQ(0, pthread_join(thread, NULL));
}

static int join_blocking(weft_task *t)
{
    int result = 0;

    CHECK_EQ(0, weft_join_blocking(t, &result));
    return result;
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    CHECK_EQ(0, closedir(dir));
    return n;
}

/* Run fn on each flavour. */
static void each_flavour(void fn(weft_runtime *rt))
{
    for (size_t i = 0; i < test_flavour_count; i++)
        fn(test_runtime_new(&test_flavours[i]));
}

/* --- the plain ways ----------------------------------------------------------- */

static void from_outside(weft_runtime *rt)
{
    weft_task *tasks[20], *late = NULL;
    int result;

    for (size_t i = 0; i < 20; i++)
        CHECK_EQ(0, weft_spawn_on(rt, &tasks[i], NULL, forever, NULL));
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    for (size_t i = 0; i < 20; i++)
        CHECK_EQ(-ECANCELED, join_blocking(tasks[i]));

    /* After it nothing begins. */
    CHECK_EQ(-ESHUTDOWN, weft_spawn_on(rt, &late, NULL, nothing, NULL));
    CHECK_EQ(-ESHUTDOWN, weft_block_on(rt, nothing, NULL, &result));
    CHECK(late == NULL);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER)); /* again: nothing to do */
    CHECK_EQ(0, weft_runtime_shutdown(rt, 0));
    test_runtime_free(rt);
}

TEST(shutdown_cancels_every_task)
{
    each_flavour(from_outside);
}

END_TEST

static int shut_down_inside(void *unused)
{
    weft_task *t = weft_spawn(forever, NULL), *born;
    int result = 0;

    (void)unused;
    CHECK_EQ(0, weft_runtime_shutdown(weft_runtime_current(), WEFT_FOREVER));
    /* Itself is cancelled too; what it spawns now never runs. */
    CHECK(weft_is_cancelled());
    CHECK_EQ(-ECANCELED, weft_sleep(WEFT_MS(1)));
    born = weft_spawn(nothing, NULL);
    CHECK(born != NULL);
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_join(t, &result));
        CHECK_EQ(-ECANCELED, result);
        CHECK_EQ(0, weft_join(born, &result));
        CHECK_EQ(-ECANCELED, result);
    }
    return 7;
}

static void from_inside(weft_runtime *rt)
{
    int result = 0;

    CHECK_EQ(0, weft_block_on(rt, shut_down_inside, NULL, &result));
    CHECK_EQ(7, result);
    CHECK_EQ(-ESHUTDOWN, weft_block_on(rt, nothing, NULL, &result));
    test_runtime_free(rt);
}

TEST(a_task_may_begin_the_shutdown)
{
    each_flavour(from_inside);
}

END_TEST

static void *shut_down(void *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    return NULL;
}

static void from_two_threads(weft_runtime *rt)
{
    pthread_t threads[3];
    weft_task *t;

    CHECK_EQ(0, weft_spawn_on(rt, &t, NULL, forever, NULL));
    for (size_t i = 0; i < 3; i++)
        thread_start(&threads[i], shut_down, rt);
    for (size_t i = 0; i < 3; i++)
        thread_join(threads[i]);
    CHECK_EQ(-ECANCELED, join_blocking(t));
    test_runtime_free(rt);
}

TEST(several_threads_may_shut_down_at_once)
{
    for (uint64_t i = 0; i < test_scaled(20); i++)
        each_flavour(from_two_threads);
}

END_TEST

/* --- tasks that will not end --------------------------------------------------- */

static int ignore_cancel(void *stop)
{
    while (!atomic_load((atomic_bool *)stop)) {
        WEFT_SHIELD
        {
            CHECK(weft_sleep(WEFT_US(500)) == 0);
        }
    }
    return 3;
}

/* What was printed on stderr since capture_begin. */
struct capture {
    int saved;
    FILE *file;
};

static struct capture capture_begin(void)
{
    struct capture c = {dup(STDERR_FILENO), tmpfile()};

    CHECK(c.saved >= 0 && c.file != NULL);
    CHECK(dup2(fileno(c.file), STDERR_FILENO) >= 0);
    return c;
}

static void capture_end(struct capture *c, char *text, size_t size)
{
    ssize_t n = pread(fileno(c->file), text, size - 1, 0);

    CHECK(dup2(c->saved, STDERR_FILENO) >= 0);
    CHECK(n >= 0);
    text[n] = '\0';
    CHECK_EQ(0, close(c->saved));
    CHECK_EQ(0, fclose(c->file));
}

TEST(a_task_that_ignores_cancel_is_named_at_the_limit)
{
    weft_task_options o = {.name = "stubborn", .site = "here.c:1"};

    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_config config = {.flavor = test_flavours[i].flavor,
                              .worker_threads = test_flavours[i].workers,
                              .ignore_env = WEFT_ON};
        atomic_bool stop = false;
        weft_instant from;
        weft_runtime *rt;
        struct capture c;
        weft_task_info info;
        char text[2000];
        weft_task *t;

        test_watchdog(20);
        __lsan_disable();
        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_spawn_on(rt, &t, &o, ignore_cancel, &stop));
        __lsan_enable();
        if (config.flavor == WEFT_CURRENT_THREAD) /* a task that never ran would simply not run */
            CHECK_EQ(0, weft_block_on(rt, yields, NULL, NULL));
        do
            CHECK_EQ(0, weft_task_get_info(t, &info));
        while (info.polls == 0);
        c = capture_begin();
        from = weft_now();
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(50)));
        CHECK(weft_now() - from >= WEFT_MS(50));
        CHECK(weft_now() - from < WEFT_MS(1000) * test_slow());
        capture_end(&c, text, sizeof(text));
        CHECK(strstr(text, "stubborn") != NULL);
        CHECK(strstr(text, "here.c:1") != NULL);
        /* Asking again does not wait for what nobody runs any more. */
        CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_FOREVER));
        weft_runtime_free(rt);
        CHECK_EQ(-ECANCELED, join_blocking(t)); /* abandoned: whoever waits for it is told */
    }
}

END_TEST

static int block_thread(void *entered)
{
    atomic_store((atomic_bool *)entered, true);
    pause_ms(300 * test_slow());
    return 5;
}

TEST(a_blocked_thread_is_left_behind_and_cleans_up)
{
    weft_config config = {.worker_threads = 2, .ignore_env = WEFT_ON};
    weft_task_options o = {.name = "blocked"};
    unsigned before = open_descriptors();
    atomic_bool entered = false;
    weft_instant from;
    weft_runtime *rt;
    struct capture c;
    char text[2000];
    weft_task *t;

    CHECK_EQ(0, weft_runtime_new(&rt, &config));
    CHECK_EQ(0, weft_spawn_on(rt, &t, &o, block_thread, &entered));
    while (!atomic_load(&entered))
        pause_ms(1);
    c = capture_begin();
    from = weft_now();
    CHECK_EQ(-ETIMEDOUT, weft_runtime_shutdown(rt, WEFT_MS(50)));
    CHECK(weft_now() - from < WEFT_MS(280) * test_slow());
    capture_end(&c, text, sizeof(text));
    CHECK(strstr(text, "blocked") != NULL);
    weft_runtime_free(rt);
    CHECK(weft_now() - from < WEFT_MS(290) * test_slow());
    /* Its call returns some time later; its thread then frees what is left. */
    CHECK_EQ(5, join_blocking(t));
    for (int i = 0; open_descriptors() != before && i < 2000; i++)
        pause_ms(1);
    CHECK_EQ(before, open_descriptors());
}

END_TEST

/* --- giving the handle up ---------------------------------------------------------- */

static int free_at_once(void *unused)
{
    (void)unused;
    weft_runtime_free(weft_runtime_current());
    return 0;
}

/* The spawn may be the last to let go of the runtime. */
TEST(a_task_may_free_its_runtime_before_its_spawn_returns)
{
    unsigned before = open_descriptors();
    weft_config config = {.worker_threads = 2, .ignore_env = WEFT_ON};

    test_watchdog(30);
    for (uint64_t round = 0; round < test_scaled(500); round++) {
        weft_runtime *rt;

        CHECK_EQ(0, weft_runtime_new(&rt, &config));
        CHECK_EQ(0, weft_spawn_on(rt, NULL, NULL, free_at_once, NULL));
    }
    for (int i = 0; open_descriptors() != before && i < 2000; i++)
        pause_ms(1);
    CHECK_EQ(before, open_descriptors());
}

END_TEST

static int free_inside(void *arg)
{
    int result = 0;
    weft_task *t = weft_spawn(forever, NULL);

    (void)arg;
    weft_runtime_free(weft_runtime_current());
    CHECK_EQ(-ECANCELED, weft_yield());
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_sleep(WEFT_MS(2)));
        CHECK_EQ(0, weft_join(t, &result));
    }
    CHECK_EQ(-ECANCELED, result);
    CHECK_EQ(0, weft_go(nothing, NULL));
    return 9;
}

TEST(a_task_may_free_its_runtime)
{
    unsigned before = open_descriptors();

    test_watchdog(20);
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_config config = {.flavor = test_flavours[i].flavor,
                              .worker_threads = test_flavours[i].workers,
                              .ignore_env = WEFT_ON};

        for (uint64_t round = 0; round < test_scaled(20); round++) {
            weft_runtime *rt;
            int result = 0;

            CHECK_EQ(0, weft_runtime_new(&rt, &config));
            for (int n = 0; n < 5; n++)
                CHECK_EQ(0, weft_spawn_on(rt, NULL, NULL, forever, NULL));
            CHECK_EQ(0, weft_block_on(rt, free_inside, NULL, &result));
            CHECK_EQ(9, result);
        }
    }
    /* The last thread to leave takes everything along. */
    for (int i = 0; open_descriptors() != before && i < 2000; i++)
        pause_ms(1);
    CHECK_EQ(before, open_descriptors());
}

END_TEST

static void *block_forever(void *rt)
{
    int result = 0;
    int rc = weft_block_on(rt, forever, NULL, &result);

    CHECK((rc == 0 && result == -ECANCELED) || rc == -ESHUTDOWN);
    return NULL;
}

TEST(waiting_block_ons_are_released)
{
    for (size_t i = 0; i < test_flavour_count; i++) {
        weft_config config = {.flavor = test_flavours[i].flavor,
                              .worker_threads = test_flavours[i].workers,
                              .ignore_env = WEFT_ON};

        for (uint64_t round = 0; round < test_scaled(20); round++) {
            pthread_t threads[4];
            weft_runtime *rt;
            weft_metrics m;

            test_watchdog(20);
            CHECK_EQ(0, weft_runtime_new(&rt, &config));
            for (size_t k = 0; k < 4; k++)
                thread_start(&threads[k], block_forever, rt);
            do { /* all of them are inside: a call that begins after the end would have no handle */
                CHECK_EQ(0, weft_metrics_snapshot(rt, &m));
            } while (m.spawned < 4);
            if (round % 2)
                CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
            weft_runtime_free(rt);
            for (size_t k = 0; k < 4; k++)
                thread_join(threads[k]);
        }
    }
}

END_TEST

/* --- waiting for everything ---------------------------------------------------------- */

struct waits {
    weft_listener *l;
    weft_stream *quiet, *full;
    weft_task *never;
    weft_addr nowhere;
};

static int wait_sleep(void *unused)
{
    (void)unused;
    return weft_sleep(WEFT_SECS(1000));
}

static int wait_accept(void *w)
{
    weft_stream *s;

    return weft_accept(((struct waits *)w)->l, &s);
}

static int wait_read(void *w)
{
    char byte;

    return (int)weft_read(((struct waits *)w)->quiet, &byte, 1);
}

static int wait_write(void *w)
{
    static const char zeros[65536];
    ssize_t n;

    do
        n = weft_write(((struct waits *)w)->full, zeros, sizeof(zeros));
    while (n > 0);
    return (int)n;
}

static int wait_join(void *w)
{
    weft_task *t = weft_task_ref(((struct waits *)w)->never);
    int rc = weft_join(t, NULL);

    /* What it waits for ends in the same moment: that may be seen first. */
    if (rc == 0)
        return -ECANCELED;
    weft_detach(t);
    return rc;
}

static int wait_future(void *unused)
{
    weft_future f = weft_pending_future();

    (void)unused;
    return (int)weft_await(&f);
}

static int wait_connect(void *w)
{
    /* Its queue of one is full: the kernel drops our requests. */
    for (;;) {
        weft_stream *s;
        int rc = weft_tcp_connect(&s, &((struct waits *)w)->nowhere, NULL);

        if (rc < 0)
            return rc;
    }
}

static int wait_select(void *w)
{
    weft_future timer = weft_sleep_future(WEFT_SECS(1000)), never = weft_pending_future();
    weft_future ended = weft_timeout_future(WEFT_SECS(2000), &never);

    (void)w;
    return (int)weft_select(&timer, &ended);
}

static int clean_up(void *unused)
{
    int rc = weft_sleep(WEFT_FOREVER);

    (void)unused;
    WEFT_SHIELD
    {
        CHECK_EQ(0, weft_sleep(WEFT_MS(1))); /* clean-up that awaits is let */
    }
    return rc;
}

static void wait_for_everything(weft_runtime *rt)
{
    static weft_fn *const kinds[] = {wait_sleep,   wait_accept, wait_accept, wait_read, wait_write,
                                     wait_connect, wait_future, wait_select, clean_up,  wait_join};

    enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
    struct waits w = {0};
    weft_task *tasks[KINDS];
    weft_listener *full;
    bool waiting;
    int fds[2], other[2];

    CHECK_EQ(0, weft_listen(&w.l, "127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listen(&full, "127.0.0.1:0", &(weft_listen_options){.backlog = 1}));
    CHECK_EQ(0, weft_listener_addr(full, &w.nowhere));
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    CHECK_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other));
    CHECK_EQ(0, weft_stream_from_fd(&w.quiet, fds[0]));
    CHECK_EQ(0, weft_stream_from_fd(&w.full, other[0]));
    CHECK_EQ(0, weft_spawn_on(rt, &w.never, NULL, forever, NULL));
    for (size_t i = 0; i < KINDS; i++)
        CHECK_EQ(0, weft_spawn_on(rt, &tasks[i], NULL, kinds[i], &w));
    do {
        waiting = true;
        if (weft_runtime_flavor(rt) == WEFT_CURRENT_THREAD)
            CHECK_EQ(0, weft_block_on(rt, yields, NULL, NULL));
        for (size_t i = 0; i < KINDS; i++) {
            weft_task_info info;

            CHECK_EQ(0, weft_task_get_info(tasks[i], &info));
            waiting = waiting && info.state == WEFT_TASK_IDLE && info.polls > 0;
        }
    } while (!waiting);
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    for (size_t i = 0; i < KINDS; i++)
        if (join_blocking(tasks[i]) != -ECANCELED)
            test_failed(__FILE__, __LINE__, "kind %zu does not give -ECANCELED", i);
    CHECK_EQ(-ECANCELED, join_blocking(w.never));
    CHECK_EQ(0, weft_listener_close(w.l));
    CHECK_EQ(0, weft_listener_close(full));
    CHECK_EQ(0, weft_close(w.quiet));
    CHECK_EQ(0, weft_close(w.full));
    CHECK_EQ(0, close(fds[1]));
    CHECK_EQ(0, close(other[1]));
    test_runtime_free(rt);
}

TEST(tasks_unwind_from_whatever_they_wait_for)
{
    each_flavour(wait_for_everything);
}

END_TEST

/* --- while others go on ----------------------------------------------------------------- */

struct pesterer {
    weft_runtime *rt;
    uint64_t chance;
    atomic_uint *ran;
};

static int count_run(void *ran)
{
    atomic_fetch_add((atomic_uint *)ran, 1);
    return weft_sleep(WEFT_US(50));
}

/* Spawns until it is refused; every handle must come to an end. */
static void *pester(void *arg)
{
    struct pesterer *p = arg;

    enum { KEPT = 64 };

    weft_task *kept[KEPT];
    weft_metrics m;
    size_t n = 0;
    int rc;

    do {
        if (n == KEPT || (n && test_rand(&p->chance) % 8 == 0)) {
            weft_cancel(kept[--n]);
            weft_detach(kept[n]);
        }
        if (test_rand(&p->chance) % 4 == 0) {
            rc = weft_spawn_on(p->rt, NULL, NULL, count_run, p->ran);
        } else {
            rc = weft_spawn_on(p->rt, &kept[n], NULL, count_run, p->ran);
            n += rc == 0;
        }
        CHECK(rc == 0 || rc == -ESHUTDOWN);
        CHECK_EQ(0, weft_metrics_snapshot(p->rt, &m));
        if (m.alive > 2000) /* let them run */
            pause_ms(1);
    } while (rc == 0);
    while (n > 0) {
        int result;

        CHECK_EQ(0, weft_join_blocking(kept[--n], &result));
        CHECK(result == 0 || result == -ECANCELED);
    }
    return NULL;
}

TEST(spawning_through_a_shutdown_leaves_nothing_behind)
{
    unsigned before = open_descriptors();

    for (uint64_t round = 0; round < test_scaled(60); round++) {
        weft_runtime *rt = test_runtime_new(&test_flavours[round % test_flavour_count]);
        struct pesterer p[3];
        pthread_t threads[3];
        atomic_uint ran = 0;

        for (size_t i = 0; i < 3; i++) {
            p[i] = (struct pesterer){rt, test_seed() + i + round * 8, &ran};
            thread_start(&threads[i], pester, &p[i]);
        }
        if (weft_runtime_flavor(rt) == WEFT_CURRENT_THREAD)
            CHECK_EQ(0, weft_block_on(rt, count_run, &ran, NULL));
        while (weft_runtime_flavor(rt) != WEFT_CURRENT_THREAD && atomic_load(&ran) < 50)
            pause_ms(1);
        CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
        for (size_t i = 0; i < 3; i++)
            thread_join(threads[i]);
        test_runtime_free(rt);
    }
    CHECK_EQ(before, open_descriptors());
}

END_TEST

struct kept_waker {
    atomic_bool there, over;
    weft_waker waker;
};

static weft_poll keep_waker_poll(weft_future *f, weft_context *cx)
{
    struct kept_waker *k = (struct kept_waker *)f->words[0];

    if (!atomic_load(&k->there)) {
        k->waker = weft_context_waker(cx);
        atomic_store(&k->there, true);
    }
    return WEFT_PENDING;
}

static void keep_waker_drop(weft_future *f)
{
    (void)f;
}

static const weft_future_type keep_waker_type = {keep_waker_poll, keep_waker_drop, "keep waker"};

static int give_waker(void *arg)
{
    weft_future f = weft_future_of(&keep_waker_type);

    f.words[0] = (uintptr_t)arg;
    return (int)weft_await(&f);
}

static void *wake_on_and_on(void *arg)
{
    struct kept_waker *k = arg;

    while (!atomic_load(&k->there))
        pause_ms(1);
    while (!atomic_load(&k->over))
        weft_waker_wake_by_ref(&k->waker);
    return NULL;
}

TEST(handles_and_wakers_outlive_the_runtime)
{
    for (uint64_t round = 0; round < test_scaled(40); round++) {
        const struct test_flavour *flavour = &test_flavours[round % test_flavour_count];
        struct kept_waker k = {0};
        weft_runtime *rt = test_runtime_new(flavour);
        weft_task *t, *more;
        weft_task_info info;
        pthread_t waker;
        weft_waker copy;

        CHECK_EQ(0, weft_spawn_on(rt, &t, &(weft_task_options){.name = "kept"}, give_waker, &k));
        thread_start(&waker, wake_on_and_on, &k);
        while (!atomic_load(&k.there))
            if (flavour->flavor == WEFT_CURRENT_THREAD)
                CHECK_EQ(0, weft_block_on(rt, yields, NULL, NULL));
        copy = weft_waker_clone(&k.waker);
        test_runtime_free(rt);

        /* The runtime is gone, and the thread still wakes. */
        weft_waker_wake_by_ref(&copy);
        atomic_store(&k.over, true);
        thread_join(waker);
        CHECK(weft_waker_same(&copy, &k.waker));
        weft_waker_wake(&copy);
        weft_waker_drop(&k.waker);
        weft_cancel(t);
        CHECK(weft_is_finished(t));
        CHECK_STR("kept", weft_task_name(t));
        CHECK_EQ(0, weft_task_get_info(t, &info));
        CHECK_EQ(WEFT_TASK_FINISHED, info.state);
        more = weft_task_ref(t);
        CHECK_EQ(-ECANCELED, join_blocking(t));
        weft_detach(more);
    }
}

END_TEST

static int some_use(void *unused)
{
    weft_listener *l;
    weft_stream *a, *b;
    weft_addr where;

    (void)unused;
    CHECK_EQ(0, weft_listen(&l, "127.0.0.1:0", NULL));
    CHECK_EQ(0, weft_listener_addr(l, &where));
    CHECK_EQ(0, weft_tcp_connect(&a, &where, NULL));
    CHECK_EQ(0, weft_accept(l, &b));
    CHECK_EQ(0, weft_stream_set_linger(a, 0));
    CHECK_EQ(0, weft_close(a));
    CHECK_EQ(0, weft_close(b));
    CHECK_EQ(0, weft_listener_close(l));
    CHECK_EQ(0, weft_go(forever, NULL));
    return weft_sleep(WEFT_US(10));
}

TEST(a_hundred_runtimes_leave_no_descriptor)
{
    unsigned before = open_descriptors();

    for (uint64_t i = 0; i < test_scaled(100); i++)
        test_run_on(&test_flavours[i % test_flavour_count], some_use, NULL);
    CHECK_EQ(before, open_descriptors());
}

END_TEST

static int idlers_dropped;

struct idler {
    weft_async async;
    weft_future f;
};

static weft_poll idler_poll(void *state, weft_context *cx)
{
    struct idler *i = state;

    WEFT_ASYNC_BEGIN(i);
    i->f = weft_sleep_future(WEFT_SECS(1000));
    WEFT_AWAIT(i, cx, &i->f);
    WEFT_RETURN(i, 0);
    WEFT_ASYNC_END(i);
}

static void idler_drop(void *state)
{
    (void)state;
    idlers_dropped++;
}

static const weft_async_type idler_type = {idler_poll, idler_drop, sizeof(struct idler), "idler"};

static int idlers(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++)
        CHECK_EQ(0, weft_go_async(&idler_type, &(struct idler){0}));
    CHECK_EQ(0, weft_yield());
    for (int i = 0; i < 50; i++) /* never polled before the end */
        CHECK_EQ(0, weft_go_async(&idler_type, &(struct idler){0}));
    return 0;
}

TEST(stackless_tasks_are_dropped_once)
{
    test_run_alone(idlers, NULL);
    CHECK_EQ(200, idlers_dropped); /* 100 on each */
}

END_TEST

static int shut_down_other(void *rt)
{
    CHECK_EQ(0, weft_runtime_shutdown(rt, WEFT_FOREVER));
    weft_runtime_free(rt);
    return 0;
}

TEST(a_task_may_end_another_runtime)
{
    weft_config config = {.worker_threads = 2, .ignore_env = WEFT_ON};
    weft_runtime *other;
    weft_task *t;

    CHECK_EQ(0, weft_runtime_new(&other, &config));
    CHECK_EQ(0, weft_spawn_on(other, &t, NULL, forever, NULL));
    test_run_on(&two_workers, shut_down_other, other);
    CHECK_EQ(-ECANCELED, join_blocking(t));
    weft_runtime_free(NULL);
    CHECK_EQ(-EINVAL, weft_runtime_shutdown(NULL, 0));
}

END_TEST

TEST_MAIN("shutdown", shutdown_cancels_every_task, a_task_may_begin_the_shutdown,
          several_threads_may_shut_down_at_once, a_task_that_ignores_cancel_is_named_at_the_limit,
          a_blocked_thread_is_left_behind_and_cleans_up, a_task_may_free_its_runtime,
          a_task_may_free_its_runtime_before_its_spawn_returns, waiting_block_ons_are_released,
          tasks_unwind_from_whatever_they_wait_for,
          spawning_through_a_shutdown_leaves_nothing_behind, handles_and_wakers_outlive_the_runtime,
          a_hundred_runtimes_leave_no_descriptor, stackless_tasks_are_dropped_once,
          a_task_may_end_another_runtime)
