/* SPDX-License-Identifier: MIT */
/*
 * machine.c - acts that lean on the machine: tasks that keep the processor or block their thread, deep and
 * large stacks, and a child process.
 */
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void soak_act_hog(struct soak_actor *a)
{
    weft_instant until = weft_now() + WEFT_US(roll(a, 4000));

    /* Who was told to stop does: thousands of these would take a shutdown past its limit. */
    while (weft_now() < until && !weft_is_cancelled())
        if (weft_should_yield() && one_in(a, 4) && !soak_expect(0, weft_yield(), "yield"))
            return;
}

void soak_act_block(struct soak_actor *a)
{
    struct timespec t = {.tv_nsec = (long)roll(a, 4000000)};

    if (!weft_is_cancelled())
        (void)nanosleep(&t, NULL);
}

/* --- stacks ------------------------------------------------------------------------------ */

#define FRAME  1024
#define MARGIN ((size_t)24 << 10) /* for what the deepest frame calls, and for sanitizers */

/* Fill a frame, go on below it, and look at it again on the way back. */
__attribute__((noinline)) static void dive(struct soak_actor *a, const char *from, size_t depth,
                                           unsigned char mark)
{
    unsigned char frame[FRAME];

    memset(frame, mark, sizeof(frame));
    /* The compiler must not know what becomes of it, or it would make a loop of this. */
    __asm__ volatile("" : : "r"(frame) : "memory");
    /* NOLINTNEXTLINE(misc-no-recursion) */
    if ((size_t)(from - (const char *)frame) < depth)
        dive(a, from, depth, (unsigned char)(mark + 1));
    else
        soak_act_waiting(a);
    for (size_t i = 0; i < sizeof(frame); i += 64)
        CHECK(frame[i] == mark);
}

struct diver {
    uint64_t rand;
    size_t stack_size;
};

static int diver_run(void *arg)
{
    struct diver *d = arg;
    struct soak_actor a = {.rand = d->rand};
    char here;

    dive(&a, &here, (d->stack_size - MARGIN) / 100 * (1 + roll(&a, 90)), 1);
    return 0;
}

static void dive_in(struct soak_actor *a, size_t stack_size)
{
    weft_task_options o = {.name = "diver", .stack_size = stack_size};
    struct diver d = {.rand = test_rand(&a->rand) | 1, .stack_size = stack_size};
    weft_task *t = weft_spawn_copy_with(&o, diver_run, &d, sizeof(d));

    CHECK(t);
    soak_join_value(t, 0, false);
}

void soak_act_deep(struct soak_actor *a)
{
    dive_in(a, (size_t)64 << (10 + roll(a, 4)));
}

void soak_act_large(struct soak_actor *a)
{
    dive_in(a, (size_t)1 << (20 + roll(a, 5)));
}

/* --- a child process --------------------------------------------------------------------- */

static char machine_self[4096];

/* What is inherited from the parent of this program shall not count. */
void soak_machine_open(void)
{
    ssize_t n = readlink("/proc/self/exe", machine_self, sizeof(machine_self) - 1);

    CHECK(n > 0);
    for (int fd = 3; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0)
            (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    }
}

/* This program again: it says how many descriptors it was left besides the usual three. */
void soak_act_exec(struct soak_actor *a)
{
    pid_t child, got;
    int status = -1;

    (void)a;
    /* An emulator runs this program, but not what it execs. */
    if (weft_is_cancelled() || test_emulated())
        return;
    child = fork();
    if (child == 0) {
        (void)execl(machine_self, machine_self, "--count-descriptors", (char *)NULL);
        _exit(127);
    }
    CHECK(child > 0);
    do
        got = waitpid(child, &status, 0);
    while (got < 0 && errno == EINTR);
    CHECK_EQ(child, got);
    CHECK(WIFEXITED(status));
    CHECK_EQ(0, WEXITSTATUS(status));
}
