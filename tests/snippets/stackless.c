/* SPDX-License-Identifier: MIT */
/* stackless.c - the README's stackless task. */
#include <support.h>

struct ticker {
    weft_async async; /* first */
    weft_future nap;
    int i;
};

static weft_poll ticker_poll(void *self, weft_context *cx)
{
    struct ticker *t = self;

    WEFT_ASYNC_BEGIN(t);
    for (t->i = 0; t->i < 10; t->i++) {
        t->nap = weft_sleep_future(WEFT_MS(1));
        WEFT_AWAIT(t, cx, &t->nap);
    }
    WEFT_RETURN(t, t->i);
    WEFT_ASYNC_END(t);
}

static const weft_async_type ticker_type = {
    .poll = ticker_poll,
    .size = sizeof(struct ticker),
    .name = "ticker",
};

static weft_task *start_ticker(void)
{
    return weft_spawn_async(&ticker_type, &(struct ticker){0}); /* the state is copied */
}

static int app(void *arg)
{
    int result;

    (void)arg;
    CHECK_EQ(0, weft_join(start_ticker(), &result));
    CHECK_EQ(10, result);
    return 0;
}

TEST(a_ticker_ticks_ten_times)
{
    test_run(app, NULL);
}

TEST_MAIN("stackless", a_ticker_ticks_ten_times)
