/* SPDX-License-Identifier: MIT */
/*
 * lock.h - what the tests of locks share: tasks that hold one, and knowing that somebody waits.
 */
#ifndef TEST_LOCK_H
#define TEST_LOCK_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

/* A debug library explains each mistake on stderr, and every library an owner's death: not here. */
static inline void hush(void)
{
    int fd = open("/dev/null", O_WRONLY);

    CHECK(fd >= 0);
    CHECK(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

/* Until t waits for something: it does nothing but wait for the mutex. */
static inline void until_waiting(const weft_task *t)
{
    weft_task_info info;

    do {
        CHECK_EQ(0, weft_yield());
        CHECK_EQ(0, weft_task_get_info(t, &info));
        CHECK(info.state != WEFT_TASK_FINISHED);
    } while (info.state != WEFT_TASK_IDLE);
}

static inline int result_of(weft_task *t)
{
    int result = 99;

    CHECK_EQ(0, weft_join(t, &result));
    return result;
}

static inline int lock_and_unlock(void *arg)
{
    weft_mutex *m = arg;
    int rc = weft_mutex_lock(m);

    if (rc == 0 || rc == -EOWNERDEAD)
        CHECK_EQ(0, weft_mutex_unlock(m));
    return rc;
}

/* Holds the mutex until it is told to go on. */
struct holder {
    weft_mutex *mutex;
    atomic_bool holds, go_on;
    bool dies;
};

static inline int hold(void *arg)
{
    struct holder *h = arg;

    CHECK_EQ(0, weft_mutex_lock(h->mutex));
    atomic_store(&h->holds, true);
    while (!atomic_load(&h->go_on))
        CHECK_EQ(0, weft_yield());
    if (!h->dies)
        CHECK_EQ(0, weft_mutex_unlock(h->mutex));
    return 0;
}

static inline weft_task *holder_start(struct holder *h, weft_mutex *m, bool dies)
{
    weft_task *t;

    *h = (struct holder){.mutex = m, .dies = dies};
    t = weft_spawn(hold, h);
    while (!atomic_load(&h->holds))
        CHECK_EQ(0, weft_yield());
    return t;
}

static inline void holder_end(struct holder *h, weft_task *t)
{
    atomic_store(&h->go_on, true);
    CHECK_EQ(0, result_of(t));
}

/* A future of this task that waits for m, and is left so. */
static inline void keep_waiting(weft_future *lock, weft_mutex *m)
{
    weft_future yield = weft_yield_future();

    *lock = weft_mutex_lock_future(m);
    CHECK_EQ(1, weft_select_keep(lock, &yield));
    CHECK(!weft_future_is_ready(lock));
}

#endif
