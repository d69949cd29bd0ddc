/* SPDX-License-Identifier: MIT */
/* locks.c - the README on locks: one mutex over an await, one semaphore over many tasks. */
#include <support.h>

static struct {
    weft_mutex mutex;
    int balance;
} account; /* zeros are an unlocked mutex */

static weft_semaphore at_once = WEFT_SEMAPHORE_INIT(2);

static int deposit(int amount)
{
    int rc;

    WEFT_LOCK_SCOPE(&account.mutex, &rc)
    {
        int failed = weft_sleep(WEFT_US(10)); /* others run, and wait for the mutex */

        if (failed < 0)
            return failed; /* it is unlocked on the way */
        account.balance += amount;
    }
    return rc;
}

static int one_of_many(void *arg)
{
    int rc = weft_semaphore_acquire(&at_once); /* at most two are inside */

    if (rc < 0)
        return rc;
    rc = deposit(*(const int *)arg);
    weft_semaphore_release(&at_once, 1);
    return rc;
}

static int app(void *arg)
{
    int amount = 5, rc;

    (void)arg;
    account.balance = 0;
    WEFT_SCOPE(s, &rc)
    {
        for (int i = 0; i < 10; i++)
            weft_scope_spawn(s, one_of_many, &amount);
    }
    CHECK_EQ(0, rc);
    CHECK_EQ(50, account.balance);
    return 0;
}

TEST(deposits_add_up)
{
    test_run(app, NULL);
}

TEST_MAIN("locks", deposits_add_up)
