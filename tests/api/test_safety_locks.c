/* SPDX-License-Identifier: MIT */
/*
 * test_safety_locks.c - whoever gives up a lock, a permit, a notification or a place in line leaves it to the next one:
 * safety.h has the ways.
 */
#include "support.h"

#include <stdatomic.h>

struct safety_bed {
    weft_mutex mutex;
    weft_rwlock rwlock;
    weft_semaphore semaphore;
    weft_notify notify;
    weft_condvar condvar;
    weft_barrier barrier;
    bool filled; /* under the mutex */
};

#include "safety.h"

static void nothing(struct bed *b)
{
    (void)b;
}

/* --- mutex, rwlock: handed on by who has had it ------------------------------------------------ */

static void mutex_held(struct bed *b)
{
    CHECK_EQ(0, weft_mutex_init(&b->on.mutex, "the bed's"));
    CHECK_EQ(0, weft_mutex_lock(&b->on.mutex));
}

static void mutex_unlock(struct bed *b)
{
    CHECK_EQ(0, weft_mutex_unlock(&b->on.mutex));
}

static void mutex_is_free(struct bed *b)
{
    CHECK_EQ(0, weft_mutex_try_lock(&b->on.mutex));
    mutex_unlock(b);
}

static int mutex_wait(void *bed)
{
    return weft_mutex_lock(&((struct bed *)bed)->on.mutex);
}

static weft_future mutex_future(void *bed)
{
    return weft_mutex_lock_future(&((struct bed *)bed)->on.mutex);
}

static void rwlock_read(struct bed *b)
{
    CHECK_EQ(0, weft_rwlock_init(&b->on.rwlock, "the bed's", 8));
    CHECK_EQ(0, weft_rwlock_read_lock(&b->on.rwlock));
}

static void rwlock_written(struct bed *b)
{
    CHECK_EQ(0, weft_rwlock_init(&b->on.rwlock, "the bed's", 8));
    CHECK_EQ(0, weft_rwlock_write_lock(&b->on.rwlock));
}

static void read_unlock(struct bed *b)
{
    CHECK_EQ(0, weft_rwlock_read_unlock(&b->on.rwlock));
}

static void write_unlock(struct bed *b)
{
    CHECK_EQ(0, weft_rwlock_write_unlock(&b->on.rwlock));
}

static void rwlock_is_free(struct bed *b)
{
    CHECK_EQ(0, weft_rwlock_try_write_lock(&b->on.rwlock));
    write_unlock(b);
}

static int read_wait(void *bed)
{
    return weft_rwlock_read_lock(&((struct bed *)bed)->on.rwlock);
}

static weft_future read_future(void *bed)
{
    return weft_rwlock_read_lock_future(&((struct bed *)bed)->on.rwlock);
}

static int write_wait(void *bed)
{
    return weft_rwlock_write_lock(&((struct bed *)bed)->on.rwlock);
}

static weft_future write_future(void *bed)
{
    return weft_rwlock_write_lock_future(&((struct bed *)bed)->on.rwlock);
}

static const struct row mutex_row = {.set_up = mutex_held,
                                     .wait = mutex_wait,
                                     .future = mutex_future,
                                     .give = mutex_unlock,
                                     .took = mutex_unlock,
                                     .tear_down = mutex_is_free,
                                     .traits = PROMPT | LINE};
static const struct row read_row = {.set_up = rwlock_written,
                                    .wait = read_wait,
                                    .future = read_future,
                                    .give = write_unlock,
                                    .took = read_unlock,
                                    .tear_down = rwlock_is_free,
                                    .traits = PROMPT | LINE};
static const struct row write_row = {.set_up = rwlock_read,
                                     .wait = write_wait,
                                     .future = write_future,
                                     .give = read_unlock,
                                     .took = write_unlock,
                                     .tear_down = rwlock_is_free,
                                     .traits = PROMPT | LINE};

SAFETY(mutex, a_mutex_that_is_given_up_goes_to_the_next)
SAFETY(read, a_lock_for_reading_that_is_given_up_goes_to_the_next)
SAFETY(write, a_lock_for_writing_that_is_given_up_goes_to_the_next)

/* --- semaphore ----------------------------------------------------------------------------------- */

static void no_permits(struct bed *b)
{
    CHECK_EQ(0, weft_semaphore_init(&b->on.semaphore, 0));
}

static void give_permit(struct bed *b)
{
    CHECK_EQ(0, weft_semaphore_release(&b->on.semaphore, 1));
}

/* One by one: who gives up in between gives back what it had collected. */
static void give_three(struct bed *b)
{
    for (int i = 0; i < 3; i++)
        give_permit(b);
}

static void permits_are_left(struct bed *b)
{
    CHECK_EQ(left_over(b), weft_semaphore_available(&b->on.semaphore));
}

static void threes_are_left(struct bed *b)
{
    CHECK_EQ(3 * left_over(b), weft_semaphore_available(&b->on.semaphore));
}

/* Two of the three were there, and one that wanted all has gone. */
static void two_permits(struct bed *b)
{
    no_permits(b);
    give_permit(b);
    give_permit(b);
}

static void give_third(struct bed *b)
{
    give_permit(b);
}

static int acquire_wait(void *bed)
{
    return weft_semaphore_acquire(&((struct bed *)bed)->on.semaphore);
}

static weft_future acquire_future(void *bed)
{
    return weft_semaphore_acquire_future(&((struct bed *)bed)->on.semaphore);
}

static int acquire_three_wait(void *bed)
{
    return weft_semaphore_acquire_many(&((struct bed *)bed)->on.semaphore, 3);
}

static weft_future acquire_three_future(void *bed)
{
    return weft_semaphore_acquire_many_future(&((struct bed *)bed)->on.semaphore, 3);
}

/* And back again, so that the next one in line has them, too. */
static void put_back_three(struct bed *b)
{
    CHECK_EQ(0, weft_semaphore_release(&b->on.semaphore, 3));
}

static void three_or_two_are_there(struct bed *b)
{
    CHECK_EQ(b->given ? 3 : 2, weft_semaphore_available(&b->on.semaphore));
}

static const struct row acquire_row = {.set_up = no_permits,
                                       .wait = acquire_wait,
                                       .future = acquire_future,
                                       .give = give_permit,
                                       .tear_down = permits_are_left,
                                       .traits = PROMPT | LINE | EACH};
static const struct row acquire_many_row = {.set_up = no_permits,
                                            .wait = acquire_three_wait,
                                            .future = acquire_three_future,
                                            .give = give_three,
                                            .tear_down = threes_are_left,
                                            .traits = PROMPT | LINE | EACH};
static const struct row acquire_rest_row = {.set_up = two_permits,
                                            .wait = acquire_three_wait,
                                            .future = acquire_three_future,
                                            .give = give_third,
                                            .took = put_back_three,
                                            .tear_down = three_or_two_are_there,
                                            .traits = PROMPT | LINE};

SAFETY(acquire, a_permit_that_is_given_up_goes_to_the_next)
SAFETY(acquire_many, permits_that_are_given_up_go_to_the_next)
SAFETY(acquire_rest, permits_that_were_collected_go_to_the_next)

/* --- notify, condvar, barrier --------------------------------------------------------------------- */

static void give_notification(struct bed *b)
{
    weft_notify_one(&b->on.notify);
}

static void give_to_newest(struct bed *b)
{
    weft_notify_last(&b->on.notify);
}

static void give_to_all(struct bed *b)
{
    weft_notify_waiters(&b->on.notify);
}

/* At most one is stored. */
static void notification_is_left(struct bed *b)
{
    weft_future told = weft_notify_wait_future(&b->on.notify);

    CHECK_EQ(left_over(b) > 0, weft_notify_enable(&told));
    weft_future_drop(&told);
}

static void no_notification_is_left(struct bed *b)
{
    weft_future told = weft_notify_wait_future(&b->on.notify);

    CHECK(!weft_notify_enable(&told));
    weft_future_drop(&told);
}

static int notify_wait(void *bed)
{
    return weft_notify_wait(&((struct bed *)bed)->on.notify);
}

static weft_future notify_future(void *bed)
{
    return weft_notify_wait_future(&((struct bed *)bed)->on.notify);
}

static void give_signal(struct bed *b)
{
    weft_condvar_signal(&b->on.condvar);
}

static int condvar_wait(void *bed)
{
    struct bed *b = bed;
    int rc, locked = weft_mutex_lock(&b->on.mutex);

    if (locked < 0)
        return locked;
    rc = weft_condvar_wait(&b->on.condvar, &b->on.mutex);
    CHECK(weft_mutex_is_held(&b->on.mutex)); /* whatever it returns */
    CHECK_EQ(0, weft_mutex_unlock(&b->on.mutex));
    return rc;
}

static weft_future condvar_future(void *bed)
{
    return weft_condvar_wait_future(&((struct bed *)bed)->on.condvar);
}

static bool is_empty(void *bed)
{
    return !((struct bed *)bed)->on.filled;
}

/* Who waits has given the mutex up, or is about to have it for a moment. */
static void give_filling(struct bed *b)
{
    int rc = -1;

    WEFT_LOCK_SCOPE(&b->on.mutex, &rc)
    {
        b->on.filled = true;
    }
    CHECK_EQ(0, rc);
    weft_condvar_broadcast(&b->on.condvar);
}

static int wait_while_wait(void *bed)
{
    struct bed *b = bed;
    int rc, locked = weft_mutex_lock(&b->on.mutex);

    if (locked < 0)
        return locked;
    rc = weft_condvar_wait_while(&b->on.condvar, &b->on.mutex, is_empty, b);
    CHECK(weft_mutex_is_held(&b->on.mutex));
    CHECK_EQ(0, weft_mutex_unlock(&b->on.mutex));
    return rc;
}

static void barrier_of_two(struct bed *b)
{
    weft_barrier_init(&b->on.barrier, 2);
}

/* The last one does not wait. */
static void give_company(struct bed *b)
{
    CHECK_EQ(1, weft_barrier_wait(&b->on.barrier));
}

/* Nobody who has gone counts. */
static void nobody_has_come(struct bed *b)
{
    weft_future f = weft_barrier_wait_future(&b->on.barrier), ready = weft_ready_future(0);

    CHECK_EQ(1, weft_select_biased(&f, &ready));
}

static int barrier_wait(void *bed)
{
    return weft_barrier_wait(&((struct bed *)bed)->on.barrier);
}

static weft_future barrier_future(void *bed)
{
    return weft_barrier_wait_future(&((struct bed *)bed)->on.barrier);
}

static const struct row notify_row = {.set_up = nothing,
                                      .wait = notify_wait,
                                      .future = notify_future,
                                      .give = give_notification,
                                      .tear_down = notification_is_left,
                                      .traits = PROMPT | LINE | EACH};
static const struct row notify_last_row = {.set_up = nothing,
                                           .wait = notify_wait,
                                           .future = notify_future,
                                           .give = give_to_newest,
                                           .tear_down = notification_is_left,
                                           .traits = PROMPT};
static const struct row notify_all_row = {.set_up = nothing,
                                          .wait = notify_wait,
                                          .future = notify_future,
                                          .give = give_to_all,
                                          .tear_down = no_notification_is_left,
                                          .traits = PROMPT | LINE | MEETS};
static const struct row condvar_row = {.set_up = nothing,
                                       .wait = condvar_wait,
                                       .future = condvar_future,
                                       .give = give_signal,
                                       .tear_down = mutex_is_free,
                                       .traits = PROMPT | LINE | EACH | MEETS};
static const struct row wait_while_row = {.set_up = nothing,
                                          .wait = wait_while_wait,
                                          .give = give_filling,
                                          .tear_down = mutex_is_free,
                                          .traits = PROMPT | LINE};
static const struct row barrier_row = {.set_up = barrier_of_two,
                                       .wait = barrier_wait,
                                       .future = barrier_future,
                                       .give = give_company,
                                       .tear_down = nobody_has_come,
                                       .traits = PROMPT | MEETS};

SAFETY(notify, a_notification_that_is_given_up_goes_to_the_next)
SAFETY(notify_last, a_notification_of_the_newest_that_is_given_up_is_stored)
SAFETY(notify_all, a_notification_of_all_can_be_given_up)
SAFETY(condvar, a_signal_that_is_given_up_goes_to_the_next)
SAFETY(wait_while, a_wait_for_a_condition_ends_well_if_it_holds)
SAFETY(barrier, who_gives_up_has_not_come_to_the_barrier)

TEST_MAIN("safety_locks", a_mutex_that_is_given_up_goes_to_the_next,
          a_lock_for_reading_that_is_given_up_goes_to_the_next,
          a_lock_for_writing_that_is_given_up_goes_to_the_next,
          a_permit_that_is_given_up_goes_to_the_next, permits_that_are_given_up_go_to_the_next,
          permits_that_were_collected_go_to_the_next,
          a_notification_that_is_given_up_goes_to_the_next,
          a_notification_of_the_newest_that_is_given_up_is_stored,
          a_notification_of_all_can_be_given_up, a_signal_that_is_given_up_goes_to_the_next,
          a_wait_for_a_condition_ends_well_if_it_holds, who_gives_up_has_not_come_to_the_barrier)
