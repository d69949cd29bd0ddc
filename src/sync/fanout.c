/* SPDX-License-Identifier: MIT */
/* fanout.c - the ends, the waits and the cells of broadcast and watch. What they promise stands in fanout.h. */
#include "sync/fanout.h"

#include "base/log.h"
#include "base/sys.h"
#include "task/await.h"
#include "task/thread_wait.h"

#include <errno.h>

int wf_fanout_init(struct wf_fanout *f, size_t item_size, const weft_channel_options *options,
                   const char *call)
{
    if (item_size > PTRDIFF_MAX / 2)
        return -ENOMEM;
    f->item_size = item_size;
    f->refs = f->senders = 1;
    if (!options)
        return 0;
    if (options->max_items || options->max_bytes || options->warn_at)
        return wf_misuse(-EINVAL, "%s: max_items, max_bytes and warn_at are for queues that grow",
                         call);
    if (options->destroy && !options->copy)
        return wf_misuse(-EINVAL,
                         "%s: values that are destroyed must be copied for each who gets them; "
                         "options.copy is NULL",
                         call);
    f->destroy = options->destroy;
    f->copy = options->copy;
    if (options->name)
        for (size_t i = 0; i < sizeof(f->name) - 1 && options->name[i]; i++)
            f->name[i] = options->name[i];
    return 0;
}

void wf_fanout_put(struct wf_fanout *f)
{
    bool last;

    wf_lock(&f->lock);
    wf_debug_assert(f->refs > 0);
    last = --f->refs == 0;
    wf_unlock(&f->lock);
    if (last)
        f->release(f);
}

void wf_words_store_rest(struct wf_word *to, const void *from, size_t size)
{
    uint64_t word = 0;

    memcpy(&word, from, size);
    /* release: pairs with the acquires in wf_words_load, ORDER (b) of words.h */
    wf_store_u64(to, word, WF_RELEASE);
}

void wf_words_load_rest(void *to, const struct wf_word *from, size_t size)
{
    /* acquire: pairs with the releases in wf_words_store, ORDER (b) of words.h */
    uint64_t word = wf_load_u64(from, WF_ACQUIRE);

    memcpy(to, &word, size);
}

/* --- ends ------------------------------------------------------------------- */

void wf_fanout_add_sender(struct wf_fanout *f)
{
    wf_lock(&f->lock);
    f->senders++;
    f->refs++;
    wf_unlock(&f->lock);
}

void wf_fanout_add_weak(struct wf_fanout *f)
{
    wf_lock(&f->lock);
    f->weak_senders++;
    f->refs++;
    wf_unlock(&f->lock);
}

bool wf_fanout_upgrade(struct wf_fanout *f)
{
    bool open;

    wf_lock(&f->lock);
    open = f->senders > 0; /* F2 */
    if (open) {
        f->senders++;
        f->refs++;
    }
    wf_unlock(&f->lock);
    return open;
}

/* The last sender is closed, and somebody waits with it for the receivers to go: a mistake. */
WF_COLD static void fanout_shut(struct wf_fanout *f, const char *call)
{
    weft_wakeable *target;

    (void)wf_misuse(0, "%s: somebody waits with it for the last receiver to go", call);
    do {
        target = NULL;
        wf_lock(&f->lock);
        if (!wf_waitq_empty(&f->gone))
            target = wf_waitq_take(&f->gone, f->gone.first, WF_WAITER_GRANTED);
        wf_unlock(&f->lock);
        wf_wakeable_wake(target);
    } while (target);
}

void wf_fanout_sender_close(struct wf_fanout *f, const char *call)
{
    bool mistaken;

    wf_lock(&f->lock);
    wf_assert(f->senders > 0);
    if (--f->senders > 0) {
        f->refs--; /* there is another sender's */
        wf_unlock(&f->lock);
        return;
    }
    mistaken = !wf_waitq_empty(&f->gone);
    /* Whoever stands in line came before this, and nobody comes after it. */
    wf_waitq_open(&f->lock, &f->waiting, f->waiting.last ? f->waiting.last->need + 1 : 0);
    if (mistaken)
        fanout_shut(f, call);
    wf_fanout_put(f);
}

void wf_fanout_weak_close(struct wf_fanout *f)
{
    wf_lock(&f->lock);
    wf_assert(f->weak_senders > 0);
    f->weak_senders--;
    wf_unlock(&f->lock);
    wf_fanout_put(f);
}

void wf_fanout_add_receiver(struct wf_fanout *f)
{
    f->receivers++;
    f->refs++;
}

void wf_fanout_sub_receiver(struct wf_fanout *f)
{
    wf_debug_assert(f->receivers > 0);
    if (--f->receivers > 0)
        wf_unlock(&f->lock);
    else
        wf_waitq_open(&f->lock, &f->gone, 1);
}

unsigned wf_fanout_read(const struct wf_fanout *f, const unsigned *count)
{
    struct wf_lock *l = wf_unconst(&f->lock);
    unsigned n;

    wf_lock(l);
    n = *count;
    wf_unlock(l);
    return n;
}

void wf_fanout_fill_info(const struct wf_fanout *f, weft_channel_info *info)
{
    *info = (weft_channel_info){
        .item_size = f->item_size,
        .senders = f->senders,
        .weak_senders = f->weak_senders,
        .receivers = f->receivers,
        .closed = f->senders == 0,
    };
    memcpy(info->name, f->name, sizeof(info->name));
}

/* --- waiting for the last receiver to go ------------------------------------ */

/* Under the lock. GRANTED: the senders are closed, by mistake. RELEASED: the last receiver went, whoever came since. */
static bool gone_look(struct wf_wait *w, ssize_t *result)
{
    struct wf_fanout *f = w->object;

    *result = w->waiter.state == WF_WAITER_GRANTED ? -ESHUTDOWN : 0;
    if (w->waiter.state == WF_WAITER_GRANTED || w->waiter.state == WF_WAITER_RELEASED ||
        f->receivers == 0)
        return true;
    /* It comes into line: until it is ready or dropped. */
    f->refs += w->waiter.state == WF_WAITER_IDLE;
    return false;
}

static weft_poll gone_poll(weft_future *f, weft_context *cx)
{
    struct wf_fanout *o = wf_wait_of(f)->object;

    /* Whatever the budget is: the channel is held from the first poll on. */
    if (wf_wait_poll(f, cx, &o->lock, &o->gone, gone_look) == WEFT_PENDING)
        return WEFT_PENDING;
    wf_coop_spend();
    if (wf_wait_is_placed(f))
        wf_fanout_put(o);
    return WEFT_READY;
}

static void gone_drop(weft_future *f)
{
    struct wf_wait *w = wf_wait_of(f);
    struct wf_fanout *o = w->object;

    wf_wait_leave(w, &o->lock, &o->gone);
    wf_fanout_put(o);
}

static const weft_future_type gone_type = {gone_poll, gone_drop, "no receiver"};

weft_future wf_fanout_closed_future(struct wf_fanout *f)
{
    return (weft_future){.type = &gone_type, .words = {(uintptr_t)f}};
}

int wf_fanout_closed(struct wf_fanout *f, const char *call)
{
    weft_future gone = wf_fanout_closed_future(f);
    struct wf_fiber *fiber;
    int rc = wf_await_enter(&fiber, call);

    return rc < 0 ? rc : (int)wf_await_future(fiber, &gone);
}

int wf_fanout_closed_blocking(struct wf_fanout *f, const char *call)
{
    weft_future gone = wf_fanout_closed_future(f);
    int rc = wf_thread_check_plain(call);

    return rc < 0 ? rc : (int)wf_thread_await(&gone, WEFT_FOREVER);
}

/* --- cells ------------------------------------------------------------------ */

static struct wf_cell *cell_new(struct wf_fanout *f)
{
    size_t size = sizeof(struct wf_cell) + f->item_size;
    struct wf_cell *c = wf_sys_aligned_alloc(WF_CACHE_LINE, (size + WF_CACHE_LINE - 1) /
                                                                WF_CACHE_LINE * WF_CACHE_LINE);

    if (c)
        *c = (struct wf_cell){.home = f};
    return c;
}

static void cell_free(struct wf_fanout *f, struct wf_cell *c)
{
    c->next = f->free;
    f->free = c;
}

/* Under the lock. */
static void cell_add(struct wf_fanout *f, struct wf_cell *c)
{
    c->all = f->all;
    f->all = c;
    cell_free(f, c);
}

int wf_cells_reserve(struct wf_fanout *f, unsigned count)
{
    while (count-- > 0) {
        struct wf_cell *c = cell_new(f);

        if (!c)
            return -ENOMEM;
        wf_lock(&f->lock);
        cell_add(f, c);
        wf_unlock(&f->lock);
    }
    return 0;
}

int wf_cell_lock(struct wf_fanout *f, struct wf_cell **out)
{
    struct wf_cell *c;

    wf_lock(&f->lock);
    if (!f->free) {
        wf_unlock(&f->lock);
        c = cell_new(f);
        if (!c)
            return -ENOMEM;
        wf_lock(&f->lock);
        cell_add(f, c);
    }
    c = f->free;
    f->free = c->next;
    c->users = 1;
    *out = c;
    return 0;
}

void wf_cell_unused(struct wf_fanout *f, struct wf_cell *c)
{
    c->users = 0;
    cell_free(f, c);
}

void wf_cell_put(struct wf_fanout *f, struct wf_cell *c, struct wf_cell **ended)
{
    wf_debug_assert(c->users > 0);
    if (--c->users > 0)
        return;
    if (!f->destroy) {
        cell_free(f, c);
        return;
    }
    c->next = *ended;
    *ended = c;
}

void wf_cells_end(struct wf_fanout *f, struct wf_cell *ended)
{
    struct wf_cell *last = NULL;

    for (struct wf_cell *c = ended; c; c = c->next) {
        f->destroy(c->word);
        last = c;
    }
    if (!last)
        return;
    wf_lock(&f->lock);
    last->next = f->free;
    f->free = ended;
    wf_unlock(&f->lock);
}

int wf_cell_copy(const struct wf_fanout *f, void *to, const struct wf_cell *c)
{
    if (f->copy)
        return f->copy(to, c->word);
    if (f->item_size)
        memcpy(to, c->word, f->item_size);
    return 0;
}

void wf_cells_release(struct wf_fanout *f)
{
    struct wf_cell *c, *next;

    for (c = f->all; c; c = next) {
        next = c->all;
        if (c->users && f->destroy)
            f->destroy(c->word);
        wf_sys_free(c);
    }
}
