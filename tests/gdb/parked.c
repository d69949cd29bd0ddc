/* SPDX-License-Identifier: MIT */
/*
 * parked.c - tasks in every position that a debugger may meet, for run.sh: waiting deep in functions
 * with known names, running, never begun, pinned, stackless. Says when all are in place. A letter
 * on standard input makes it abort, and leave a core; at the end of the input it ends.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#if defined(__clang__)
# define NOINLINE __attribute__((noinline))
#else
# define NOINLINE __attribute__((noinline, noclone))
#endif

static atomic_int in_place;
static atomic_bool over;
static int never_written[2];

/* What follows a call keeps it from being a jump, which leaves no frame. */
static void stay(void)
{
    __asm__ volatile("" ::: "memory");
}

/* --- a fiber that sleeps, three functions deep ------------------------------------- */

NOINLINE static int sleep_in_the_third(int depth)
{
    int secret = depth * 100 + 42;

    atomic_fetch_add(&in_place, 1);
    depth = weft_sleep(WEFT_SECS(3600));
    __asm__ volatile("" ::"r"(&secret) : "memory");
    return depth + secret * 0;
}

NOINLINE static int call_the_third(int depth)
{
    int rc = sleep_in_the_third(depth + 1);

    stay();
    return rc;
}

static int sleeper(void *unused)
{
    int rc = call_the_third(1);

    (void)unused;
    stay();
    return rc;
}

/* --- one that reads, and one that joins it ------------------------------------------ */

NOINLINE static ssize_t read_in_vain(weft_stream *s)
{
    char byte;
    ssize_t n;

    atomic_fetch_add(&in_place, 1);
    n = weft_read(s, &byte, 1);
    stay();
    return n;
}

static int reader(void *unused)
{
    weft_stream *s = NULL;
    ssize_t n;

    (void)unused;
    if (weft_stream_from_fd(&s, never_written[0]) < 0)
        abort();
    n = read_in_vain(s);
    weft_close(s);
    return (int)n;
}

static int joiner(void *task)
{
    int result = 0, rc;

    atomic_fetch_add(&in_place, 1);
    rc = weft_join(task, &result);
    return rc < 0 ? rc : result;
}

/* --- one that computes, one without a stack, one that is never polled ----------------- */

NOINLINE static void spin_in_place(void)
{
    atomic_fetch_add(&in_place, 1);
    while (!atomic_load(&over))
        stay();
}

static int nobody_else_polls(void *unused)
{
    (void)unused;
    return 0;
}

static int spinner(void *unused)
{
    (void)unused;
    weft_detach(weft_spawn_local(nobody_else_polls, NULL));
    spin_in_place();
    return 0;
}

struct napper {
    weft_async async;
    weft_future sleep;
};

static weft_poll nap(void *self, weft_context *cx)
{
    struct napper *n = self;

    WEFT_ASYNC_BEGIN(n);
    atomic_fetch_add(&in_place, 1);
    n->sleep = weft_sleep_future(WEFT_SECS(3600));
    WEFT_AWAIT(n, cx, &n->sleep);
    WEFT_ASYNC_END(n);
}

static const weft_async_type napper_type = {.poll = nap, .size = sizeof(struct napper)};

static int newcomer(void *unused)
{
    (void)unused;
    return 0;
}

/* --- all of them ------------------------------------------------------------------------ */

int main(void)
{
    /* One that is not relieved: what is ready stays so. */
    weft_config config = {.worker_threads = 1,
                          .stall_blocked = WEFT_FOREVER,
                          .stall_computing = WEFT_FOREVER,
                          .ignore_env = WEFT_ON};
    weft_task_options named = {.name = "the sleeper"};
    weft_runtime *rt = NULL;
    weft_task *tasks[6];
    char byte;

    /* Where Yama lets only parents attach, gdb, which is no parent of ours, may. */
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, never_written) != 0 ||
        weft_runtime_new(&rt, &config) != 0)
        return EXIT_FAILURE;
    if (weft_spawn_on(rt, &tasks[0], &named, sleeper, NULL) != 0 ||
        weft_spawn_on(rt, &tasks[1], NULL, reader, NULL) != 0 ||
        weft_spawn_on(rt, &tasks[2], NULL, joiner, weft_task_ref(tasks[1])) != 0 ||
        weft_spawn_async_on(rt, &tasks[3], NULL, &napper_type, &(struct napper){{0}, {0}}) != 0)
        return EXIT_FAILURE;
    while (atomic_load(&in_place) < 4)
        (void)usleep(1000);
    /* The only worker is busy from here on, so the last one waits for its first poll. */
    if (weft_spawn_on(rt, &tasks[4], NULL, spinner, NULL) != 0)
        return EXIT_FAILURE;
    while (atomic_load(&in_place) < 5)
        (void)usleep(1000);
    if (weft_spawn_on(rt, &tasks[5], NULL, newcomer, NULL) != 0)
        return EXIT_FAILURE;

    (void)printf("ready\n");
    (void)fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) != 0)
        abort();

    atomic_store(&over, true);
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
        weft_detach(tasks[i]);
    (void)weft_runtime_shutdown(rt, WEFT_SECS(10));
    weft_runtime_free(rt);
    return EXIT_SUCCESS;
}
