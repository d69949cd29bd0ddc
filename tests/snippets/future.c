/* SPDX-License-Identifier: MIT */
/* future.c - the README's future of one's own: an event that any thread can set. */
#include <pthread.h>
#include <support.h>

struct event {
    pthread_mutex_t lock;
    bool set;
    weft_waker waker; /* of who waits; at most one */
};

static struct event *event_of(const weft_future *f)
{
    return (struct event *)f->words[0];
}

static weft_poll event_poll(weft_future *f, weft_context *cx)
{
    struct event *e = event_of(f);
    weft_waker old = {0};
    bool set;

    pthread_mutex_lock(&e->lock);
    set = e->set;
    if (!set) {
        old = e->waker;
        e->waker = weft_context_waker(cx);
    }
    pthread_mutex_unlock(&e->lock);
    weft_waker_drop(&old); /* an empty waker may be dropped and woken: nothing happens */
    return set ? WEFT_READY : WEFT_PENDING;
}

/* Once this returns nobody touches the future again. */
static void event_drop(weft_future *f)
{
    struct event *e = event_of(f);
    weft_waker old;

    pthread_mutex_lock(&e->lock);
    old = e->waker;
    e->waker = (weft_waker){0};
    pthread_mutex_unlock(&e->lock);
    weft_waker_drop(&old);
}

static const weft_future_type event_type = {event_poll, event_drop, "event"};

static weft_future event_future(struct event *e)
{
    weft_future f = weft_future_of(&event_type);

    f.words[0] = (uintptr_t)e;
    return f;
}

/* From any thread. No waker is called under the lock. */
static void event_set(struct event *e)
{
    weft_waker waker;

    pthread_mutex_lock(&e->lock);
    e->set = true;
    waker = e->waker;
    e->waker = (weft_waker){0};
    pthread_mutex_unlock(&e->lock);
    weft_waker_wake(&waker);
}

static void *plain_thread(void *arg)
{
    event_set(arg);
    return NULL;
}

static int app(void *arg)
{
    struct event e = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_future f = event_future(&e);
    pthread_t thread;

    (void)arg;
    CHECK_EQ(-ETIMEDOUT, weft_timeout(WEFT_MS(1), &f));
    f = event_future(&e);
    CHECK_EQ(0, pthread_create(&thread, NULL, plain_thread, &e));
    CHECK_EQ(0, weft_await(&f));
    CHECK_EQ(0, pthread_join(thread, NULL));
    f = event_future(&e);
    CHECK_EQ(0, weft_await(&f));
    return 0;
}

TEST(an_event_wakes_who_waits)
{
    test_run(app, NULL);
}

TEST_MAIN("future", an_event_wakes_who_waits)
