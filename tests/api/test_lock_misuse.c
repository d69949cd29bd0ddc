/* SPDX-License-Identifier: MIT */
/*
 * test_lock_misuse.c - every call on locks with arguments that are NULL or out of range, and from where it does not
 * belong: the code that is documented, and no crash. In a fiber, a stackless task, and on a plain thread.
 */
#include "lock.h"

#include <string.h>

static void claim_ready(weft_future f, int result)
{
    weft_context cx = weft_context_of(NULL);

    CHECK(weft_future_poll(&f, &cx) == WEFT_READY);
    CHECK_EQ(result, f.result);
}

/* --- the same everywhere --------------------------------------------------------------------- */

static void refuse_mutexes(void)
{
    weft_lock_scope scope;
    int rc = 0;

    CHECK_EQ(-EINVAL, weft_mutex_init(NULL, "name"));
    CHECK_EQ(-EINVAL, weft_mutex_lock(NULL));
    CHECK_EQ(-EINVAL, (weft_mutex_lock)(NULL));
    CHECK_EQ(-EINVAL, weft_mutex_try_lock(NULL));
    CHECK_EQ(-EINVAL, weft_mutex_lock_blocking(NULL));
    claim_ready(weft_mutex_lock_future(NULL), -EINVAL);
    CHECK_EQ(-EINVAL, weft_mutex_unlock(NULL));
    CHECK(!weft_mutex_is_held(NULL));
    CHECK(weft_lock_scope_enter(NULL, &scope, NULL, &rc) == NULL);
    CHECK_EQ(-EINVAL, rc);
    weft_lock_scope_leave(&scope);
    CHECK(weft_lock_scope_enter(NULL, NULL, NULL, NULL) == NULL);
    weft_lock_scope_leave(NULL);
}

static void refuse_semaphores(void)
{
    const uint64_t many = WEFT_SEMAPHORE_MAX + 1;
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);

    CHECK_EQ(-EINVAL, weft_semaphore_init(NULL, 1));
    CHECK_EQ(-EINVAL, weft_semaphore_init(&s, many));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire(NULL));
    CHECK_EQ(-EINVAL, (weft_semaphore_acquire)(NULL));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_many(NULL, 1));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_many(&s, many));
    CHECK_EQ(-EINVAL, weft_semaphore_try_acquire(NULL));
    CHECK_EQ(-EINVAL, weft_semaphore_try_acquire_many(&s, many));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_blocking(NULL));
    CHECK_EQ(-EINVAL, weft_semaphore_acquire_many_blocking(&s, many));
    claim_ready(weft_semaphore_acquire_future(NULL), -EINVAL);
    claim_ready(weft_semaphore_acquire_many_future(&s, many), -EINVAL);
    CHECK_EQ(-EINVAL, weft_semaphore_release(NULL, 1));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, many));
    CHECK_EQ(-EOVERFLOW, weft_semaphore_release(&s, WEFT_SEMAPHORE_MAX));
    CHECK_EQ(0, weft_semaphore_forget(NULL, 1));
    weft_semaphore_close(NULL);
    CHECK(!weft_semaphore_is_closed(NULL));
    CHECK_EQ(0, weft_semaphore_available(NULL));
    CHECK_EQ(1, weft_semaphore_available(&s));
}

static void refuse_rwlock(weft_rwlock *l)
{
    CHECK_EQ(-EINVAL, weft_rwlock_read_lock(l));
    CHECK_EQ(-EINVAL, weft_rwlock_write_lock(l));
    CHECK_EQ(-EINVAL, (weft_rwlock_write_lock)(l));
    CHECK_EQ(-EINVAL, weft_rwlock_try_read_lock(l));
    CHECK_EQ(-EINVAL, weft_rwlock_try_write_lock(l));
    CHECK_EQ(-EINVAL, weft_rwlock_read_lock_blocking(l));
    CHECK_EQ(-EINVAL, weft_rwlock_write_lock_blocking(l));
    claim_ready(weft_rwlock_read_lock_future(l), -EINVAL);
    claim_ready(weft_rwlock_write_lock_future(l), -EINVAL);
    CHECK_EQ(-EINVAL, weft_rwlock_read_unlock(l));
    CHECK_EQ(-EINVAL, weft_rwlock_write_unlock(l));
    CHECK_EQ(-EINVAL, weft_rwlock_downgrade(l));
}

static void refuse_rwlocks(void)
{
    weft_rwlock l;

    memset(&l, 0, sizeof(l)); /* never initialised */
    refuse_rwlock(NULL);
    refuse_rwlock(&l);
    CHECK_EQ(-EINVAL, weft_rwlock_init(NULL, NULL, 1));
    CHECK_EQ(-EINVAL, weft_rwlock_init(&l, NULL, 0));
    CHECK_EQ(-EINVAL, weft_rwlock_init(&l, NULL, WEFT_RWLOCK_READERS_MAX + 1));
}

/* What is not held is not unlocked. */
static void refuse_unlocks(void)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_rwlock l = WEFT_RWLOCK_INIT;

    CHECK_EQ(-EPERM, weft_mutex_unlock(&m));
    CHECK_EQ(-EPERM, weft_rwlock_read_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_downgrade(&l));
    CHECK_EQ(0, weft_mutex_try_lock(&m));
    CHECK_EQ(0, weft_mutex_unlock(&m));
    CHECK_EQ(-EPERM, weft_mutex_unlock(&m));
    CHECK_EQ(0, weft_rwlock_try_write_lock(&l));
    CHECK_EQ(0, weft_rwlock_write_unlock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_write_unlock(&l));
}

static void refuse_all(void)
{
    refuse_mutexes();
    refuse_semaphores();
    refuse_rwlocks();
    refuse_unlocks();
}

/* --- only from fibers, only from plain threads --------------------------------------------------- */

static void refuse_awaits(void)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    int rc = 0;

    CHECK_EQ(-EPERM, weft_mutex_lock(&m));
    CHECK_EQ(-EPERM, weft_rwlock_read_lock(&l));
    CHECK_EQ(-EPERM, weft_rwlock_write_lock(&l));
    CHECK_EQ(-EPERM, weft_semaphore_acquire(&s));
    CHECK_EQ(-EPERM, weft_semaphore_acquire_many(&s, 0));
    WEFT_LOCK_SCOPE(&m, &rc)
    {
        test_failed(__FILE__, __LINE__, "a block is run without its lock");
    }
    CHECK_EQ(-EPERM, rc);
    CHECK_EQ(1, weft_semaphore_available(&s));
}

static void refuse_blocking(void)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_semaphore s = WEFT_SEMAPHORE_INIT(1);

    CHECK_EQ(-EDEADLK, weft_mutex_lock_blocking(&m));
    CHECK_EQ(-EDEADLK, weft_rwlock_read_lock_blocking(&l));
    CHECK_EQ(-EDEADLK, weft_rwlock_write_lock_blocking(&l));
    CHECK_EQ(-EDEADLK, weft_semaphore_acquire_blocking(&s));
    CHECK_EQ(-EDEADLK, weft_semaphore_acquire_many_blocking(&s, 1));
    CHECK_EQ(1, weft_semaphore_available(&s));
}

static int in_fiber(void *arg)
{
    (void)arg;
    refuse_all();
    refuse_blocking();
    return 0;
}

TEST(in_a_fiber)
{
    hush();
    test_run_on(&test_flavours[0], in_fiber, NULL);
}

struct stackless {
    weft_async async;
};

static weft_poll stackless_poll(void *self, weft_context *cx)
{
    struct stackless *s = self;

    (void)cx;
    WEFT_ASYNC_BEGIN(s);
    refuse_all();
    refuse_awaits();
    refuse_blocking();
    WEFT_RETURN(s, 0);
    WEFT_ASYNC_END(s);
}

static const weft_async_type stackless_type = {.poll = stackless_poll,
                                               .size = sizeof(struct stackless),
                                               .name = "stackless"};

static int spawns_stackless(void *arg)
{
    (void)arg;
    return result_of(weft_spawn_async(&stackless_type, &(struct stackless){{0}}));
}

TEST(in_a_stackless_task)
{
    hush();
    test_run_on(&test_flavours[0], spawns_stackless, NULL);
}

TEST(on_a_plain_thread)
{
    hush();
    refuse_all();
    refuse_awaits();
}

TEST_MAIN("lock_misuse", in_a_fiber, in_a_stackless_task, on_a_plain_thread)
