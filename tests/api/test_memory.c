/* SPDX-License-Identifier: MIT */
/*
 * test_memory.c - when there is no room for stacks.
 *
 * IDEA     The address space of this test's process is limited to a little more than it has, and
 *          tasks ask for stacks of which few have room. Sanitizers and Valgrind need the
 *          address space themselves.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
# define SANITIZED true
#endif
#ifndef SANITIZED
# define SANITIZED false
#endif

#define MIB   ((size_t)1 << 20)
#define STACK (64 * MIB)
#define ROOM  (4 * STACK)
#define TASKS 32

static size_t address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    size_t pages = 0;

    CHECK(f != NULL);
    CHECK_EQ(1, fscanf(f, "%zu", &pages));
    CHECK_EQ(0, fclose(f));
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

struct crowd {
    atomic_int inside;
    atomic_bool over;
};

/* Keeps its stack until it is told. */
static int hold(void *arg)
{
    struct crowd *c = arg;

    atomic_fetch_add(&c->inside, 1);
    while (!atomic_load(&c->over)) {
        int rc = weft_yield();

        if (rc < 0)
            return rc;
    }
    return 1;
}

struct napper {
    weft_async async; /* comes first */
    weft_future nap;
};

static weft_poll napper_poll(void *self, weft_context *cx)
{
    struct napper *n = self;

    WEFT_ASYNC_BEGIN(n);
    n->nap = weft_sleep_future(WEFT_US(100));
    WEFT_AWAIT(n, cx, &n->nap);
    WEFT_RETURN(n, 5);
    WEFT_ASYNC_END(n);
}

static const weft_async_type napper_type = {.poll = napper_poll,
                                            .size = sizeof(struct napper),
                                            .name = "napper"};

/* Tasks that have ended, though nobody lets them: they got no stack. */
static int refused(weft_task *const tasks[])
{
    int n = 0;

    for (int i = 0; i < TASKS; i++)
        n += weft_is_finished(tasks[i]);
    return n;
}

static int crowded(void *arg)
{
    weft_task_options large = {.stack_size = STACK};
    static struct crowd c; /* also for a task that nobody joins */
    weft_task *tasks[TASKS];
    int held = 0, without = 0, result;

    (void)arg;
    atomic_store(&c.inside, 0);
    atomic_store(&c.over, false);
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = weft_spawn_with(&large, hold, &c);
        CHECK(tasks[i] != NULL); /* a stack is not asked for before the first poll */
    }
    while (atomic_load(&c.inside) + refused(tasks) < TASKS)
        CHECK_EQ(0, weft_yield());
    CHECK(refused(tasks) > TASKS / 2);

    /* What needs no stack goes on as before; so does the small, of which some are there. */
    CHECK_EQ(0, weft_join(weft_spawn_async(&napper_type, &(struct napper){0}), &result));
    CHECK_EQ(5, result);
    CHECK_EQ(0, weft_go_with(&large, hold, &c)); /* nobody is told; nothing breaks */
    CHECK_EQ(0, weft_sleep(WEFT_US(100)));

    atomic_store(&c.over, true);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join(tasks[i], &result));
        CHECK(result == 1 || result == -ENOMEM);
        held += result == 1;
        without += result == -ENOMEM;
    }
    CHECK(held >= 1);
    CHECK(without > TASKS / 2);
    return 0;
}

static int roomy(void *arg)
{
    weft_task_options large = {.stack_size = STACK};
    struct crowd c = {.over = true};
    int result = 0;

    (void)arg;
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(0, weft_join(weft_spawn_with(&large, hold, &c), &result));
        if (result != 1)
            return result;
    }
    return 0;
}

static void run_crowded(const struct test_flavour *flavour)
{
    weft_runtime *rt = test_runtime_new(flavour);
    struct rlimit before, tight;
    int result = -1;

    CHECK_EQ(0, getrlimit(RLIMIT_AS, &before));
    tight = before;
    tight.rlim_cur = address_space() + ROOM;
    CHECK_EQ(0, setrlimit(RLIMIT_AS, &tight));
    CHECK_EQ(0, weft_block_on(rt, crowded, NULL, &result));
    CHECK_EQ(0, result);
    /* One after the other they all have room, even now; but free stacks may lie where another
     * worker put them. */
    CHECK_EQ(0, weft_block_on(rt, roomy, NULL, &result));
    CHECK(result == 0 || (result == -ENOMEM && flavour->workers > 1));
    CHECK_EQ(0, setrlimit(RLIMIT_AS, &before));
    CHECK_EQ(0, weft_block_on(rt, roomy, NULL, &result));
    CHECK_EQ(0, result);
    test_runtime_free(rt);
}

TEST(a_task_for_which_there_is_no_stack_ends_with_enomem)
{
    if (SANITIZED || ON_VALGRIND)
        TEST_SKIP("sanitizers and Valgrind need the address space");
    if (test_emulated())
        TEST_SKIP("an emulated process is not held to RLIMIT_AS");
    for (size_t i = 0; i < test_flavour_count; i++)
        run_crowded(&test_flavours[i]);
}

END_TEST

TEST_MAIN("memory", a_task_for_which_there_is_no_stack_ends_with_enomem)
